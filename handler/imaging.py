"""Bytes of a film to one grey square: the only decoding, shared by the server and the training.

A film of any format (`formats`) loses the bars around it (`bars`), is squashed to 224x224 without a crop and without
keeping its aspect ratio, is stretched to the levels that its bulk spans (`exposure`), and is turned round if it is a
negative (`presentation`). Squashed, because the training films were, and nothing of the lungs is cut off.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler import presentation
from handler.bars import Bars, find_bars
from handler.errors import UnusableFilm
from handler.exposure import Levels, Window, find_window, stretch
from handler.formats.dicom import DicomSource
from handler.formats.dicom_codes import OVERSAMPLING
from handler.formats.jpeg2000 import Jpeg2000Source
from handler.formats.registry import open_film
from handler.formats.source import MAX_COST_NS, Pixels, Source, check_shape
from handler.presentation import Presentation

VERSION = 4
"""Raised whenever the same bytes would give other pixels: a model is only valid with the version it learned from."""

INPUT_PX = 224
INPUT_SIZE = (INPUT_PX, INPUT_PX)
"""What a film is squashed to, and the least that a JPEG is decoded to, DCT-scaled: that costs a fraction of the full
decode, and p moves by a few thousandths at most."""

WIDE_BARS = 0.75
"""Share of a picture under which its film, without bars, has too few pixels in a JPEG that was decoded at a smaller
scale: it is decoded again, at twice the size that is wanted. The collimation that films of the public data set have of
their own leaves more."""

BAND = 64
"""Rows of a reduced film that are summed at once."""
MANY_PIXELS = 8_000_000
"""More than nearly every radiograph has."""

GREY = 2
"""Dimensions of a film that has one channel."""

DEEPEST = 65535
MIN_CONTRAST = 2.0
"""Standard deviation in grey levels under which a film is blank."""
MIN_DEEP_SPAN = 64
"""Levels that the bulk of a film of more than 8 bits spans at least: what is below is a detector's noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a film beside its pixels."""

    kind: str
    """"JPEG", "PNG", "DICOM", "lossless JPEG" and so on."""
    width_px: int
    height_px: int
    """As stored, with its bars, before it was turned upright by its EXIF orientation."""
    orientation: int = 1
    """EXIF's, 1 to 8."""
    bits: int = 8
    """Of a grey level, as stored, 1 to 16."""
    bars: Bars = field(default_factory=Bars)
    """Trimmed, in stored pixels."""
    window: Window = field(default_factory=lambda: Window(low=0.0, high=255.0))
    """Levels, as the format's module gives them (0 to 65535 at most), that became 0 and 255."""
    presentation: Presentation = field(default_factory=Presentation)
    """Whether the film was a negative, and turned round; and how it lies."""
    colour: float
    """Mean absolute difference between the colour channels, in levels (0 to 255); 0 for a grey file."""
    contrast: float
    """Standard deviation of the grey film before its window, in levels (0 to 255); of a film of more than 8 bits, the
    brightest of its bulk counts as 255."""
    warnings: tuple[str, ...] = ()
    """Of the format's module: sentences for the note."""

    @property
    def shortest_px(self) -> int:
        """The shorter side of the film without its bars, as stored."""
        return min(self.width_px - self.bars.left - self.bars.right, self.height_px - self.bars.top - self.bars.bottom)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """One decoded film."""

    pixels: npt.NDArray[np.uint8]
    """(224, 224), 0 to 255, bone bright."""
    facts: Facts


def decode(data: bytes | bytearray | memoryview) -> Film:
    """Decode one film: JPEG of any kind, PNG or DICOM.

    Raises:
        MissingFilm: there are no bytes.
        UnsupportedFormat: the file is of a format, or a kind of it, that is not read.
        DamagedFilm: the file is truncated, a checksum is wrong, or headers or pixels are damaged.
        UnusableFilm: the film has over 40 million pixels, is too costly to decode, has a side under 64 or sides of more
            than 4:1, or is blank; or a DICOM file holds something else than one frontal chest film.
    """
    return prepare(open_film(data))


