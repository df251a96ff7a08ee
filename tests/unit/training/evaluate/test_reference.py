import json
from pathlib import Path

import pytest

from tests.films import write_reference_films
from tests.models import write_model_store
from training.errors import DataError
from training.evaluate.reference import find_reference_films, main


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    write_reference_films(folder)
    (folder / "README.md").write_text("what they are")
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: Path) -> None:
    write_model_store(tmp_path)
    arguments = ["reference", "--model-store", str(tmp_path), "--reference", str(reference)]
    monkeypatch.setattr("sys.argv", arguments)


@pytest.mark.usefixtures("command")
def test_expected_answers_are_written_beside_the_films(reference: Path) -> None:
    main()
    result = json.loads((reference / "expected.json").read_text())
    assert list(result) == ["tolerance", "model_version", "films"]
    assert (result["tolerance"], result["model_version"]) == (0.02, "0.0.0-test")
    assert [(film["file"], film["label"]) for film in result["films"]] == [
        ("normal-1-224.jpeg", "NORMAL"),
        ("pneumonia-1-224.jpeg", "PNEUMONIA"),
    ]
    normal, pneumonia = (film["p_pneumonia"] for film in result["films"])
    assert 0.0 <= normal < 0.2
    assert 0.8 < pneumonia <= 1.0
    assert normal == round(normal, 4)


@pytest.mark.usefixtures("command")
def test_film_that_cannot_be_read_is_refused(reference: Path) -> None:
    (reference / "normal-2-224.jpeg").write_bytes(b"text")
    with pytest.raises(DataError, match=r"normal-2-224\.jpeg: the file is not a film that is read"):
        main()


def test_name_without_a_label_is_refused(reference: Path) -> None:
    (reference / "film.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match="must begin with normal- or pneumonia-"):
        find_reference_films(reference)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_reference_films(tmp_path / "nowhere")


def test_folder_without_films_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no reference film"):
        find_reference_films(tmp_path)
