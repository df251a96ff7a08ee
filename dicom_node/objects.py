"""Which DICOM objects are taken: films of the SOP classes and transfer syntaxes that the service reads.

Only what the queue must know is read here. Whether it is a chest, and whether its pixels are whole, the service says.
"""

import hashlib
import io
import re
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID, SecondaryCaptureImageStorage

from dicom_node.errors import RefusedObjectError

FILM_CLASSES = (
    UID("1.2.840.10008.5.1.4.1.1.1"),  # Computed Radiography
    UID("1.2.840.10008.5.1.4.1.1.1.1"),  # Digital X-Ray, for presentation
    UID("1.2.840.10008.5.1.4.1.1.1.1.1"),  # Digital X-Ray, for processing
)
ACCEPTED_CLASSES = (*FILM_CLASSES, SecondaryCaptureImageStorage)
"""A digitised film, modality RG, has no SOP class of its own: it comes as a Secondary Capture."""

MODALITIES = frozenset({"CR", "DX", "DR", "RG"})
"""Of a Secondary Capture that is a film. The node's own results are of modality OT, and so never screened again."""

TRANSFER_SYNTAXES = tuple(
    UID(f"1.2.840.10008.1.2{suffix}")
    for suffix in (".1", "", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91")
)
"""What the service reads, but for the deflated one: a data set that must be inflated before it can be looked at."""

META_GROUP = 0x0002
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

# Of a C-STORE response (PS3.7, Annex C; PS3.4, Table B.2-1).
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_UID = re.compile(r"[0-9.]{1,64}")
"""Looser than the standard: makers write leading zeros."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the queue must know of an object."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    digest: str
    """SHA-256 of its data set, in hexadecimal: the file meta information is of the way that it came."""

    @property
    def instance(self) -> tuple[str, str]:
        """SOP class and instance UID, which name it in an answer."""
        return self.sop_class_uid, self.sop_instance_uid


def check_object(file: bytes) -> ObjectFacts:
    """Return what the queue must know of a DICOM file.

    Raises:
        RefusedObjectError: It is broken, lacks its identity, or is of a kind that is never screened.
    """
    header, begins_at = _parse(file)
    uids = [_text(header, keyword) for keyword in UIDS]
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise RefusedObjectError(CLASS_MISMATCH, "the SOP class, instance, study or series UID is missing or no UID")
    sop_class, instance, study, _ = uids
    if sop_class not in ACCEPTED_CLASSES:
        raise RefusedObjectError(CLASS_NOT_SUPPORTED, "neither a CR nor a DX image", instance=(sop_class, instance))
    if sop_class == SecondaryCaptureImageStorage and _text(header, "Modality") not in MODALITIES:
        message = "a Secondary Capture must be of modality RG, CR or DX"
        raise RefusedObjectError(CANNOT_UNDERSTAND, message, instance=(sop_class, instance))
    return ObjectFacts(sop_class, instance, study, hashlib.sha256(memoryview(file)[begins_at:]).hexdigest())


def _parse(file: bytes) -> tuple[Dataset, int]:
    """Return a file's elements before its pixels, and where its data set begins."""
    stream = io.BytesIO(file)
    try:
        read_preamble(stream, force=False)
        meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_is_after_meta)
        begins_at = stream.tell()
        syntax = _text(meta, "TransferSyntaxUID")
        if syntax in TRANSFER_SYNTAXES:
            stream.seek(0)
            return dcmread(stream, stop_before_pixels=True, specific_tags=[*UIDS, "Modality"]), begins_at
    except Exception as exc:  # whatever a broken file makes the parser stumble over
        raise RefusedObjectError(CANNOT_UNDERSTAND, "the object cannot be read as DICOM") from exc
    raise RefusedObjectError(CANNOT_UNDERSTAND, "the object is of a transfer syntax that is not read here")


def _is_after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
    return tag.group > META_GROUP


def _text(data_set: Dataset, keyword: str) -> str:
    try:
        return str(data_set.get(keyword) or "").strip(" \0")
    except Exception:  # whatever broken bytes make the parser stumble over, now that the value is wanted
        return ""
