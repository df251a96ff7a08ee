"""DICOM files of one frontal chest radiograph, in every transfer syntax that radiography writes (PS3.3, PS3.5, PS3.10).

A film takes at most a second of a core and 400 MB. Nothing that a file says of a patient is read, and no value of it is
in any text.
"""

from dataclasses import dataclass
from struct import Struct

import numpy as np

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats import jpeg, jpeg2000, png
from handler.formats.dicom_codes import CODE_BITS, OVERSAMPLING, codes, factor_for
from handler.formats.dicom_continuity import as_continuous
from handler.formats.dicom_kind import check_kind
from handler.formats.dicom_layout import Layout, read_layout, within_cells
from handler.formats.dicom_levels import Brightness
from handler.formats.dicom_pixels import frame, native_planes, open_frame, planes_of, rle_planes
from handler.formats.dicom_structure import LONG_VRS, MAGIC, PREAMBLE_BYTES, VRS, Structure, read_structure
from handler.formats.dicom_syntax import Coding
from handler.formats.dicom_values import Values
from handler.formats.jpeg import JpegSource
from handler.formats.jpeg2000 import Jpeg2000Source
from handler.formats.source import Header, Pixels, check_shape

_BAND_PIXELS = 30_000
"""About what is worked on together: it stays in the processor's cache."""
_FIRST_GROUPS = (0x0002, 0x0008)
_MAX_FIRST_BYTES = 256
"""Of the first value of a file without a preamble: a group's length, a character set, a UID, a date."""
_PICTURES = (jpeg, png, jpeg2000)
_META = tuple(b"\x02\0" + element for element in (b"\0\0UL\4\0", b"\1\0OB\0\0", b"\2\0UI", b"\3\0UI", b"\x10\0UI"))
"""How the file meta information begins: with its length or, where a writer leaves it out, what comes next."""
_MAX_FIRST_ELEMENT = 0x0018
"""SOP Instance UID, which every image has, is no later."""


def matches(data: bytes | bytearray | memoryview) -> bool:
    """Return whether the bytes are a DICOM file's: with its preamble, or begun by elements as one without it is."""
    meta = PREAMBLE_BYTES + len(MAGIC)
    if data[PREAMBLE_BYTES:meta] == MAGIC:
        # The preamble may begin as another format, for programs that know that one only (PS3.10, section 7.1); and a
        # picture may have these letters there, in a comment, but not the file meta information behind them.
        is_picture = any(picture.matches(data) for picture in _PICTURES)
        return not is_picture or bytes(data[meta : meta + 8]).startswith(_META)
    return any(_begins(data, order) for order in "<>")


def open(data: bytes | bytearray | memoryview) -> "DicomSource":  # noqa: A001 - the name every format's module gives
    """Check a DICOM file's structure, and that what it names is a frontal chest radiograph.

    Raises:
        UnsupportedFormat: its transfer syntax, depth or colours are not read.
        UnusableFilm: it holds no image or several, names another modality, body part or view, or exceeds a bound.
        DamagedFilm: it is cut, or not as the standard has it.
    """
    structure = read_structure(data)
    values = Values(structure.data_set)
    pixels = structure.data_set.pixels
    if structure.data_set.float_pixels:
        raise UnsupportedFormat("the DICOM file's pixels are floating-point numbers: 8 and 16 bits are read")
    if pixels is None or pixels.length == 0:
        raise UnusableFilm("the DICOM file holds no image: it may be a report, a directory or a presentation state")
    warnings = check_kind(values)
    layout = read_layout(values)
    check_shape(layout.columns, layout.rows)
    encoded = frame(structure, pixels)
    inner = open_frame(encoded, structure, layout)
    if inner is not None:
        layout = within_cells(layout, 8 if inner.header.bits <= 8 else 16)  # noqa: PLR2004
    if structure.syntax.coding is Coding.NATIVE:
        if len(encoded) < layout.native_bytes:
            raise DamagedFilm("the DICOM file is damaged or cut: it has fewer pixels than it says")
        stated, layout = layout, as_continuous(native_planes(encoded, structure, layout)[0], layout)
        if layout != stated:
            warnings = (*warnings, "Warning: the DICOM file misstates the bits or the sign of its pixels.")
    header = Header(
        kind="DICOM",
        width_px=layout.columns,
        height_px=layout.rows,
        bits=layout.stored,
        block_px=1 if inner is None else inner.header.block_px,
        warnings=warnings,
    )
    return DicomSource(header, structure, layout, Brightness(values, layout), encoded, inner)


