"""DICOM files of a film in every transfer syntax: what a clinic sends where other tests send a JPEG."""

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

SYNTAXES = {
    "implicit": UID("1.2.840.10008.1.2"),
    "explicit": UID("1.2.840.10008.1.2.1"),
    "deflated": UID("1.2.840.10008.1.2.1.99"),
    "big endian": UID("1.2.840.10008.1.2.2"),
    "RLE": UID("1.2.840.10008.1.2.5"),
    "JPEG baseline": UID("1.2.840.10008.1.2.4.50"),
    "JPEG extended": UID("1.2.840.10008.1.2.4.51"),
    "lossless JPEG": UID("1.2.840.10008.1.2.4.57"),
    "lossless JPEG, first order": UID("1.2.840.10008.1.2.4.70"),
    "JPEG-LS": UID("1.2.840.10008.1.2.4.80"),
    "JPEG-LS, near lossless": UID("1.2.840.10008.1.2.4.81"),
    "JPEG 2000, lossless": UID("1.2.840.10008.1.2.4.90"),
    "JPEG 2000": UID("1.2.840.10008.1.2.4.91"),
}
"""By name, for tests to run through."""
LOSSY = frozenset({"JPEG baseline", "JPEG extended", "JPEG-LS, near lossless", "JPEG 2000"})
MOST_BITS = {"JPEG baseline": 8, "JPEG extended": 12}
"""Of the syntaxes that cannot hold 16."""

Film = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def dicom(  # noqa: PLR0913 - a film has that many sides
    film: Film,
    *,
    transfer_syntax: str = "explicit",
    photometric: str = "MONOCHROME2",
    bits_stored: int | None = None,
    high_bit: int | None = None,
    signed: bool = False,
    window: tuple[float, float] | None = None,
    modality: str | None = "DX",
    body_part: str | None = "CHEST",
    view: str | None = "PA",
    preamble: bool = True,
    **tags: Any,
) -> bytes:
    """Return a film as a DICOM file that shows it.

    Args:
        film: (H, W) or (H, W, 3), bright is dense tissue; its values fit into `bits_stored`.
        transfer_syntax: A name of SYNTAXES, or a UID, which is then named beside uncompressed pixels.
        photometric: Of MONOCHROME1 the stored values are the film's negative.
        bits_stored: The film's own depth, 8 or 16, where it is left out.
        high_bit: Where it lies in its cell; as low as it can where it is left out.
        signed: Stored values are the film's less half of their range.
        window: Centre and width.
        modality: None leaves the element out, as of the two that follow.
        body_part: Body Part Examined.
        view: View Position.
        preamble: Without it, the file begins with the data set.
        **tags: Other elements by keyword; None leaves one out.
    """
    stored = bits_stored or 8 * film.itemsize
    allocated = 8 if stored <= 8 and (high_bit or 0) < 8 else 16
    high = stored - 1 if high_bit is None else high_bit
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data_set.SOPInstanceUID = "1.2.3.4"
    data_set.Rows, data_set.Columns = film.shape[:2]
    data_set.SamplesPerPixel = 1 if film.ndim == 2 else 3
    data_set.PhotometricInterpretation = photometric if film.ndim == 2 else "RGB"
    if film.ndim == 3:
        data_set.PlanarConfiguration = 0
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = allocated, stored, high
    data_set.PixelRepresentation = int(signed)
    if window is not None:
        data_set.WindowCenter, data_set.WindowWidth = window
    values = stored_cells(film, stored, inverted=photometric == "MONOCHROME1", signed=signed)
    values <<= np.uint16(high + 1 - stored)
    cells: Film = values.astype(np.uint8) if allocated == 8 else values
    named = {"Modality": modality, "BodyPartExamined": body_part, "ViewPosition": view}
    for keyword, value in (named | tags).items():
        if value is None:
            if keyword in data_set:
                delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    if "PixelData" not in tags:
        set_pixels(data_set, cells, high + 1, transfer_syntax)
    uid = SYNTAXES.get(transfer_syntax, UID(transfer_syntax))
    return written(data_set, uid, preamble=preamble)


