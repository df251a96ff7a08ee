"""How a DICOM image's samples are to be understood: the Image Pixel module (PS3.3, C.7.6.3)."""

from dataclasses import dataclass, replace

from handler.errors import DamagedFilm, UnsupportedFormat
from handler.formats.dicom_values import Values

_GREYS = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_BYTE_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The shape of an image and the place of its bits."""

    rows: int
    columns: int
    samples: int
    """1 or 3."""
    photometric: str
    """MONOCHROME1, MONOCHROME2, RGB or one of the YBR kinds."""
    allocated: int
    """Bits of a sample's cell, 8 or 16."""
    stored: int
    """Bits of a sample, 1 to `allocated`."""
    shift: int
    """Of the sample in its cell: what lies above and below it is not the film's, but an overlay's."""
    signed: bool
    planar: bool
    """Whether each colour's plane follows the other, and not each pixel's colours."""
    padding: tuple[int, int] | None
    """The least and the greatest cell that is no part of the film, as unsigned numbers."""

    @property
    def is_grey(self) -> bool:
        """Whether a sample is a grey level."""
        return self.samples == 1

    @property
    def is_subsampled(self) -> bool:
        """Whether, uncompressed, two pixels share their colours (PS3.3, C.7.6.3.1.2)."""
        return self.photometric == "YBR_FULL_422"

    @property
    def sample_bytes(self) -> int:
        """Bytes of a cell."""
        return self.allocated // _BYTE_BITS

    @property
    def native_bytes(self) -> int:
        """Bytes of the image where it is not compressed."""
        return self.rows * self.columns * self.sample_bytes * (2 if self.is_subsampled else self.samples)

    @property
    def mask(self) -> int:
        """Of a sample's bits, after the shift."""
        return (1 << self.stored) - 1

    @property
    def sign(self) -> int:
        """The bit to turn over, so that codes rise with the values; 0 of an unsigned sample."""
        return 1 << (self.stored - 1) if self.signed else 0


def read_layout(values: Values) -> Layout:
    """Return the image's layout.

    Raises:
        DamagedFilm: the file states no size.
        UnsupportedFormat: its colours or its depth are not read.
    """
    rows, columns = values.whole("Rows") or 0, values.whole("Columns") or 0
    if rows <= 0 or columns <= 0:
        raise DamagedFilm("the DICOM file is damaged: it does not say how large its image is")
    samples, photometric = _colours(values)
    allocated = values.whole("BitsAllocated") or 0
    if allocated not in (_BYTE_BITS, 2 * _BYTE_BITS):
        raise UnsupportedFormat("the DICOM file's pixels are not of 8 or 16 bits: only these are read")
    stored = values.whole("BitsStored") or allocated
    if not 1 <= stored <= allocated:
        stored = allocated
    high = values.whole("HighBit")
    # Where the highest bit cannot be what is said, the sample is taken to lie where nearly all do.
    shift = high + 1 - stored if high is not None and stored - 1 <= high < allocated else 0
    signed = values.whole("PixelRepresentation") == 1
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        allocated=allocated,
        stored=stored,
        shift=shift,
        signed=signed,
        planar=values.whole("PlanarConfiguration") == 1,
        padding=_padding(values, allocated=allocated, signed=signed),
    )


def within_cells(layout: Layout, allocated: int) -> Layout:
    """Return the layout of the same samples in cells of 8 or 16 bits, as a decoder has made them."""
    stored = min(layout.stored, allocated)
    return replace(
        layout, allocated=allocated, stored=stored, shift=layout.shift if layout.shift + stored <= allocated else 0
    )


def of_other_sign(layout: Layout) -> Layout:
    """Return the layout of the same cells as signed samples where they are unsigned, and the reverse."""
    padding = layout.padding
    if padding is not None:
        first, last = sorted(_of_sign(limit, allocated=layout.allocated, signed=not layout.signed) for limit in padding)
        padding = first, last
    return replace(layout, signed=not layout.signed, padding=padding)


def _of_sign(cell: int, *, allocated: int, signed: bool) -> int:
    """Return a cell as a signed or as an unsigned number."""
    top = 1 << allocated
    cell %= top
    return cell - top if signed and cell >= top // 2 else cell


def _colours(values: Values) -> tuple[int, str]:
    """Return samples per pixel and the photometric interpretation."""
    samples = values.whole("SamplesPerPixel") or 1
    photometric = values.text("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    if not (samples == 1 and photometric in _GREYS) and not (samples == 3 and photometric in _COLOURS):  # noqa: PLR2004
        raise UnsupportedFormat(
            "the DICOM file's colours are not read: send it as MONOCHROME1, MONOCHROME2, RGB or YBR_FULL"
        )
    return samples, photometric


def _padding(values: Values, *, allocated: int, signed: bool) -> tuple[int, int] | None:
    """Return the range of Pixel Padding Value and Range Limit (PS3.3, C.7.5.1.1.2) as it is in the cells."""
    limits = [values.raw("PixelPaddingValue"), values.raw("PixelPaddingRangeLimit")]
    cells = [int.from_bytes(raw[:2], "little" if values.order == "<" else "big") for raw in limits if len(raw) >= 2]  # noqa: PLR2004
    if not limits[0] or not cells:
        return None
    cells = [_of_sign(cell, allocated=allocated, signed=signed) for cell in cells]
    return min(cells), max(cells)