@dataclass(frozen=True, slots=True)
class DicomSource:
    """A DICOM file whose structure has been checked."""

    header: Header
    structure: Structure
    layout: Layout
    brightness: Brightness
    encoded: memoryview
    """The film's pixels as they are in the file."""
    inner: JpegSource | Jpeg2000Source | None
    """The JPEG or JPEG 2000 that they are."""

    def read(self, min_px: int) -> Pixels:
        """Decode the film, and average it over blocks where that leaves no side shorter than twice `min_px`.

        Returns:
            (H, W) uint16, bright is dense tissue, over all that the film's bits can hold or over its window; or (H, W,
            3) RGB, over all that its bits can hold: uint8 up to 8 bits, else uint16.

        Raises:
            DamagedFilm: the film cannot be decoded whole.
        """
        planes, layout = self._planes(min_px)
        factor = factor_for(planes[0].shape, min_px)
        if len(planes) == 1:
            rises = self.brightness.rises
            return self.brightness.of(codes(planes[0], layout, factor=factor, rises=rises))
        wide = CODE_BITS if layout.stored > CODE_BITS // 2 else CODE_BITS // 2
        height, width = (side // factor for side in planes[0].shape)
        colours = np.empty((height, width, len(planes)), f"u{wide // 8}")
        for colour, plane in enumerate(planes):
            colours[..., colour] = codes(plane, layout, factor=factor, rises=True) >> np.uint16(CODE_BITS - wide)
        if self._is_ybr():
            _make_rgb(colours)
        return colours

    def _is_ybr(self) -> bool:
        """Whether decoded colours are luminance and differences: only the usual JPEG's decoder makes RGB of them."""
        decoded = self.inner is not None and self.inner.header.kind == "JPEG"
        return self.layout.photometric == "YBR_FULL" and not decoded

    def _planes(self, min_px: int) -> tuple[list[Pixels], Layout]:
        """Return the film's cells, (H, W) each, and how they lie in memory."""
        if self.inner is None:
            if self.structure.syntax.coding is Coding.RLE:
                return rle_planes(self.encoded, self.layout), self.layout
            return native_planes(self.encoded, self.structure, self.layout), self.layout
        if not isinstance(self.inner, Jpeg2000Source):
            decoded = _as_stored(self.inner.read(min_px), self.inner.header.bits)
        else:
            # Its smaller resolutions are blurred less than a mean: they are averaged as an uncompressed film is.
            decoded = self.inner.read(OVERSAMPLING * min_px)
        layout = within_cells(self.layout, 8 * decoded.itemsize)
        is_raised = isinstance(self.inner, Jpeg2000Source) and self.inner.is_signed
        middle = 1 << (self.inner.header.bits - 1) if is_raised else 0
        # Where the coder took signed values for unsigned ones, or the reverse, its loss is not at the ends of a range.
        if self.inner.is_lossy and is_raised == layout.signed:
            decoded = _clipped(decoded, layout, middle)
        if is_raised and layout.signed:
            decoded = decoded ^ decoded.dtype.type(middle)  # as it would be in a cell
        return planes_of(decoded), layout


def _as_stored(pixels: Pixels, bits: int) -> Pixels:
    """Return samples of fewer than 8 bits as they were coded: decoded, they are scaled to 8."""
    if bits >= 8:  # noqa: PLR2004
        return pixels
    levels = -(-np.arange(256) * ((1 << bits) - 1) // 255)
    stored: Pixels = levels.astype(np.uint8)[pixels]
    return stored


def _clipped(decoded: Pixels, layout: Layout, middle: int) -> Pixels:
    """Return samples within what the film's bits hold: coding with loss overshoots, and white would become black.

    Args:
        decoded: Any shape.
        layout: Where the film's bits lie in them.
        middle: What signed samples are raised by; 0 of unsigned ones.
    """
    levels = 1 << (layout.stored + layout.shift)
    least = middle - levels // 2 if middle else 0
    most = least + levels - 1
    if least <= 0 and most >= np.iinfo(decoded.dtype).max:
        return decoded
    return decoded.clip(max(least, 0), most)


def _make_rgb(colours: Pixels) -> None:
    """Make red, green and blue of luminance and the two colour differences (H, W, 3), in place and a band at a time.

    Source:
        PS3.3, C.7.6.3.1.2.
    """
    top = np.iinfo(colours.dtype).max
    step = max(1, _BAND_PIXELS // colours.shape[1])
    for start in range(0, len(colours), step):
        band = colours[start : start + step]
        y, b, r = np.moveaxis(band.astype(np.float32), -1, 0)
        b -= (top + 1) // 2
        r -= (top + 1) // 2
        rgb = (y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b)
        for colour, plane in enumerate(rgb):
            band[..., colour] = np.clip(plane + 0.5, 0, top)


def _begins(data: bytes | bytearray | memoryview, order: str) -> bool:
    """Return whether a file without a preamble begins here: two elements in order, of groups and lengths as usual."""
    at, before = 0, -1
    for _ in range(2):
        head = bytes(data[at : at + 12])
        if len(head) < 12:  # noqa: PLR2004 - tag, VR, reserved bytes and length
            return False
        group, number = Struct(f"{order}HH").unpack_from(head)
        vr = head[4:6]
        start, length = 8, Struct(f"{order}L").unpack_from(head, 4)[0]
        if vr in VRS:
            if vr in LONG_VRS:
                start, length = 12, Struct(f"{order}L").unpack_from(head, 8)[0]
            else:
                length = Struct(f"{order}H").unpack_from(head, 6)[0]
        if before < 0 and (group not in _FIRST_GROUPS or number > _MAX_FIRST_ELEMENT):
            return False
        if group << 16 | number <= before or length > _MAX_FIRST_BYTES:
            return False
        at, before = at + start + length, group << 16 | number
    return True
