import pytest

from handler.errors import MissingFilm, UnsupportedFormat
from handler.formats.registry import open_film

ACCEPTED = "send a JPEG, PNG, JPEG 2000 or DICOM file"


def test_file_of_no_format_is_refused_with_what_is_read() -> None:
    with pytest.raises(UnsupportedFormat, match=f"^the file is not a film that is read: {ACCEPTED}$"):
        open_film(b"GIF89a" + bytes(100))


def test_empty_file_is_refused_with_what_is_read() -> None:
    with pytest.raises(MissingFilm, match=f"^the file is empty: {ACCEPTED}$"):
        open_film(b"")
