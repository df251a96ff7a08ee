import dataclasses
from pathlib import Path

import numpy as np
import pytest

from handler.imaging import decode
from tests.dicoms import dicom
from tests.films import grey, jpeg, png, write_data_set
from tests.unit.training.labelled import labelled
from training.data.films import (
    DecodedFilms,
    data_digest,
    decode_films,
    find_films,
    folds_for,
    patient_and_subgroup,
    split_by_patient,
    split_ends,
    split_series,
    without_copies,
)
from training.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data")


@pytest.fixture
def films(data: Path) -> DecodedFilms:
    return decode_films(find_films(data))


def test_folder_is_listed_with_labels_and_patients(data: Path) -> None:
    found = find_films(data)
    assert [file.path for file in found] == sorted(file.path for file in found)
    assert [file.label for file in found] == [0] * 6 + [1] * 6
    assert sorted({file.patient for file in found}) == [
        "IM-0000", "IM-0001", "IM-0002", "person0", "person1", "person2",
    ]  # fmt: skip


def test_other_files_are_not_listed(data: Path) -> None:
    (data / "NORMAL" / "notes.txt").write_text("none")
    (data / "NORMAL" / "film.PNG").write_bytes(png(grey()))
    names = {file.path.name for file in find_films(data)}
    assert "film.PNG" in names
    assert "notes.txt" not in names


def test_dicom_files_are_listed_whatever_their_name(data: Path) -> None:
    film = dicom(np.asarray(grey()))
    for name in ("IM000001", "1.2.840.113.7", "film.dcm"):
        (data / "NORMAL" / name).write_bytes(film)
    (data / "NORMAL" / "notes").write_text("none")
    found = [file for file in find_films(data) if file.path.name in {"IM000001", "1.2.840.113.7", "film.dcm", "notes"}]
    assert len(found) == 3
    assert {facts.kind for facts in decode_films(find_films(data)).facts} == {"JPEG", "DICOM"}


@pytest.mark.parametrize(
    ("name", "label", "patient", "subgroup"),
    [
        ("person12_bacteria_34.jpeg", 1, "person12", "bacteria"),
        ("person12_virus_35.jpeg", 1, "person12", "virus"),
        ("IM-0115-0001.jpeg", 0, "IM-0115", "IM"),
        ("NORMAL2-IM-0115-0001-0002.jpeg", 0, "NORMAL2-IM-0115", "NORMAL2-IM"),
        ("scan.png", 0, "scan.png", "unknown"),
    ],
)
def test_patient_is_read_from_the_name(name: str, label: int, patient: str, subgroup: str) -> None:
    assert patient_and_subgroup(Path(name), label) == (patient, subgroup)


def manifest(folder: Path, *rows: str, header: str = "path,label,patient") -> Path:
    path = folder / "films.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_manifest_gives_patients(tmp_path: Path) -> None:
    found = find_films(manifest(tmp_path, "a.png,NORMAL,ann", "b.png,PNEUMONIA,"))
    assert [(file.path.name, file.label, file.patient) for file in found] == [
        ("a.png", 0, "ann"),
        ("b.png", 1, str(tmp_path / "b.png")),
    ]


