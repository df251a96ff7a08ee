import dataclasses
from pathlib import Path

import pytest

from training.compare.scores import COLUMNS, Score, ScoredRun, read_scores, table, write_scores
from training.errors import ArtefactError


def scored(recipe: str, auc: float, *, seed: int = 0) -> ScoredRun:
    score = Score(**dict.fromkeys(COLUMNS, 0.9) | {"auc": auc})
    return ScoredRun(recipe=recipe, description=f"about {recipe}", seed=seed, fold=0, films=100, score=score)


def test_every_column_has_a_heading() -> None:
    assert list(COLUMNS) == [field.name for field in dataclasses.fields(Score)]


def test_table_gives_the_spread_over_runs_of_a_recipe() -> None:
    result = table([scored("a", 0.9), scored("b", 0.95), scored("a", 0.92, seed=1)])
    rows = result.splitlines()
    assert rows[2].startswith("| `a`: about a | 2 | 0.9000 ± 0.0000 |")
    assert "| 0.9100 ± 0.0141 |" in rows[2]
    assert rows[3].startswith("| `b`: about b | 1 | 0.9000 |")
    assert "| 0.9500 |" in rows[3]
    assert len({row.count("|") for row in rows}) == 1


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [scored("a", 0.9), scored("a", 0.92, seed=1)]
    write_scores(runs, tmp_path / "comparison.json")
    assert read_scores(tmp_path / "comparison.json") == runs


@pytest.mark.parametrize("text", ["", "[]", '{"runs": [{"recipe": "a"}]}'])
def test_file_that_holds_no_scores_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"comparison\.json: not the scores of a comparison"):
        read_scores(tmp_path / "comparison.json")


def test_missing_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="No such file"):
        read_scores(tmp_path / "comparison.json")
