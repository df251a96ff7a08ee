"""Files that a film may come in: PNG, JPEG, and DICOM in the transfer syntaxes that clinics send."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pydicom.uid import ExplicitVRLittleEndian as Uncompressed

Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W), bright is dense tissue."""

DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"
"""Digital X-Ray Image Storage - For Presentation (DICOM PS3.6, A)."""


def png(film: Levels) -> bytes:
    """Return levels (H, W) as a PNG of their depth."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(film), level=1))


def jpeg(film: npt.NDArray[np.uint8]) -> bytes:
    """Return levels (H, W) as a JPEG."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(film), level=95))


def _run_lengths(film: Levels) -> bytes:
    encoder: Any = get_encoder(RLELossless)
    encoded: bytes = encoder.encode(
        film,
        rows=film.shape[0],
        columns=film.shape[1],
        samples_per_pixel=1,
        bits_allocated=8 * film.itemsize,
        bits_stored=8 * film.itemsize,
        pixel_representation=0,
        number_of_frames=1,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )
    return encoded


_ENCODERS: Mapping[str, Callable[[Levels], bytes | bytearray]] = {
    JPEGBaseline8Bit: lambda film: imagecodecs.jpeg8_encode(film, level=95),
    JPEGLosslessSV1: lambda film: imagecodecs.jpeg8_encode(film, lossless=True, bitspersample=8 * film.itemsize),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda film: imagecodecs.jpeg2k_encode(film, codecformat="j2k", level=0, reversible=True),
    RLELossless: _run_lengths,
}


def dicom(film: Levels, *, bits: int = 8, transfer_syntax: str = Uncompressed) -> bytes:
    """Return levels (H, W) as a DICOM file of a frontal chest film.

    Args:
        film: Values that fit into `bits`.
        bits: Stored in a cell of 8 or 16.
        transfer_syntax: The UID of an uncompressed one, or of one of those that this module encodes.

    Raises:
        KeyError: the transfer syntax is another.
    """
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = DIGITAL_X_RAY, generate_uid(entropy_srcs=["invariance"])
    data_set.Modality, data_set.BodyPartExamined, data_set.ViewPosition = "DX", "CHEST", "PA"
    data_set.Rows, data_set.Columns = film.shape
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8 * film.itemsize, bits, bits - 1
    data_set.PixelRepresentation = 0
    if transfer_syntax == Uncompressed:
        raw = film.tobytes()  # in the order of rows, whatever lies in memory
        data_set.PixelData = raw + b"\0" * (len(raw) % 2)
        data_set["PixelData"].VR = "OB" if film.itemsize == 1 else "OW"
    else:
        data_set.PixelData = encapsulate([bytes(_ENCODERS[transfer_syntax](film.copy()))])
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    file = io.BytesIO()
    dcmwrite(file, data_set, enforce_file_format=True)
    return file.getvalue()