def test_manifest_without_a_patient_column_is_read(tmp_path: Path) -> None:
    found = find_films(manifest(tmp_path, "a.png,NORMAL", "b.png,PNEUMONIA", header="path,label"))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png,NORMAL,a", "b.png,SICK,b"], "path,label,patient", r":3: label must be .* got 'SICK'"),
        (["a.png,NORMAL,a", "b.png"], "path,label,patient", r"\.csv:3: has not as many columns as the header"),
        (["a.png,NORMAL,a", "b.png,PNEUMONIA"], "path,label,patient", r":3: has not as many columns as the header"),
        (["a.png,NORMAL,a", "b.png,PNEUMONIA,b,c"], "path,label,patient", r":3: has not as many columns"),
        (['"a', 'b.png",NORMAL,a', ",PNEUMONIA,b"], "path,label,patient", ":4: names no path"),
        (["a.png,NORMAL,a", ",PNEUMONIA,b"], "path,label,patient", ":3: names no path"),
        (["a.png,NORMAL"], "path,class", "no column label"),
        (["a.png,NORMAL,a"], "path,label,patient", "no film is labelled PNEUMONIA"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_films(manifest(tmp_path, *rows, header=header))


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(png(grey()))
    with pytest.raises(DataError, match="not a CSV"):
        find_films(path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or manifest"):
        find_films(tmp_path / "nowhere")


def test_missing_class_is_refused(data: Path) -> None:
    (data / "PNEUMONIA").rename(data / "SICK")
    with pytest.raises(DataError, match="no folder PNEUMONIA"):
        find_films(data)


def test_empty_class_is_refused(data: Path) -> None:
    for path in (data / "NORMAL").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no film is labelled NORMAL"):
        find_films(data)


def test_films_are_decoded_as_the_server_decodes_them(films: DecodedFilms) -> None:
    for index, file in enumerate(films.files):
        film = decode(file.path.read_bytes())
        assert np.array_equal(films.pixels[index], film.pixels)
        assert films.facts[index] == film.facts


def test_unreadable_films_are_listed_and_skipped(data: Path) -> None:
    broken, gone = data / "NORMAL" / "IM-0000-broken.jpeg", data / "NORMAL" / "IM-0000-gone.jpeg"
    broken.write_bytes(jpeg(grey())[:-200])
    gone.symlink_to(data / "nowhere.jpeg")
    films = decode_films(find_films(data))
    assert [path for path, _ in films.skipped] == [broken, gone]
    assert "truncated" in films.skipped[0][1]
    assert "No such file" in films.skipped[1][1]
    assert len(films.files) == len(films.pixels) == len(films.labels) == len(films.digests) == 12


def test_class_without_a_readable_film_is_refused(data: Path) -> None:
    for path in (data / "NORMAL").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(DataError, match="6 of 12 files were skipped"):
        decode_films(find_films(data))


def test_copies_are_dropped(data: Path) -> None:
    original = data / "NORMAL" / "IM-0000-0000.jpeg"
    (data / "NORMAL" / "IM-0009-0000.jpeg").write_bytes(original.read_bytes())
    films = without_copies(decode_films(find_films(data)))
    assert len(films.files) == 12
    assert films.files[0].path == original


def test_copies_with_different_labels_are_refused(data: Path) -> None:
    original = data / "NORMAL" / "IM-0000-0000.jpeg"
    (data / "PNEUMONIA" / "person9_virus_1.jpeg").write_bytes(original.read_bytes())
    with pytest.raises(DataError, match=r"person9_virus_1\.jpeg is a copy of .*IM-0000-0000\.jpeg, labelled otherwise"):
        without_copies(decode_films(find_films(data)))


def test_no_patient_is_in_both_parts(films: DecodedFilms) -> None:
    for fold in range(3):
        train, validation = split_by_patient(films, folds=3, fold=fold, seed=0)
        assert sorted([*train, *validation]) == list(range(12))
        patients = [{films.files[i].patient for i in part} for part in (train, validation)]
        assert not patients[0] & patients[1]
        assert set(films.labels[validation]) == {0, 1}


def test_split_is_the_same_for_the_same_seed(films: DecodedFilms) -> None:
    first, second = (split_by_patient(films, folds=3, fold=0, seed=4)[1].tolist() for _ in range(2))
    assert first == second


def test_fewer_patients_than_folds_are_refused(films: DecodedFilms) -> None:
    with pytest.raises(DataError, match="3 patients of NORMAL cannot be split into 4 folds"):
        split_by_patient(films, folds=4, fold=0, seed=0)


def numbered(films: DecodedFilms) -> DecodedFilms:
    """Return the films as of patients 0 to 5 of one series each class."""
    files = [
        dataclasses.replace(file, patient=f"{file.label}-{index % 6}", subgroup=str(file.label))
        for index, file in enumerate(films.files)
    ]
    return dataclasses.replace(films, files=tuple(files))


def test_ends_of_every_series_are_held_out(films: DecodedFilms) -> None:
    series = numbered(films)
    train, validation = split_ends(series, folds=5)
    held_out = {series.files[i].patient for i in validation}
    assert held_out == {"0-0", "0-5", "1-0", "1-5"}
    assert sorted([*train, *validation]) == list(range(12))


def test_ends_need_numbered_patients(films: DecodedFilms) -> None:
    files = (dataclasses.replace(films.files[0], patient="smith"), *films.files[1:])
    with pytest.raises(DataError, match="patient 'smith' has no number"):
        split_ends(dataclasses.replace(films, files=files), folds=5)


def test_series_too_short_for_ends_are_refused(films: DecodedFilms) -> None:
    files = tuple(dataclasses.replace(file, patient="p1") for file in films.files)
    with pytest.raises(DataError, match="too short to hold out their ends"):
        split_ends(dataclasses.replace(films, files=files), folds=5)


def test_one_series_of_each_class_is_held_out(films: DecodedFilms) -> None:
    files = [
        dataclasses.replace(file, patient=f"p{index}", subgroup=f"{file.label}{'ab'[index % 2]}")
        for index, file in enumerate(films.files)
    ]
    series = dataclasses.replace(films, files=tuple(files))
    for fold, name in enumerate("ab"):
        train, validation = split_series(series, fold=fold)
        assert {files[i].subgroup for i in validation} == {f"0{name}", f"1{name}"}
        assert sorted([*train, *validation]) == list(range(12))


def test_patient_of_both_series_is_not_learned_from(films: DecodedFilms) -> None:
    files = [
        dataclasses.replace(
            file, patient=f"p{index - index % 2 if index < 2 else index}", subgroup=f"{file.label}{'ab'[index % 2]}"
        )
        for index, file in enumerate(films.files)
    ]
    train, validation = split_series(dataclasses.replace(films, files=tuple(files)), fold=0)
    assert 0 in validation
    assert 1 not in train


def test_single_series_cannot_be_held_out(films: DecodedFilms) -> None:
    files = tuple(dataclasses.replace(file, subgroup="one") for file in films.files)
    with pytest.raises(DataError, match="NORMAL has only the series one: none to hold out as fold 0"):
        split_series(dataclasses.replace(films, files=files), fold=0)


def test_digest_tells_what_was_learned_from(films: DecodedFilms) -> None:
    digest = data_digest(films, [0, 1])
    reverse = films.subset(np.arange(12)[::-1])
    assert data_digest(reverse, [11, 10]) == digest  # the order does not matter
    assert data_digest(films, [0, 2]) != digest
    other = dataclasses.replace(films, digests=("0" * 64, *films.digests[1:]))
    assert data_digest(other, [0, 1]) != digest


def test_folds_follow_the_patients_of_the_rarer_class() -> None:
    assert folds_for(labelled([0, 0, 0, 1, 1, 1, 1], ["a", "b", "b", "c", "d", "e", "f"])) == 2
    assert folds_for(labelled([0, 1] * 9, [str(index) for index in range(18)])) == 5


def test_one_patient_of_a_class_is_refused() -> None:
    with pytest.raises(DataError, match="PNEUMONIA has one"):
        folds_for(labelled([0, 0, 1, 1], ["a", "b", "c", "c"]))
