"""Which formats are read. To add one: a module with `matches` and `open`, and its name in FORMATS."""

from types import ModuleType

from handler.errors import MissingFilm, UnsupportedFormat
from handler.formats import dicom, jpeg, jpeg2000, png
from handler.formats.source import Source

FORMATS: tuple[ModuleType, ...] = (jpeg, png, dicom, jpeg2000)
"""In the order in which they are tried. Each has:

- `matches(data) -> bool`: whether the first bytes are of this format;
- `open(data) -> Source`: check the structure; raises a `FilmError`.
"""


def open_film(data: bytes | bytearray | memoryview) -> Source:
    """Return the file, its structure checked.

    Raises:
        MissingFilm: no bytes.
        UnsupportedFormat: of no format that is read.
        DamagedFilm, UnusableFilm: as the format's module finds.
    """
    if not data:
        raise MissingFilm("the file is empty: send a film as JPEG, PNG or DICOM")
    for module in FORMATS:
        if module.matches(data):
            source: Source = module.open(data)
            return source
    raise UnsupportedFormat("the file is not a JPEG, PNG or DICOM")
