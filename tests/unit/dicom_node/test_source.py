"""What results take over from the film."""

from typing import Any

import pytest

from dicom_node.source import derived_uid, instance_number, read_source
from tests.dicom_peers import make_film


def test_uid_is_the_same_for_the_same_parts_only() -> None:
    assert derived_uid("sr", "1.2.3", "1.3.1") == derived_uid("sr", "1.2.3", "1.3.1")
    others = {
        derived_uid("sc", "1.2.3", "1.3.1"),
        derived_uid("sr", "1.2.31", ".3.1"),
        derived_uid("sr", "1.2.3", "1.3.2"),
    }
    assert derived_uid("sr", "1.2.3", "1.3.1") not in others
    assert len(others) == 3


def test_uid_is_one_by_the_standard() -> None:
    assert all(derived_uid("sr", str(number)).is_valid for number in range(50))


def test_whose_film_it_is_stays() -> None:
    source = read_source(make_film())
    assert str(source.PatientName) == "Doe^Jane"
    assert (source.PatientID, source.IssuerOfPatientID, source.StudyInstanceUID) == ("4711", "WARD", "1.2.3")


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Дарья^Иванова"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_names_of_any_character_set_are_read(character_set: object, name: str) -> None:
    source = read_source(make_film(SpecificCharacterSet=character_set, PatientName=name))
    assert str(source.PatientName) == name
    assert source.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientBirthDate", "00000000"), ("PatientBirthDate", "unknown"), ("StudyDate", "2026-01-02"),
     ("StudyTime", "noon"), ("PatientSex", "X"), ("PatientSex", "female"), ("PatientID", ["1", "2"])],
)  # fmt: skip
def test_value_that_the_standard_forbids_is_left_out(keyword: str, value: Any) -> None:
    assert read_source(make_film(**{keyword: value}))[keyword].value in ("", None)


@pytest.mark.parametrize(
    "keyword",
    ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
     "AccessionNumber", "ReferringPhysicianName"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["", None])
def test_element_that_is_empty_or_missing_is_empty(keyword: str, value: Any) -> None:
    assert not read_source(make_film(**{keyword: value}))[keyword].value


@pytest.mark.parametrize(("value", "expected"), [(7, 7), (None, 1), (0, 1), (-3, 1), ("", 1)])
def test_instance_number_is_the_film_s_or_one(value: object, expected: int) -> None:
    assert instance_number(read_source(make_film(InstanceNumber=value))) == expected
