"""What the results take over from the film: whose it is, of which study, and what they refer to.

Makers write values that the standard forbids, and highdicom refuses. Such a value is left out of the results: they
are found by the UIDs, and a film is not to stay unscreened for a birth date of zeros.
"""

import io
import uuid
from collections.abc import Callable

from pydicom import dcmread
from pydicom.charset import decode_element
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

NAMESPACE = uuid.UUID("6f0d2f0e-6f0b-5c0e-9d53-6f6a3a7b8a51")
"""Of the UIDs that the node makes."""
CHARACTER_SET = "ISO_IR 192"
"""UTF-8, for the results: it holds whatever character set the film has."""

_SEXES = frozenset({"M", "F", "O", ""})


def derived_uid(*parts: str) -> UID:
    """Return a UID that is always the same for the same parts.

    Source:
        PS3.5, B.2: a UUID as a decimal number below 2.25.
    """
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(parts)).int}")


def read_source(film: bytes) -> Dataset:
    """Return a film's elements before its pixels, with all that results must have, in UTF-8."""
    header = dcmread(io.BytesIO(film), stop_before_pixels=True)
    written_in = header.get("SpecificCharacterSet") or ""
    for tag in list(header.keys()):
        try:
            decode_element(header[tag], written_in)
        except Exception:  # whatever a value that the standard forbids makes the parser raise
            del header[tag]
    header.remove_private_tags()
    header.SpecificCharacterSet = CHARACTER_SET
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName", "AccessionNumber", "StudyID"):
        _keep(header, keyword, str)
    _keep(header, "PatientBirthDate", lambda value: DA(str(value)))
    _keep(header, "StudyDate", lambda value: DA(str(value)))
    _keep(header, "StudyTime", lambda value: TM(str(value)))
    if str(header.get("PatientSex") or "") not in _SEXES:
        header.PatientSex = ""
    _keep(header, "PatientSex", str)
    return header


def instance_number(source: Dataset) -> int:
    """Return the film's number in its series, 1 where it has none."""
    try:
        return max(1, int(source.InstanceNumber))
    except (AttributeError, TypeError, ValueError):
        return 1


def _keep(header: Dataset, keyword: str, read: Callable[[object], object]) -> None:
    """Leave a value that can be read, and else the element empty."""
    try:
        value = header.get(keyword)
        if value is not None and not hasattr(value, "append"):  # of several values, none is the right one
            read(value)
            return
    except Exception:  # noqa: S110 - whatever a value that the standard forbids makes the parser raise
        pass
    setattr(header, keyword, "")
