import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from handler.contract import ModelContract
from tests.films import write_data_set
from training.audit import audit, nuisance
from training.audit.nuisance import CLUES
from training.changes.counterfactuals import COUNTERFACTUALS
from training.data.films import data_digest
from training.errors import DataError
from training.figures import metrics
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ROUNDS", 5)
    monkeypatch.setattr(nuisance, "ROUNDS", 5)


def test_audit_writes_report_figures_and_pictures(store: Path, tmp_path: Path) -> None:
    films, out = load_films(write_data_set(tmp_path / "data")), tmp_path / "out"
    audit.audit(store, films, out)
    result = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert not result["held_out"]
    assert result["films"] == 12
    assert len(result["rows"]) == 1 + len(COUNTERFACTUALS)
    assert len(result["without_lungs"]["rows"]) == len(CLUES)
    assert "# Shortcut audit" in (out / "audit.md").read_text(encoding="utf-8")
    assert all((out / name).stat().st_size > 0 for name in ("audit.png", "worst_films.png"))


def test_models_are_compared_on_what_they_held_out(store: Path, tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data", of_each=14))
    _, held_out = divide(films, Recipe.load("champion"))
    contract = ModelContract.load(store / "contract.json")
    dataclasses.replace(contract, data_sha256=data_digest(films, held_out.tolist())).save(store / "contract.json")
    later = shutil.copytree(store, tmp_path / "later")
    dataclasses.replace(ModelContract.load(later / "contract.json"), model_version="0.0.1").save(
        later / "contract.json"
    )
    result = audit.compare([store, later], films)
    assert result["films"] == len(held_out)
    assert [model["model"] for model in result["models"]] == ["0.0.0-test", "0.0.1"]


def test_models_of_one_name_are_refused(store: Path, tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data", of_each=14))
    with pytest.raises(DataError, match="models have the same name"):
        audit.compare([store, store], films)
