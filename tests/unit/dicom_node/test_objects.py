"""Which DICOM objects are taken."""

from typing import Any

import pytest

from dicom_node.errors import RefusedObjectError
from dicom_node.objects import CANNOT_UNDERSTAND, CLASS_MISMATCH, CLASS_NOT_SUPPORTED, check_object
from tests.dicom_peers import make_film
from tests.dicoms import SYNTAXES

CR, DX, DX_RAW, SC, CT = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.2",
)


def refusal(file: bytes) -> RefusedObjectError:
    with pytest.raises(RefusedObjectError) as refused:
        check_object(file)
    return refused.value


@pytest.mark.parametrize("sop_class", [CR, DX, DX_RAW])
def test_radiographs_are_taken(sop_class: str) -> None:
    facts = check_object(make_film("1.2.3.9", SOPClassUID=sop_class))
    assert facts.instance == (sop_class, "1.2.3.9")
    assert facts.study_instance_uid == "1.2.3"


@pytest.mark.parametrize("syntax", sorted(set(SYNTAXES) - {"deflated"}))
def test_every_transfer_syntax_of_the_service_is_taken(syntax: str) -> None:
    assert check_object(make_film(transfer_syntax=syntax)).sop_instance_uid == "1.2.3.4"


def test_deflated_data_set_is_refused_without_inflating_it() -> None:
    assert refusal(make_film(transfer_syntax="deflated")).status == CANNOT_UNDERSTAND


def test_secondary_capture_is_taken_as_a_digitised_film_only() -> None:
    assert check_object(make_film(SOPClassUID=SC, modality="RG")).sop_class_uid == SC
    refused = refusal(make_film(SOPClassUID=SC, modality="OT"))
    assert (refused.status, refused.instance) == (CANNOT_UNDERSTAND, (SC, "1.2.3.4"))


def test_other_sop_class_is_refused_by_name() -> None:
    refused = refusal(make_film(SOPClassUID=CT))
    assert (refused.status, refused.instance) == (CLASS_NOT_SUPPORTED, (CT, "1.2.3.4"))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, ""])
def test_film_without_its_identity_is_refused(keyword: str, value: Any) -> None:
    assert refusal(make_film(**{keyword: value})).status == CLASS_MISMATCH


@pytest.mark.parametrize(
    "file", [b"", b"\0" * 200, b"\0" * 128 + b"DICM", b"\xff\xd8\xff" * 100, b"\0" * 128 + b"DICM" + b"\xff" * 1000]
)
def test_what_is_no_dicom_file_is_refused(file: bytes) -> None:
    assert refusal(file).status == CANNOT_UNDERSTAND


def test_cut_header_is_refused() -> None:
    film = make_film()
    for length in range(0, film.index(b"\x10\0\x10\0PN"), 7):  # before the patient's name: the UIDs are not all there
        with pytest.raises(RefusedObjectError):
            check_object(film[:length])


def test_broken_bytes_of_any_kind_are_refused_or_taken() -> None:
    film = make_film()
    identity = film.index(b"\x08\0\x16\0UI")  # the SOP class: tag, VR, length and value
    for place in range(identity, identity + 60):
        for byte in (0x00, 0x55, 0xFF):
            broken = film[:place] + bytes([byte]) + film[place + 1 :]
            try:
                check_object(broken)
            except RefusedObjectError as refused:
                assert refused.status in {CANNOT_UNDERSTAND, CLASS_MISMATCH, CLASS_NOT_SUPPORTED}  # noqa: PT017


def test_digest_is_of_the_data_set_not_of_the_way_it_came() -> None:
    film = make_film()
    other_way = film.replace(b"PYDICOM", b"STORESC")
    assert other_way != film
    assert check_object(other_way).digest == check_object(film).digest
    assert check_object(make_film(PatientID="4712")).digest != check_object(film).digest


def test_no_message_has_a_value_of_the_film() -> None:
    assert "Jane" not in str(refusal(make_film(SOPClassUID=CT)))
