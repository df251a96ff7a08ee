import json
from pathlib import Path
from typing import Any

import pytest

from tests.films import grey, jpeg, png, write_data_set
from training.data.report import main
from training.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_data_set(tmp_path / "data")
    first = (folder / "NORMAL" / "IM-0000-0000.jpeg").read_bytes()
    (folder / "NORMAL" / "IM-0000-0009.jpeg").write_bytes(first)  # a copy of the same patient's film
    (folder / "PNEUMONIA" / "person7_virus_1.jpeg").write_bytes(first)  # and one that contradicts it
    (folder / "NORMAL" / "broken.jpeg").write_bytes(jpeg(grey())[:-200])
    original = grey(300, 240, seed=77)
    (folder / "NORMAL" / "IM-0008-0001.jpeg").write_bytes(jpeg(original))
    (folder / "NORMAL" / "IM-0009-0001.png").write_bytes(png(original))
    return folder


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> Path:
    monkeypatch.setattr("sys.argv", ["data_report", "--data", str(data), "--out", str(tmp_path / "out")])
    main()
    return tmp_path / "out"


@pytest.fixture
def result(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


def test_report_and_pictures_are_written(out: Path) -> None:
    names = ["contact_sheet.png", "intensities.png", "report.json", "report.md"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_films_and_patients_are_counted(result: dict[str, Any]) -> None:
    assert result["films"] == 16
    normal, pneumonia = result["classes"]["NORMAL"], result["classes"]["PNEUMONIA"]
    assert (normal["films"], normal["patients"]) == (9, 5)
    assert normal["films_per_patient"] == {"1": 2, "2": 2, "3": 1}
    assert normal["formats"] == {"JPEG": 8, "PNG": 1}
    assert pneumonia["subgroups"] == {"bacteria": 6, "virus": 1}


def test_classes_are_compared(result: dict[str, Any]) -> None:
    width = result["sizes_and_levels"]["width_px"]
    assert width["PNEUMONIA"]["min"] == width["PNEUMONIA"]["max"] == 96
    assert width["NORMAL"]["max"] == 300
    assert result["sizes_and_levels"]["mean_level"]["roc_auc"] > 0.7  # PNEUMONIA is the brighter class here
    levels = result["classes"]["NORMAL"]["levels"]
    assert 0 <= levels["p1"] <= levels["p50"] <= levels["p99"] <= 255


def test_unreadable_files_are_listed(result: dict[str, Any]) -> None:
    (unreadable,) = result["unreadable"]
    assert unreadable["file"] == "NORMAL/broken.jpeg"
    assert unreadable["reason"]


def test_copies_are_listed_with_what_makes_them_worse(result: dict[str, Any]) -> None:
    assert result["exact_copies"] == [
        {
            "files": ["NORMAL/IM-0000-0000.jpeg", "NORMAL/IM-0000-0009.jpeg", "PNEUMONIA/person7_virus_1.jpeg"],
            "across_labels": True,
            "across_patients": True,
        }
    ]
    (near,) = result["near_copies"]
    assert near["files"] == ["NORMAL/IM-0008-0001.jpeg", "NORMAL/IM-0009-0001.png"]
    assert (near["across_labels"], near["across_patients"]) == (False, True)


def test_markdown_reads_the_findings_out(out: Path) -> None:
    text = (out / "report.md").read_text()
    assert "16 readable films, 1 unreadable files." in text
    assert "PNEUMONIA/person7_virus_1.jpeg **(labelled differently, different patients)**" in text
    assert "NORMAL/broken.jpeg: " in text
    assert "![Contact sheet](contact_sheet.png)" in text


def test_output_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", ["data_report", "--data", str(data), "--out", str(tmp_path / "file")])
    with pytest.raises(DataError, match="File exists"):
        main()
