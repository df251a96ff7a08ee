"""JPEG 2000, in a JP2 file or as a codestream: grey or RGB, at the smallest of its resolutions that serves.

A film takes at most about a second of a core and `PEAK_BYTES` of memory beside the file itself: at full resolution
that would be 3 megapixels; but all usual ones hold smaller resolutions, which are decoded for a fraction.

Altered bytes within a block are detected by `jpeg2000_blocks`, mostly: where a check, together with decoding, takes no
more than that second. Where it would, or where packets are not ordered by resolution, they cannot be known.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from handler.errors import DamagedFilm, UnusableFilm
from handler.formats import jpeg2000_blocks
from handler.formats.jpeg2000_structure import CODESTREAM_SIGNATURE, JP2_SIGNATURE, Structure, parse
from handler.formats.source import MAX_COST_NS, Header, Pixels

PEAK_BYTES = 300_000_000
"""The most that one film's decoding takes; usual ones take 10 MB."""
# Nanoseconds a sample, about 1.5 times what was measured.
_BIT_PLANE_NS = 20.0
_SAMPLE_NS = 30.0
_LEAST_PX = 224
"""What a film is decoded to at the least: what costs too much at that is refused before anything is asked."""


def matches(data: bytes | bytearray | memoryview) -> bool:
    """Return whether the bytes start as a JP2 file or a JPEG 2000 codestream does."""
    return data[:12] == JP2_SIGNATURE or data[:4] == CODESTREAM_SIGNATURE


def open(data: bytes | bytearray | memoryview) -> "Jpeg2000Source":  # noqa: A001 - the name every format's module gives
    """Check a JPEG 2000's structure.

    Raises:
        DamagedFilm: it is truncated, a tile is missing, or its boxes and markers make no JPEG 2000.
        UnusableFilm: its size or shape is no film's, or it would take too long to decode.
        UnsupportedFormat: its coding is not read.
    """
    view = memoryview(data).cast("B")
    structure = parse(view)
    header = Header(
        kind="JPEG 2000", width_px=structure.width_px, height_px=structure.height_px, bits=structure.bits, block_px=1
    )
    source = Jpeg2000Source(header, _repaired(view, structure), structure)
    source.halvings(_LEAST_PX)
    return source


@dataclass(frozen=True, slots=True)
class Jpeg2000Source:
    """A JPEG 2000 whose structure has been checked."""

    header: Header
    codestream: memoryview
    structure: Structure

    @property
    def is_signed(self) -> bool:
        """Whether the samples are signed: `read` returns them raised by half their range."""
        return self.structure.is_signed

    @property
    def is_lossy(self) -> bool:
        """Whether samples may come out otherwise than they were coded."""
        return not self.structure.is_reversible

    def read(self, min_px: int) -> Pixels:
        """Decode the film, halved in size as often as it can be with no side shorter than `min_px`.

        Returns:
            (H, W) grey, uint8 of 8 bits or uint16 of more, as many as the header has; or (H, W, 3) RGB, uint8 whatever
            the depth.

        Raises:
            DamagedFilm: the film cannot be decoded whole, or a block of it was altered.
            UnusableFilm: at a size of `min_px`, it would take too long to decode.
        """
        halvings = self.halvings(min_px)
        try:
            with _Codestream(self.codestream, self.structure, halvings) as image:
                image.load()
                pixels: Pixels = np.asarray(image)
            if 2 * self._cost_ns(halvings) <= MAX_COST_NS and jpeg2000_blocks.is_checkable(self.structure, halvings):
                jpeg2000_blocks.check(self.codestream, self.structure, halvings)
        except (OSError, ValueError, SyntaxError):
            pass  # Pillow's reason says nothing, and its traceback would keep the pixels
        else:
            if pixels.dtype == np.uint16:  # Pillow fills all 16 bits
                return (pixels >> (16 - self.structure.bits)).astype(np.uint16, copy=False)
            return pixels
        raise DamagedFilm("the JPEG 2000 is damaged: its pixels cannot be decoded")

    def halvings(self, min_px: int) -> int:
        """Return how often the film's size is halved in decoding.

        Raises:
            UnusableFilm: even so, it would take too long to decode.
        """
        found = self.structure
        shortest = min(found.width_px, found.height_px)
        halvings = 0
        while halvings < found.levels and shortest >> (halvings + 1) >= min_px:
            halvings += 1
        if self._cost_ns(halvings) > MAX_COST_NS:
            raise UnusableFilm("the JPEG 2000 would take too long to decode: it holds no small resolution")
        return halvings

    def _cost_ns(self, halvings: int) -> float:
        """Return an upper estimate of the time that decoding takes."""
        found = self.structure
        samples = (found.width_px * found.height_px * found.components) >> (2 * halvings)
        return samples * (_SAMPLE_NS + found.bit_planes * _BIT_PLANE_NS)


def _repaired(data: memoryview, structure: Structure) -> memoryview:
    """Return the codestream with its harmless faults mended; usually it has none, and is not copied."""
    codestream = data[structure.start : structure.end]
    if not structure.repairs:
        return codestream
    copy = bytearray(codestream)
    for place, value in structure.repairs:
        copy[place - structure.start] = value
    return memoryview(copy)


class _Codestream(ImageFile.ImageFile):
    """A codestream as an image of Pillow, whose own reader misstates the sizes of some smaller resolutions."""

    format = "JPEG2000"

    def __init__(self, data: memoryview, structure: Structure, halvings: int) -> None:
        self._found, self._halvings, self._length = structure, halvings, len(data)
        super().__init__(io.BytesIO(data))

    def _open(self) -> None:
        found, step = self._found, 1 << self._halvings
        deep = "I;16" if found.bits > 8 else "L"  # noqa: PLR2004
        self._mode = "RGB" if found.components == 3 else deep  # noqa: PLR2004
        self._size = -(-found.width_px // step), -(-found.height_px // step)
        arguments = ("j2k", self._halvings, 0, -1, self._length)  # all quality layers, from memory
        self.tile = [ImageFile._Tile("jpeg2k", (0, 0, *self._size), 0, arguments)]
