import json
from pathlib import Path

import pytest

from proxy.availability.reference import ReferenceFilm, largest_film, load_reference_films
from proxy.errors import ProbeError, SettingsError
from proxy.torchserve.client import Reply


def entry(name: str, label: str, p_pneumonia: object = 0.5) -> dict[str, object]:
    return {"file": name, "label": label, "p_pneumonia": p_pneumonia}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    films = [
        entry("normal-1-1500.jpeg", "NORMAL"),
        entry("normal-1-224.jpeg", "NORMAL", 0.0123),
        entry("normal-2-224.jpeg", "NORMAL"),
        entry("pneumonia-1-224.jpeg", "PNEUMONIA", 0.9),
    ]
    for film in films:
        (tmp_path / str(film["file"])).write_bytes(str(film["file"]).encode())
    write(tmp_path, {"tolerance": 0.02, "films": films})
    return tmp_path


def write(folder: Path, record: object) -> None:
    (folder / "expected.json").write_text(json.dumps(record))


def film(p_pneumonia: float = 0.5) -> ReferenceFilm:
    return ReferenceFilm(name="f", content=b"", p_pneumonia=p_pneumonia, tolerance=0.02)


def test_one_small_film_of_each_label_is_read(folder: Path) -> None:
    films = {film.name: film for film in load_reference_films(folder)}
    assert set(films) == {"normal-1-224.jpeg", "pneumonia-1-224.jpeg"}
    normal = films["normal-1-224.jpeg"]
    assert (normal.content, normal.p_pneumonia, normal.tolerance) == (b"normal-1-224.jpeg", 0.0123, 0.02)


def test_missing_film_is_refused_by_name(folder: Path) -> None:
    (folder / "normal-1-224.jpeg").unlink()
    with pytest.raises(SettingsError, match=r"REFERENCE=.* lacks normal-1-224\.jpeg"):
        load_reference_films(folder)


def test_missing_record_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lacks expected\.json"):
        load_reference_films(tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"tolerance": 0.02},
        {"films": [entry("normal-1-224.jpeg", "NORMAL")]},
        {"tolerance": 0.02, "films": [{"file": "normal-1-224.jpeg"}]},
        {"tolerance": 0.02, "films": [entry("normal-1-224.jpeg", "NORMAL", "high")]},
        {"tolerance": 0.02, "films": []},
        {"tolerance": 0.02, "films": [entry("normal-1-1500.jpeg", "NORMAL")]},
    ],
)
def test_record_of_another_form_is_refused(folder: Path, record: object) -> None:
    write(folder, record)
    with pytest.raises(SettingsError, match=r"expected\.json"):
        load_reference_films(folder)


@pytest.mark.parametrize("found", [0.5, 0.481, 0.519])
def test_answer_within_the_tolerance_passes(found: float) -> None:
    film().check(Reply(200, json.dumps({"p_pneumonia": found}).encode()))


@pytest.mark.parametrize("found", [0.47, 0.53, float("nan")])
def test_answer_too_far_off_is_reported(found: float) -> None:
    with pytest.raises(ProbeError, match=r"expected 0\.5"):
        film().check(Reply(200, json.dumps({"p_pneumonia": found}).encode()))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"error": {}}', b'{"p_pneumonia": "x"}'])
def test_answer_without_a_prediction_is_reported(body: bytes) -> None:
    with pytest.raises(ProbeError, match="415"):
        film().check(Reply(415, body))


def test_largest_film_is_the_one_to_try(folder: Path) -> None:
    (folder / "pneumonia-1-1500.jpeg").write_bytes(b"x" * 1000)
    largest = largest_film(folder)
    assert largest is not None
    assert largest.name == "pneumonia-1-1500.jpeg"


def test_no_film_is_none(tmp_path: Path) -> None:
    assert largest_film(tmp_path) is None