def stored_cells(film: Film, bits: int, *, inverted: bool = False, signed: bool = False) -> npt.NDArray[np.uint16]:
    """Return the film as stored values of that many bits, as their bits are in a cell."""
    top = (1 << bits) - 1
    cells = film.astype(np.uint16)
    if inverted:
        cells = np.uint16(top) - cells
    if signed:
        cells ^= np.uint16(1 << (bits - 1))
    return cells


def set_pixels(data_set: Dataset, cells: Film, bits: int, transfer_syntax: str) -> None:
    """Put cells of which the lowest `bits` are used into a data set as a transfer syntax has them."""
    frame = compressed(cells, bits, transfer_syntax)
    if frame is not None:
        data_set.PixelData = encapsulate([frame])
        return
    raw = (cells.byteswap() if transfer_syntax == "big endian" else cells).tobytes()
    if transfer_syntax not in SYNTAXES:
        data_set.PixelData = encapsulate([raw])
        return
    data_set.PixelData = raw + b"\0" * (len(raw) % 2)
    data_set["PixelData"].VR = "OB" if cells.itemsize == 1 else "OW"


def compressed(cells: Film, bits: int, transfer_syntax: str) -> bytes | None:
    """Return cells of which the lowest `bits` are used as a transfer syntax compresses them; None where it does not."""
    whole = 8 * cells.itemsize
    encoders: dict[str, Callable[[], bytes | bytearray]] = {
        "RLE": lambda: _run_lengths(cells),
        "JPEG baseline": lambda: imagecodecs.jpeg8_encode(cells, level=95),
        "JPEG extended": lambda: imagecodecs.jpeg8_encode(cells, level=95, bitspersample=8 if whole == 8 else 12),
        "lossless JPEG": lambda: imagecodecs.jpeg8_encode(cells, lossless=True, bitspersample=bits),
        "lossless JPEG, first order": lambda: imagecodecs.jpeg8_encode(cells, lossless=True, bitspersample=whole),
        "JPEG-LS": lambda: imagecodecs.jpegls_encode(cells),
        "JPEG-LS, near lossless": lambda: imagecodecs.jpegls_encode(cells, level=2),
        "JPEG 2000, lossless": lambda: imagecodecs.jpeg2k_encode(cells, codecformat="j2k", level=0, reversible=True),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_encode(cells, codecformat="j2k", level=60, bitspersample=bits),
    }
    return bytes(encoders[transfer_syntax]()) if transfer_syntax in encoders else None


def _run_lengths(cells: Film) -> bytes:
    encoder: Any = get_encoder(SYNTAXES["RLE"])
    encoded: bytes = encoder.encode(
        cells,
        rows=cells.shape[0],
        columns=cells.shape[1],
        samples_per_pixel=1 if cells.ndim == 2 else 3,
        bits_allocated=8 * cells.itemsize,
        bits_stored=8 * cells.itemsize,
        pixel_representation=0,
        number_of_frames=1,
        planar_configuration=0,
        photometric_interpretation="MONOCHROME2" if cells.ndim == 2 else "RGB",
        encoding_plugin="pydicom",
    )
    return encoded


def written(data_set: Dataset, uid: UID | str = SYNTAXES["explicit"], *, preamble: bool = True) -> bytes:
    """Return a data set as a file; without a preamble, also without file meta information."""
    file = io.BytesIO()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(uid)
    big, implicit = uid == SYNTAXES["big endian"], uid == SYNTAXES["implicit"]
    if preamble:
        known = UID(uid).is_transfer_syntax
        options: dict[str, Any] = {} if known else {"implicit_vr": False, "little_endian": True}
        data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", "1.2.3")
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", "1.2.3")
        dcmwrite(file, data_set, enforce_file_format=True, **options)
    else:
        del data_set.file_meta
        dcmwrite(file, data_set, implicit_vr=implicit, little_endian=not big)
    return file.getvalue()
