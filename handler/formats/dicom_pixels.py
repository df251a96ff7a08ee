"""The cells of a DICOM image: its samples as they are stored, after decompression and before any meaning."""

from types import ModuleType

import imagecodecs
import numpy as np
import numpy.typing as npt

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats import jpeg, jpeg2000
from handler.formats.dicom_layout import Layout
from handler.formats.dicom_structure import Element, Structure, fragments
from handler.formats.dicom_syntax import Coding
from handler.formats.jpeg import JpegSource
from handler.formats.jpeg2000 import Jpeg2000Source
from handler.formats.source import Pixels

_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_FRAME_CODINGS = (Coding.JPEG, Coding.JPEG_2000)
_FRAME_FORMATS: tuple[ModuleType, ...] = (jpeg, jpeg2000)


def frame(structure: Structure, pixels: Element) -> memoryview:
    """Return the bytes of the film's pixels; of compressed ones, all fragments in one.

    Raises:
        DamagedFilm: the pixels are cut, or compressed ones are not in items.
        UnusableFilm: there are no pixels, or too many fragments.
    """
    data = structure.data_set.data
    if not pixels.undefined:
        if pixels.end > len(data):
            raise DamagedFilm("the DICOM file is cut: its pixels are longer than what is left of it")
        value = data[pixels.start : pixels.end]
        if structure.syntax.coding is Coding.NATIVE or value[:4] != _ITEM_BYTES:
            return value
    found = fragments(data, pixels)
    if not found:
        raise UnusableFilm("the DICOM file holds no image: its pixels are empty")
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def open_frame(data: memoryview, structure: Structure, layout: Layout) -> JpegSource | Jpeg2000Source | None:
    """Return the JPEG or JPEG 2000 that the pixels are, its structure checked; None where they are neither.

    What they begin with says which, as files are met in which the transfer syntax names another.

    Raises:
        FilmError: the JPEG or JPEG 2000 is not read, damaged, too costly or no film.
        DamagedFilm: the pixels are neither, though the transfer syntax says so, or of another size than the file says.
    """
    if structure.syntax.coding not in _FRAME_CODINGS:
        return None
    module = next((module for module in _FRAME_FORMATS if module.matches(data)), None)
    if module is None:
        raise DamagedFilm(f"the DICOM file is damaged: its pixels are no {structure.syntax.coding.value}")
    source: JpegSource | Jpeg2000Source = module.open(data)
    if (source.header.width_px, source.header.height_px) != (layout.columns, layout.rows):
        raise DamagedFilm("the DICOM file is damaged: its compressed pixels are of another size than it says")
    return source


def planes_of(pixels: Pixels) -> list[Pixels]:
    """Return the planes (H, W) of decoded pixels (H, W) or (H, W, 3)."""
    return [pixels] if pixels.ndim == 2 else [pixels[..., colour] for colour in range(3)]  # noqa: PLR2004


def native_planes(data: memoryview, structure: Structure, layout: Layout) -> list[Pixels]:
    """Return the planes (H, W) of uncompressed pixels, in the file's byte order and, but for 8-bit words, not copied.

    Of YBR_FULL_422 only the luminance.

    Raises:
        DamagedFilm: words of two bytes end in the middle of one.
        UnsupportedFormat: colours are subsampled over an odd number of columns.

    Source:
        PS3.5, section 8.1.1 and 8.2; PS3.3, C.7.6.3.1.2 and C.7.6.3.1.3.
    """
    encoding, pixels = structure.data_set.encoding, structure.data_set.pixels
    cells = np.frombuffer(data, np.uint8)
    if layout.sample_bytes == 2:  # noqa: PLR2004
        cells = cells[: layout.native_bytes].view(f"{encoding.order}u2")
    elif not encoding.little and pixels is not None and pixels.vr == b"OW":
        cells = cells[: layout.native_bytes + layout.native_bytes % 2]
        if len(cells) % 2:
            raise DamagedFilm("the DICOM file is damaged or cut: it has fewer pixels than it says")
        cells = cells.view(">u2").astype("<u2").view(np.uint8)
    cells = cells[: layout.native_bytes // layout.sample_bytes]
    if layout.is_subsampled:
        if layout.columns % 2:
            raise UnsupportedFormat("the DICOM file's colours are subsampled over an odd number of columns: not read")
        return [cells.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns)]
    return _split(cells, layout, planar=layout.planar)


def rle_planes(data: memoryview, layout: Layout) -> list[Pixels]:
    """Return the planes (H, W) of run-length encoded pixels (PS3.5, annex G).

    Raises:
        DamagedFilm: the runs cannot be decoded, or to more or fewer samples than the film has.
    """
    cells = np.empty(layout.rows * layout.columns * layout.samples * layout.sample_bytes, np.uint8)
    try:
        decoded = imagecodecs.dicomrle_decode(bytes(data), f"<u{layout.sample_bytes}", out=cells.data)
    except (ValueError, RuntimeError):
        raise DamagedFilm("the DICOM file is damaged: its run-length encoded pixels cannot be decoded") from None
    if len(decoded) != len(cells):
        raise DamagedFilm("the DICOM file is damaged: it has fewer run-length encoded pixels than it says")
    return _split(cells.view(f"<u{layout.sample_bytes}"), layout, planar=True)


def _split(cells: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], layout: Layout, *, planar: bool) -> list[Pixels]:
    """Return the planes (H, W) of samples in a row."""
    if layout.is_grey or planar:
        return list(cells.reshape(layout.samples, layout.rows, layout.columns))
    return list(np.moveaxis(cells.reshape(layout.rows, layout.columns, layout.samples), -1, 0))
