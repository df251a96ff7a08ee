import json
from pathlib import Path

import pytest

from tests.films import write_data_set
from tests.models import contract, write_model_store
from training.errors import ArtefactError, DataError
from training.evaluate import official_test

OTHERS = [{"name": "somebody", "roc_auc": 0.9}]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "report").mkdir(parents=True)
    write_model_store(folder)
    kept = {"versions": [{"version": "0.0.1", "roc_auc": {"value": 0.5}}], "others": OTHERS}
    (folder / official_test.FILE).write_text(json.dumps(kept))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data")


def run(patch: pytest.MonkeyPatch, data: Path, store: Path) -> None:
    patch.setattr("sys.argv", ["official_test", "--data", str(data), "--model-store", str(store)])
    official_test.main()


def test_version_is_measured_once_and_added(monkeypatch: pytest.MonkeyPatch, data: Path, store: Path) -> None:
    monkeypatch.setattr(official_test, "FILMS", {"NORMAL": 6, "PNEUMONIA": 6})
    run(monkeypatch, data, store)
    kept = (store / official_test.FILE).read_text()
    first, added = json.loads(kept)["versions"]
    assert first == {"version": "0.0.1", "roc_auc": {"value": 0.5}}
    assert json.loads(kept)["others"] == OTHERS
    assert added["version"] == contract().model_version
    assert added["roc_auc"]["low"] <= added["roc_auc"]["value"] == 1.0
    assert set(added["operating_points"]) == {"rule_out", "balanced"}
    assert added["specificity_at"]["0.997"]["value"] == 1.0
    assert set(added["sha256"]) == {"pneumonia.onnx", "contract.json"}
    with pytest.raises(ArtefactError, match="measured on the official test split already"):
        run(monkeypatch, data, store)
    assert (store / official_test.FILE).read_text() == kept


def test_other_films_are_refused(monkeypatch: pytest.MonkeyPatch, data: Path, store: Path) -> None:
    before = (store / official_test.FILE).read_text()
    with pytest.raises(DataError, match="not the official test split"):
        run(monkeypatch, data, store)
    assert (store / official_test.FILE).read_text() == before


@pytest.mark.parametrize("text", ["{", "{}", '{"versions": [1]}', '{"versions": [{}]}'])
def test_broken_results_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "official_test.json").write_text(text)
    with pytest.raises(ArtefactError, match="not the official results"):
        official_test.read_results(tmp_path / "official_test.json")
