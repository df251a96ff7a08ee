"""Which formats are read. To add one: a module with `matches` and `open`, and its name in FORMATS."""

from types import ModuleType

from handler.errors import MissingFilm, UnsupportedFormat
from handler.formats import dicom, jpeg, jpeg2000, png
from handler.formats.source import Source

FORMATS: tuple[ModuleType, ...] = (dicom, jpeg, png, jpeg2000)
"""In the order in which they are tried: a DICOM file may begin as a JPEG does. Each has:

- `matches(data) -> bool`: whether the first bytes are of this format;
- `open(data) -> Source`: check the structure; raises a `FilmError`.
"""

SEND = "send a JPEG, PNG, JPEG 2000 or DICOM file"
"""What an error asks for."""


def open_film(data: bytes | bytearray | memoryview) -> Source:
    """Return the file, its structure checked.

    Raises:
        MissingFilm: there are no bytes.
        UnsupportedFormat: the file is of no format that is read.
        DamagedFilm: the format's module finds it cut or broken.
        UnusableFilm: the format's module finds that it is no film, or would cost too much.
    """
    if not data:
        raise MissingFilm(f"the file is empty: {SEND}")
    for module in FORMATS:
        if module.matches(data):
            source: Source = module.open(data)
            return source
    raise UnsupportedFormat(f"the file is not a film that is read: {SEND}")
