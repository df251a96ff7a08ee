"""Destinations as they are written in the settings."""

import pytest

from dicom_node.addresses import DicomAddress, StowAddress, read_address, read_ae_title


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACS@10.0.0.5:104", DicomAddress("PACS", "10.0.0.5", 104)),
        ("MY PACS@pacs.example:11112", DicomAddress("MY PACS", "pacs.example", 11112)),
        ("PACS@[::1]:104", DicomAddress("PACS", "::1", 104)),
        ("http://pacs:8042/dicom-web/", StowAddress("http://pacs:8042/dicom-web")),
        ("https://me:se%40cret@pacs/dicom-web", StowAddress("https://pacs/dicom-web", "me", "se@cret")),
    ],
)
def test_destination_is_read(text: str, expected: object) -> None:
    assert read_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["PACS", "PACS@host", "PACS@host:0", "PACS@host:70000", "@host:104", "SEVENTEEN_LETTERS@host:104", "ftp://host/x",
     "http://", "https://host/?query", "PACS@a b:104"],
)  # fmt: skip
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"destination|AE title|base URL"):
        read_address(text)


def test_password_is_in_no_name_and_no_message() -> None:
    address = read_address("https://me:secret@pacs/dicom-web")
    assert "secret" not in address.name + repr(address)
    with pytest.raises(ValueError, match="base URL") as refused:
        read_address("https://me:secret@pacs/?q")
    assert "secret" not in str(refused.value)


def test_names_are_those_that_are_read_again() -> None:
    for text in ("PACS@10.0.0.5:104", "PACS@[::1]:104", "http://pacs:8042/dicom-web"):
        assert read_address(text).name == text


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "Ä"])
def test_what_is_no_ae_title_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        read_ae_title(text)


def test_padding_of_an_ae_title_means_nothing() -> None:
    assert read_ae_title(" STORE SCU ") == "STORE SCU"
