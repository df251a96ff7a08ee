"""Transfer syntaxes: how a DICOM file's elements and its pixels are encoded (PS3.5, section 10 and annex A)."""

from dataclasses import dataclass
from enum import Enum

from handler.errors import UnsupportedFormat


class Coding(Enum):
    """How the pixels lie in the file."""

    NATIVE = "uncompressed"
    JPEG = "JPEG, lossless JPEG or JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    RLE = "RLE"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written."""

    explicit: bool
    """Whether each element names its value representation (VR)."""
    little: bool
    """Whether the least byte of a number comes first."""

    @property
    def order(self) -> str:
        """As `struct` and numpy write it."""
        return "<" if self.little else ">"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax."""

    coding: Coding
    encoding: Encoding
    deflated: bool = False


EXPLICIT_LITTLE = Encoding(explicit=True, little=True)
IMPLICIT_LITTLE = Encoding(explicit=False, little=True)
EXPLICIT_BIG = Encoding(explicit=True, little=False)

NATIVE = TransferSyntax(Coding.NATIVE, IMPLICIT_LITTLE)
"""What holds where a file names none (PS3.5, section 10.1)."""
_JPEG = TransferSyntax(Coding.JPEG, EXPLICIT_LITTLE)
_JPEG_2000 = TransferSyntax(Coding.JPEG_2000, EXPLICIT_LITTLE)

TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": NATIVE,
    "1.2.840.10008.1.2.1": TransferSyntax(Coding.NATIVE, EXPLICIT_LITTLE),
    "1.2.840.10008.1.2.1.99": TransferSyntax(Coding.NATIVE, EXPLICIT_LITTLE, deflated=True),
    "1.2.840.10008.1.2.2": TransferSyntax(Coding.NATIVE, EXPLICIT_BIG),
    "1.2.840.10008.1.2.4.50": _JPEG,  # baseline
    "1.2.840.10008.1.2.4.51": _JPEG,  # extended, 8 and 12 bits
    "1.2.840.10008.1.2.4.57": _JPEG,  # lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _JPEG,  # JPEG-LS
    "1.2.840.10008.1.2.4.81": _JPEG,  # JPEG-LS, near-lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.5": TransferSyntax(Coding.RLE, EXPLICIT_LITTLE),
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return the transfer syntax of a UID; without one, the default.

    Raises:
        UnsupportedFormat: the transfer syntax is not read.
    """
    if not uid:
        return NATIVE
    try:
        return TRANSFER_SYNTAXES[uid]
    except KeyError:
        raise UnsupportedFormat(
            "the DICOM file's transfer syntax is not read: send it uncompressed, deflated, or as JPEG, lossless JPEG, "
            "JPEG-LS, JPEG 2000 or RLE"
        ) from None