def prepare(source: Source) -> Film:
    """Decode a film whose structure has been checked.

    Raises:
        DamagedFilm: the pixels cannot be decoded whole.
        UnusableFilm: the film without its bars is too small or too elongated, or is blank.
    """
    header = source.header
    pixels, bars = _without_bars(source)
    levels, colour = _squash(pixels)
    window = find_window(levels)
    contrast = _contrast(levels, window)
    stretched = upright(stretch(levels, window), header.orientation)
    presented = presentation.recognise(stretched)
    facts = Facts(
        kind=header.kind,
        width_px=header.width_px,
        height_px=header.height_px,
        orientation=header.orientation,
        bits=header.bits,
        bars=bars,
        window=window,
        presentation=presented,
        colour=colour,
        contrast=contrast,
        warnings=header.warnings,
    )
    return Film(pixels=255 - stretched if presented.negative else stretched, facts=facts)


def upright(film: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Return a square film (S, S) turned as its EXIF orientation, 1 to 8, says (CIPA DC-008, 4.6.5)."""
    if orientation > 4:  # noqa: PLR2004  (rows and columns exchanged, and then as the four before)
        film = film.T
    flips = (orientation - 1) % 4
    if flips in (1, 2):
        film = film[:, ::-1]
    if flips in (2, 3):
        film = film[::-1]
    return np.ascontiguousarray(film)


def _without_bars(source: Source) -> tuple[Pixels, Bars]:
    """Return the film without its bars, no side under 224 pixels unless stored so, and the bars in stored pixels."""
    header = source.header
    check_shape(header.width_px, header.height_px)
    read = source.read(INPUT_PX)
    pixels = _bounded(read)
    bars = _bars(pixels, source)
    film = bars.inside(pixels)
    if film.size < WIDE_BARS * pixels.size and read.shape[0] < header.height_px:
        again = _read_again(source, 2 * INPUT_PX * min(pixels.shape[:2]) // min(film.shape[:2]))
        if again is not None:
            pixels = _bounded(again)
            bars = _bars(pixels, source)
    height, width = pixels.shape[:2]
    stored = bars.scaled(header.width_px / width, header.height_px / height)
    check_shape(header.width_px - stored.left - stored.right, header.height_px - stored.top - stored.bottom)
    return bars.inside(pixels), stored


def _read_again(source: Source, min_px: int) -> Pixels | None:
    """Decode a film a second time, at a larger scale; None where both times together would take too long.

    A format's limit counts one decoding. A JPEG costs about the same at any scale. A resolution of a JPEG 2000 costs
    four times the next smaller one, and may be refused.
    """
    coded = source.inner if isinstance(source, DicomSource) and source.inner else source
    if 2 * coded.header.cost_ns > MAX_COST_NS:
        return None
    try:
        if isinstance(coded, Jpeg2000Source):
            scale = 1 if coded is source else OVERSAMPLING
            if coded.halvings(scale * min_px) == coded.halvings(scale * INPUT_PX):
                return None
        return source.read(min_px)
    except UnusableFilm:
        return None


def _bounded(pixels: Pixels) -> Pixels:
    """Return a film of at most MANY_PIXELS: one of more as the means of blocks, so that what follows stays quick."""
    side = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / MANY_PIXELS))
    if side <= 1 or min(pixels.shape[:2]) < 2 * side * INPUT_PX:
        return pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).reduce(side))
    return reduced(pixels, min(pixels.shape[:2]) // side).astype(np.uint16)


def _bars(pixels: Pixels, source: Source) -> Bars:
    header = source.header
    grey: Pixels
    if pixels.ndim == GREY:
        grey = pixels
    elif pixels.dtype == np.uint8:
        grey = np.asarray(Image.fromarray(pixels).convert("L"))
    else:
        grey = _luma(pixels).astype(np.uint16)
    block_px = header.block_px * pixels.shape[0] // header.height_px
    bars = find_bars(grey, block_px=max(1, block_px))
    # Decoded at a smaller scale, the last row of a bar is one with the film's first.
    return bars.widened() if pixels.shape[0] < header.height_px else bars


def _squash(pixels: Pixels) -> tuple[Levels, float]:
    """Return a film (H, W) or (H, W, 3) as grey levels (224, 224), and the mean difference between its channels.

    The levels are uint8 of a film of 8 bits, float32 of a deeper one; the difference is in levels of 0 to 255.
    """
    if pixels.dtype == np.uint16:
        return _squash_deep(pixels)
    small = _resized(Image.fromarray(pixels))
    if pixels.ndim == GREY:
        return np.asarray(small), 0.0
    return np.asarray(small.convert("L")), _colour(np.asarray(small, dtype=np.int16))


def _squash_deep(pixels: Pixels) -> tuple[Levels, float]:
    small = reduced(_without_stray_levels(pixels), 2 * INPUT_PX)
    if small.ndim == GREY:
        return np.asarray(_resized(Image.fromarray(small))), 0.0
    grey = np.asarray(_resized(Image.fromarray(_luma(small))))
    window = find_window(grey)
    return grey, _colour(small) * 255.0 / max(window.high - window.low, 1.0)


def _without_stray_levels(pixels: Pixels) -> Pixels:
    """Return a deep film with levels far beyond its bulk cut off, which would spread to neighbours when it is squashed.

    How far its bulk reaches is estimated from a sample of some ten thousand pixels.
    """
    steps = [max(1, length // 128) for length in pixels.shape[:2]]
    window = find_window(pixels[:: steps[0], :: steps[1]].astype(np.float32))
    span = window.high - window.low
    low, high = max(0, int(window.low - span / 2)), min(DEEPEST, int(window.high + span / 2))
    if pixels.min() >= low and pixels.max() <= high:
        return pixels
    return pixels.clip(low, high)


def reduced(pixels: Pixels, least_px: int) -> npt.NDArray[np.float32]:
    """Return a film (H, W) or (H, W, 3) as the means of square blocks, as large as leave `least_px` to a side.

    A quarter of the time that a resampling of the whole film takes; the last rows and columns may be left out, less
    than a block of them.
    """
    side = max(1, min(pixels.shape[:2]) // least_px)
    height, width = (length // side for length in pixels.shape[:2])
    means = np.empty((height, width, *pixels.shape[2:]), dtype=np.float32)
    for start in range(0, height, BAND):  # so that the sums of a large film need little memory
        stop = min(start + BAND, height)
        band = pixels[start * side : stop * side, : width * side]
        rows = np.zeros((stop - start, *band.shape[1:]), dtype=np.uint32)
        for offset in range(side):
            rows += band[offset::side]
        means[start:stop] = sum(rows[:, offset::side] for offset in range(side))
    means /= side * side
    return means


def _resized(image: Image.Image) -> Image.Image:
    # Linear, not cubic: it takes half the time, and full-size films come no less near to copies squashed elsewhere.
    return image if image.size == INPUT_SIZE else image.resize(INPUT_SIZE, Image.Resampling.BILINEAR)


def _luma(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the grey levels (H, W) of colours (H, W, 3) (ITU-R BT.601, as Pillow and JPEG have it)."""
    luma: npt.NDArray[np.float32] = pixels @ np.array((0.299, 0.587, 0.114), dtype=np.float32)
    return luma


def _colour(pixels: npt.NDArray[Any]) -> float:
    """Return the mean difference between the channels of (H, W, 3), signed or float."""
    return float(np.abs(np.diff(pixels, axis=2)).mean())


def _contrast(levels: Levels, window: Window) -> float:
    """Return the contrast of a film (224, 224), in levels of 0 to 255.

    Raises:
        UnusableFilm: the film is blank.
    """
    contrast = float(levels.std(dtype=np.float32))
    blank = contrast < MIN_CONTRAST
    if levels.dtype != np.uint8:
        contrast *= 255.0 / max(window.high, 255.0)
        blank = contrast < MIN_CONTRAST or window.high - window.low < MIN_DEEP_SPAN
    if blank:
        raise UnusableFilm(f"the film is blank: contrast {contrast:.1f} of at least {MIN_CONTRAST} grey levels")
    return contrast
