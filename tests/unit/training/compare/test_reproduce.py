import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.films import grey, jpeg, write_data_set
from training.compare import reproduce
from training.compare.reproduce import FLOOR, explanation, outside, reported_bounds, shipped_recipe
from training.compare.scores import COLUMNS, Score, ScoredRun, write_scores
from training.data.films import data_digest
from training.errors import ArtefactError, DataError
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films


def scored(recipe: str = "baseline", *, seed: int = 0, **values: float) -> ScoredRun:
    score = Score(**dict.fromkeys(COLUMNS, 0.9) | values)
    return ScoredRun(recipe=recipe, description="", seed=seed, fold=0, films=4, score=score)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Return films, and a model store that reports on a model that learned from them."""
    data, store = write_data_set(tmp_path / "data"), tmp_path / "store"
    films, recipe = load_films(data), dataclasses.replace(Recipe.load("baseline"), folds=3)
    digest = data_digest(films, divide(films, recipe)[1].tolist())
    (store / "report").mkdir(parents=True)
    result = {"recipe": dataclasses.asdict(recipe), "sha256": {"data": digest}}
    (store / "report" / "report.json").write_text(json.dumps(result))
    write_scores([scored(), scored("dropout")], store / "report" / "comparison.json")
    return {"data": data, "store": store}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the training by a record of what was asked for; a run scores as reported, but for its seed."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(reproduce, "train", lambda _, **options: asked.append(options))
    monkeypatch.setattr(
        reproduce, "score_run", lambda run, _: scored(seed=int(run.name[-1]), auc=0.9 - 0.004 * int(run.name[-1]))
    )
    return asked


def command(monkeypatch: pytest.MonkeyPatch, places: dict[str, Path], *more: str) -> None:
    arguments = ["reproduce", "--data", str(places["data"]), "--model-store", str(places["store"]), *more]
    monkeypatch.setattr("sys.argv", arguments)
    reproduce.main()


def test_shipped_recipe_is_trained_once_for_each_seed(
    monkeypatch: pytest.MonkeyPatch, places: dict[str, Path], trained: list[dict[str, Any]]
) -> None:
    command(monkeypatch, places, "--seeds", "0", "1")
    assert [one["run"] for one in trained] == [Path("runs/reproduce-baseline-0"), Path("runs/reproduce-baseline-1")]
    assert [one["recipe"].seed for one in trained] == [0, 1]


def test_run_out_of_bounds_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
    places: dict[str, Path],
    trained: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        command(monkeypatch, places, "--seeds", "0", "5", "--recipe", "baseline")
    assert ended.value.code == 1
    assert len(trained) == 2
    assert "| AUC | 0.8940 to 0.9060 | 0.9000 | 0.8800 OUTSIDE |" in caplog.text
    assert "since one run was reported" in caplog.text


def test_recipe_that_was_not_reported_is_refused(
    monkeypatch: pytest.MonkeyPatch, places: dict[str, Path], trained: list[dict[str, Any]]
) -> None:
    with pytest.raises(ArtefactError, match="'finetune_all': not in the reported comparison, which has baseline, drop"):
        command(monkeypatch, places, "--recipe", "finetune_all")
    assert trained == []


def test_other_films_are_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, places: dict[str, Path], trained: list[dict[str, Any]]
) -> None:
    (places["data"] / "NORMAL" / "IM-0009-0001.jpeg").write_bytes(jpeg(grey(seed=99)))
    with pytest.raises(DataError, match="learned from other films"):
        command(monkeypatch, places)
    assert trained == []


def test_missing_report_is_refused(places: dict[str, Path]) -> None:
    (places["store"] / "report" / "report.json").unlink()
    with pytest.raises(ArtefactError, match=r"report\.json: No such file"):
        shipped_recipe(places["store"] / "report", load_films(places["data"]))


def test_several_runs_allow_three_standard_deviations_of_them() -> None:
    bounds, reported = reported_bounds([scored(auc=0.95), scored(auc=0.97), scored(auc=0.96)], "baseline")
    assert bounds["auc"] == pytest.approx((0.93, 0.99))
    assert "3 reported runs" in explanation(reported)


def test_runs_that_lie_together_allow_the_floor() -> None:
    bounds, _ = reported_bounds([scored(auc=0.95), scored(auc=0.95)], "baseline")
    assert bounds["auc"] == pytest.approx((0.95 - FLOOR["auc"], 0.95 + FLOOR["auc"]))


def test_columns_out_of_bounds_are_named() -> None:
    bounds, _ = reported_bounds([scored()], "baseline")
    assert outside(scored().score, bounds) == []
    assert outside(scored(worst_auc=0.5, auc=0.99).score, bounds) == ["auc", "worst_auc"]


def test_every_column_has_a_floor() -> None:
    assert list(FLOOR) == list(COLUMNS)
