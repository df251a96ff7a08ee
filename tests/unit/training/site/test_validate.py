import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from handler.contract import ModelContract
from tests.films import write_data_set, write_reference_films
from training.cli import run
from training.errors import ArtefactError, DataError
from training.site.validate import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data", of_each=20, levels=(112, 138))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    write_reference_films(folder)
    return folder


def arguments(tmp_path: Path, *more: str) -> list[str]:
    given = {"--data": "data", "--out": "out", "--model-store": "model_store", "--reference": "reference"}
    return ["validate_site", *(part for name, path in given.items() for part in (name, str(tmp_path / path))), *more]


def validate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *more: str) -> dict[str, Any]:
    monkeypatch.setattr("sys.argv", arguments(tmp_path, *more))
    main()
    result: dict[str, Any] = json.loads((tmp_path / "out" / "site.json").read_text())
    return result


@pytest.mark.usefixtures("store", "data")
def test_report_names_only_figures_that_were_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    validate(monkeypatch, tmp_path)
    out = tmp_path / "out"
    page = (out / "site.md").read_text()
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert sorted(figures) == sorted(path.name for path in out.glob("*.png"))
    assert "nan" not in page.lower().replace("pneumonia", "")
    assert {"site.json", "metrics.json", "predictions.csv"} <= {path.name for path in out.iterdir()}


@pytest.mark.usefixtures("store", "data")
def test_measures_tell_of_every_film_as_shipped_and_cross_fitted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = validate(monkeypatch, tmp_path)
    assert result["films"] == {"NORMAL": 20, "PNEUMONIA": 20}
    assert result["patients"] == {"NORMAL": 10, "PNEUMONIA": 10}
    assert result["shipped"] == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["shipped"]["n"] == result["cross_fitted"]["n"] == 40
    assert list(result["cross_fitted"]["operating_points"]) == ["rule_out", "balanced"]
    assert result["folds"] == 5
    assert list(result["predictive_values"]) == ["shipped", "cross_fitted"]


@pytest.mark.usefixtures("store", "data")
def test_twenty_films_do_not_show_the_usual_sensitivity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = validate(monkeypatch, tmp_path)["recommendation"]
    assert not found["holds"]
    assert (found["wanted"], found["needed"], found["films"]) == (0.95, 73, 20)


@pytest.mark.usefixtures("store")
def test_copies_are_counted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> None:
    original = next((data / "NORMAL").iterdir())
    (data / "NORMAL" / "copy.jpeg").write_bytes(original.read_bytes())
    (data / "NORMAL" / "broken.jpeg").write_bytes(original.read_bytes()[:-200])
    result = validate(monkeypatch, tmp_path)
    assert (result["copies"], result["skipped"], result["films"]["NORMAL"]) == (1, 1, 20)
    assert (tmp_path / "out" / "skipped.csv").exists()


@pytest.mark.usefixtures("data", "reference")
def test_recalibrated_store_holds_what_was_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path
) -> None:
    new = tmp_path / "new"
    result = validate(monkeypatch, tmp_path, "--sensitivity", "0.8", "--write", str(new), "--version", "1.2.3")
    shipped, written = (ModelContract.load(folder / "contract.json") for folder in (store, new))
    assert written.model_version == "1.2.3"
    assert written.calibration != shipped.calibration
    for point in written.operating_points:
        fitted = result["cross_fitted"]["operating_points"][point.name]
        assert point.threshold == fitted["threshold"]
        assert point.sensitivity.value == fitted["sensitivity"]
    assert json.loads((new / "reference" / "expected.json").read_text())["model_version"] == "1.2.3"


@pytest.mark.usefixtures("data", "reference", "store")
def test_store_is_not_written_on_too_few_films_but_the_report_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"20 films of PNEUMONIA do not show a sensitivity of 0\.95, at least 73"):
        validate(monkeypatch, tmp_path, "--write", str(tmp_path / "new"), "--version", "1.2.3")
    assert (tmp_path / "out" / "site.md").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("data", "store")
def test_store_without_a_version_is_refused_before_anything_is_scored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match=r"X\.Y\.Z"):
        validate(monkeypatch, tmp_path, "--write", str(tmp_path / "new"))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("data", "store")
def test_missing_reference_films_are_reported_before_anything_is_scored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="reference: no such folder"):
        validate(monkeypatch, tmp_path, "--write", str(tmp_path / "new"), "--version", "1.2.3")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("data", "store")
@pytest.mark.parametrize("wanted", ["0", "1", "nan"])
def test_impossible_sensitivity_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str) -> None:
    with pytest.raises(DataError, match="must lie in"):
        validate(monkeypatch, tmp_path, "--sensitivity", wanted)


@pytest.mark.usefixtures("store")
def test_mistake_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", arguments(tmp_path))
    with pytest.raises(SystemExit) as left:
        run(main)
    assert left.value.code == 2
    assert re.fullmatch(r"error: \S+/data: no such folder or manifest\n", capsys.readouterr().err)


@pytest.mark.usefixtures("store", "data")
def test_manifest_s_patients_are_kept_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "films.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("path", "label", "patient"))
        for index, film in enumerate(sorted((tmp_path / "data").rglob("*.jpeg"))):
            writer.writerow((film.relative_to(tmp_path), film.parent.name, f"patient{index % 3}"))
    result = validate(monkeypatch, tmp_path, "--data", str(tmp_path / "films.csv"))
    assert (result["folds"], result["patients"]) == (3, {"NORMAL": 3, "PNEUMONIA": 3})


@pytest.mark.usefixtures("store", "data")
def test_films_without_a_patient_id_are_not_counted_as_patients(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "films.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("path", "label"))
        for index, film in enumerate(sorted((tmp_path / "data").rglob("*.jpeg"))):
            copied = tmp_path / "data" / film.parent.name / f"{index}.jpeg"
            film.rename(copied)
            writer.writerow((copied.relative_to(tmp_path), film.parent.name))
    measured = validate(monkeypatch, tmp_path, "--data", str(tmp_path / "films.csv"))
    assert measured["patients"] == {"NORMAL": 0, "PNEUMONIA": 0}
    assert measured["films_without_patient_id"] == 40
    assert measured["recommendation"]["patients"] == 0
    page = (tmp_path / "out" / "site.md").read_text()
    assert "40 films have no patient id and are not counted as patients" in page
    assert "20 films of PNEUMONIA of 0 patients, 20 of them without a patient id" in page
