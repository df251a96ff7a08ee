"""From the cells of an image to codes: the film's own bits as 16-bit numbers that rise with the stored values, reduced.

A film of detectors' size is averaged over blocks on the way, band by band: what no model sees is neither held nor
looked up in a table.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from handler.formats.dicom_layout import Layout
from handler.formats.source import Pixels

CODE_BITS = 16
"""A code of fewer bits is shifted up to these: a block's mean keeps its fraction."""
OVERSAMPLING = 2
"""How much larger than asked for a side stays: the block's mean is then no coarser than the resize that follows."""
MAX_FACTOR = 64

_BAND_PIXELS = 100_000
"""About what is worked on together: it stays in the processor's cache."""
_SAMPLE_STEP = 16
"""Each 16th row is looked at for the darkest level that is no padding."""
_MAX_PADDED = 0.95
"""Share of a film beyond which what is called padding is the film."""

Codes = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Padding:
    low: int
    high: int
    in_codes: bool
    """Whether the limits are codes, or cells because the film's bits cannot hold them."""
    rises: bool
    dark: int = 0
    """The code that stands for padding."""


def codes(cells: Pixels, layout: Layout, *, factor: int, rises: bool) -> Codes:
    """Return one plane's codes.

    Args:
        cells: (H, W), of 8 or 16 bits and either byte order.
        layout: Where the film's bits lie in them.
        factor: Side of the blocks that are averaged, 1 for none; rows and columns that fill no block are left out.
        rises: Whether a higher code is brighter: padding becomes the darkest code that is met outside of it.

    Returns:
        (H // factor, W // factor), in steps of 2^(16 - bits stored) where nothing is averaged.
    """
    padding = _padding(cells, layout, rises=rises)
    height, width = cells.shape[0] // factor, cells.shape[1] // factor
    top, left = (cells.shape[0] - height * factor) // 2, (cells.shape[1] - width * factor) // 2
    inside = cells[top : top + height * factor, left : left + width * factor]
    reduced = np.empty((height, width), np.uint16)
    step = max(1, _BAND_PIXELS // (width * factor * factor))
    for row in range(0, height, step):
        stop = min(row + step, height)
        band = inside[row * factor : stop * factor]
        reduced[row:stop] = _means(_unpadded(band, layout, padding), factor, CODE_BITS - layout.stored)
    return reduced


def factor_for(shape: tuple[int, ...], min_px: int) -> int:
    """Return the side of the blocks to average a film (H, W) over, so that no side falls below twice `min_px`."""
    return max(1, min(MAX_FACTOR, min(shape[:2]) // (OVERSAMPLING * max(1, min_px))))


def _codes_of(cells: Pixels, layout: Layout) -> Codes:
    """Return the codes (H, W) of cells, not yet shifted up."""
    result = cells.astype(np.uint16)  # also turns the byte order
    if layout.shift:
        result >>= layout.shift
    if layout.stored < layout.allocated:
        result &= layout.mask
    if layout.sign:
        result ^= layout.sign
    return result


def _is_padding(cells: Pixels, found: Codes, layout: Layout, padding: _Padding) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.integer] = found
    if not padding.in_codes:
        values = cells.astype(np.int16 if layout.allocated > 8 else np.int8) if layout.signed else cells  # noqa: PLR2004
    if padding.low == padding.high:
        is_padding: npt.NDArray[np.bool_] = values == padding.low
        return is_padding
    return (values >= padding.low) & (values <= padding.high)


def _unpadded(cells: Pixels, layout: Layout, padding: _Padding | None) -> Codes:
    """Return the codes (H, W) of cells, padding darkened, not yet shifted up."""
    found = _codes_of(cells, layout)
    if padding is None:
        return found
    # Padding lies most often beyond the film's darkest level: to clip is several times faster than to pick it out.
    if padding.in_codes and padding.rises and padding.high < padding.dark:
        return np.maximum(found, padding.dark, out=found)
    if padding.in_codes and not padding.rises and padding.low > padding.dark:
        return np.minimum(found, padding.dark, out=found)
    np.copyto(found, np.uint16(padding.dark), where=_is_padding(cells, found, layout, padding))
    return found


def _padding(cells: Pixels, layout: Layout, *, rises: bool) -> _Padding | None:
    """Return what is padding, and the code to put in its place; None where there is none, or hardly anything else."""
    if layout.padding is None or not layout.is_grey:
        return None
    low, high = layout.padding
    least = -layout.sign
    in_codes = least <= low and high <= least + layout.mask
    if in_codes:
        low, high = low - least, high - least
    padding = _Padding(low, high, in_codes, rises)
    sample = cells[::_SAMPLE_STEP]
    sampled = _codes_of(sample, layout)
    film = sampled[~_is_padding(sample, sampled, layout, padding)]
    if film.size < (1 - _MAX_PADDED) * sampled.size:
        return None
    return replace(padding, dark=int(film.min() if rises else film.max()))


def _means(band: Codes, factor: int, shift: int) -> Codes:
    """Return the means of blocks of codes (H, W), shifted up to 16 bits: (H // factor, W // factor)."""
    if factor == 1:
        return band << np.uint16(shift)
    rows, columns = band.shape[0] // factor, band.shape[1]
    lines = band.reshape(rows, factor, columns)  # (rows, of a block, columns)
    # A column of 12-bit codes, up to 16 of them, adds up within 16 bits, at twice the speed.
    narrow = np.uint16 if factor <= 1 << shift else np.uint32
    columns_sum = np.add(lines[:, 0], lines[:, 1], dtype=narrow)
    for line in range(2, factor):
        columns_sum += lines[:, line]
    sums = np.add(columns_sum[:, 0::factor], columns_sum[:, 1::factor], dtype=np.uint32)
    for column in range(2, factor):
        sums += columns_sum[:, column::factor]
    means: Codes = ((sums << np.uint32(shift)) // np.uint32(factor * factor)).astype(np.uint16)
    return means
