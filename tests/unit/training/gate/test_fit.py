import dataclasses
import json
import sys
from pathlib import Path

import pytest

from handler.contract import ModelContract
from handler.gate import Gate
from tests.films import grey, jpeg, write_data_set
from training.data.films import data_digest
from training.errors import ArtefactError, DataError
from training.gate import fit
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films

RECIPE = Recipe.load("champion")


@pytest.fixture
def data(tmp_path: Path, store: Path) -> Path:
    """Return a data set, of which the store's model learned by the recipe that its report names."""
    folder = write_data_set(tmp_path / "data", of_each=2 * RECIPE.folds)
    films = load_films(folder)
    _, held_out = divide(films, RECIPE)
    contract = ModelContract.load(store / "contract.json")
    dataclasses.replace(contract, data_sha256=data_digest(films, held_out.tolist())).save(store / "contract.json")
    (store / "report").mkdir()
    (store / "report" / "report.json").write_text(json.dumps({"recipe": dataclasses.asdict(RECIPE)}))
    return folder


def test_command_writes_a_gate_that_the_contract_names_and_its_measures(
    data: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        for group in ("no_finding", "pneumonia"):
            (tmp_path / "adults" / group).mkdir(parents=True, exist_ok=True)
            (tmp_path / "adults" / group / f"{number}.jpeg").write_bytes(jpeg(grey(seed=number, level=30)))
    (tmp_path / "pictures" / "icons").mkdir(parents=True)
    (tmp_path / "pictures" / "icons" / "a.jpeg").write_bytes(jpeg(grey(level=240)))
    command = ["fit", "--data", str(data), "--copies", str(data), "--model-store", str(store)]
    monkeypatch.setattr(
        sys, "argv", [*command, "--adults", str(tmp_path / "adults"), "--pictures", str(tmp_path / "pictures")]
    )
    fit.main()
    Gate.load(store, ModelContract.load(store / "contract.json"))
    report = json.loads((store / "report" / "gate.json").read_text())
    assert report["model"] == "0.0.0-test"
    assert report["adults"]["n"] == 6
    assert report["pictures"]["icons"]["n"] == 1
    assert report["served_otherwise"]["films"] == report["films"]["held_out"]


def test_other_films_than_the_model_s_are_refused(data: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next((data / "NORMAL").iterdir()).unlink()
    monkeypatch.setattr(sys, "argv", ["fit", "--data", str(data), "--model-store", str(store)])
    with pytest.raises(DataError, match="other films than those of the model"):
        fit.main()


def test_report_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="names no recipe"):
        fit.reported_recipe(tmp_path / "report.json")
