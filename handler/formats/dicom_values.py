"""The values of a DICOM data set's wanted elements, converted by pydicom; what cannot be converted counts as missing.

pydicom never sees the file: it gets a flat data set of the few known elements, written anew with the VR that each has
in the standard. That bounds what it does, and leaves nothing in a file that it would warn of or log.
"""

import logging
import math
from functools import cached_property
from io import BytesIO
from typing import Any

import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue

from handler.formats.dicom_structure import VRS, DataSet, Element

# Set once, for all threads: a value that breaks the standard's rules is judged here, and no value is to be logged.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

MAX_TEXT_BYTES = 1_024

_KEYWORDS = {
    "SOPClassUID": b"UI",
    "Modality": b"CS",
    "PresentationIntentType": b"CS",
    "CodeMeaning": b"LO",
    "BodyPartExamined": b"CS",
    "ViewPosition": b"CS",
    "PatientAge": b"AS",
    "PatientOrientation": b"CS",
    "SamplesPerPixel": b"US",
    "PhotometricInterpretation": b"CS",
    "PlanarConfiguration": b"US",
    "NumberOfFrames": b"IS",
    "Rows": b"US",
    "Columns": b"US",
    "BitsAllocated": b"US",
    "BitsStored": b"US",
    "HighBit": b"US",
    "PixelRepresentation": b"US",
    "WindowCenter": b"DS",
    "WindowWidth": b"DS",
    "RescaleIntercept": b"DS",
    "RescaleSlope": b"DS",
    "VOILUTFunction": b"CS",
    "PresentationLUTShape": b"CS",
}
"""What pydicom converts, and its VR (PS3.6)."""
_TAGS = {keyword: tag_for_keyword(keyword) for keyword in _KEYWORDS}

_OTHER_VRS = {b"US", b"SS", b"UL", b"SL", b"IS", b"DS", b"FL", b"FD", b"CS", b"LO", b"SH", b"UI", b"ST", b"LT"}
"""VRs that writers use by mistake for these elements, and that hold a number or a text as well."""


class Values:
    """The values of one data set, or of one item."""

    def __init__(self, data_set: DataSet) -> None:
        self._found = data_set
        self.order = data_set.encoding.order

    def text(self, keyword: str) -> str:
        """Return the first value as capitals without padding; empty where there is none."""
        texts = self.texts(keyword)
        return texts[0] if texts else ""

    def texts(self, keyword: str) -> list[str]:
        """Return all values as `text` does."""
        return [str(value).strip(" \0").upper() for value in self._all(keyword)]

    def number(self, keyword: str) -> float | None:
        """Return the first value where it is a finite number."""
        try:
            number = float(self._all(keyword)[0])
        except (IndexError, ValueError, TypeError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def whole(self, keyword: str) -> int | None:
        """Return the first value where it is a number, without its fraction."""
        number = self.number(keyword)
        return None if number is None else int(number)

    def item(self, keyword: str) -> "Values | None":
        """Return the first item of a sequence."""
        item = self._found.items.get(tag_for_keyword(keyword) or 0)
        return None if item is None else Values(item)

    def raw(self, keyword: str) -> bytes:
        """Return a value's bytes as they are in the file, of `order`; empty where there are none."""
        element = self._element(keyword)
        return b"" if element is None else bytes(self._found.data[element.start : element.end])

    def vr(self, keyword: str) -> bytes:
        """Return the VR that the file names for an element; empty where it names none."""
        element = self._element(keyword)
        return b"" if element is None else element.vr

    def _element(self, keyword: str) -> Element | None:
        return self._found.elements.get(tag_for_keyword(keyword) or 0)

    def _all(self, keyword: str) -> list[Any]:
        try:
            value = self._converted[_TAGS[keyword]].value  # type: ignore[index]
        except Exception:  # pydicom's converters raise whatever they meet
            return []
        if isinstance(value, (MultiValue, list)):
            return list(value)
        return [] if value is None else [value]

    @cached_property
    def _converted(self) -> Dataset:
        """The wanted elements as pydicom reads them, each when it is asked for."""
        written = b"".join(self._written(keyword) for keyword in _KEYWORDS)
        return read_dataset(BytesIO(written), is_implicit_VR=False, is_little_endian=self.order == "<")

    def _written(self, keyword: str) -> bytes:
        """Return an element as explicit VR; nothing where it is missing, or longer than any such value."""
        element = self._element(keyword)
        if element is None or element.length > MAX_TEXT_BYTES:
            return b""
        vr = element.vr if element.vr in _OTHER_VRS & VRS else _KEYWORDS[keyword]
        order = "little" if self.order == "<" else "big"
        group, number = divmod(element.tag, 1 << 16)
        head = b"".join(
            [group.to_bytes(2, order), number.to_bytes(2, order), vr, element.length.to_bytes(2, order)]  # type: ignore[arg-type]
        )
        return head + self.raw(keyword)
