import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.compare import ablate
from training.compare.ablate import PLAN, read_plan
from training.compare.scores import COLUMNS, Score, ScoredRun
from training.errors import RecipeError


def write_plan(path: Path, **changes: object) -> Path:
    plan = {
        "base": "baseline",
        "changes": {"epochs": 2},
        "variants": [{"name": "plain", "description": ""}, {"name": "flipped", "augmentation": "light"}],
    }
    path.write_text(yaml.safe_dump(plan | changes))
    return path


def test_shipped_plan_has_variants_of_different_names() -> None:
    names = [variant.name for variant in read_plan(PLAN)]
    assert len(names) == len(set(names)) > 1


def test_variant_is_the_base_with_the_changes_and_its_own_fields(tmp_path: Path) -> None:
    plain, flipped = read_plan(write_plan(tmp_path / "plan.yaml"))
    assert (plain.name, plain.epochs, plain.augmentation) == ("plain", 2, "none")
    assert (flipped.name, flipped.epochs, flipped.augmentation) == ("flipped", 2, "light")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": [{"depth": 3}]}, "depth: unexpected keyword argument"),
        ({"base": "nonesuch"}, "'nonesuch': unknown"),
        ({"changes": None}, "not a plan"),
        ({"variants": [3]}, "not a plan"),
    ],
)
def test_wrong_plan_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_plan(write_plan(tmp_path / "plan.yaml", **changes))


def test_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read"):
        read_plan(tmp_path / "none.yaml")


def test_every_variant_is_trained_with_every_seed_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ablate, "train", lambda _, **options: asked.append(options))
    monkeypatch.setattr(ablate, "load_films", lambda data: data)
    monkeypatch.setattr(ablate, "score_run", scored)
    plan, result, runs = write_plan(tmp_path / "plan.yaml"), tmp_path / "scores.json", tmp_path / "runs"
    arguments = ["ablate", "--data", "films", "--plan", str(plan), "--seeds", "0", "3"]
    monkeypatch.setattr("sys.argv", [*arguments, "--runs", str(runs), "--json", str(result)])
    ablate.main()
    order = ["plain-0", "flipped-0", "plain-3", "flipped-3"]
    assert [one["run"].name for one in asked] == order
    assert [one["recipe"].seed for one in asked] == [0, 0, 3, 3]
    assert sorted(f"{run['recipe']}-{run['seed']}" for run in json.loads(result.read_text())["runs"]) == sorted(order)


def scored(run: Path, films: object) -> ScoredRun:
    del films
    recipe, seed = run.name.rsplit("-", 1)
    score = Score(**dict.fromkeys(COLUMNS, 0.9))
    return ScoredRun(recipe=recipe, description="", seed=int(seed), fold=0, films=4, score=score)
