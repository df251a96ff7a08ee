"""Uniform bars around a film: letterboxes, pillarboxes and the collimation outside it, which viewers export with it.

A bar is a run of whole rows or columns, from the edge inwards, each of one level. It holds nothing of a patient; but as
the film is squashed to a square whatever its sides, a bar would narrow the lungs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.formats.source import Pixels

TOLERANCE = 0.06
"""How far apart the pixels of a bar's row may lie, as a share of the levels that the film spans: noise."""
MAX_ROUNDS = 16
"""Of looking at all sides for bars inside of bars; a picture of nothing but rings would take as many as it has."""
LEAST_TOLERANCE = 3.0
"""In levels of a film of 8 bits: noise does not shrink with a film's contrast."""
OUTLIERS = 0.12
"""Share of a row's pixels at either end that may lie further off: a line of text, noise, a hot pixel."""
SAMPLES = 192
"""Pixels of a row, evenly spread, that are looked at for a structure."""
STRUCTURE_WIDTH = 0.04
"""Share of a row that a structure covers without a gap at least: more than a line of text is high, whose letters are
one blot in a small film."""
STRUCTURE = 0.06
"""Outliers next to each other in so many successive rows, as a share of a row's length, are a structure that crosses
the bar, such as an arm in a black margin: no letter or marker is as long."""
BLOCK_PX = 8
"""A JPEG's block: where a bar ends inside one, the film rings through what is left of the bar."""
RINGING = 0.4
"""Rows of that block are the bar's while they are this much nearer to its level than to the film's first whole row."""
MIN_FILM = 0.2
"""Share of each side that must remain: where less would, nothing is trimmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Widths of the bars on each side of a film, in its pixels."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any((self.left, self.top, self.right, self.bottom))

    def inside(self, film: Pixels) -> Pixels:
        """Return the film (H, W) or (H, W, 3) without its bars, a view."""
        height, width = film.shape[:2]
        return film[self.top : height - self.bottom, self.left : width - self.right]

    def widened(self) -> "Bars":
        """Return the bars, each a pixel wider."""
        return Bars(
            left=self.left + (self.left > 0),
            top=self.top + (self.top > 0),
            right=self.right + (self.right > 0),
            bottom=self.bottom + (self.bottom > 0),
        )

    def scaled(self, x: float, y: float) -> "Bars":
        """Return the bars of the same film with its columns scaled by `x`, and its rows by `y`."""
        return Bars(
            left=round(self.left * x),
            top=round(self.top * y),
            right=round(self.right * x),
            bottom=round(self.bottom * y),
        )


def find_bars(film: Pixels, *, block_px: int = 1) -> Bars:
    """Return the bars around a grey film (H, W); none where they would leave less than MIN_FILM of a side.

    Bars inside of others, a grey page around a black letterbox, are found too: it goes on until no side has any. So a
    film that has bars of its own is trimmed alike with and without a letterbox around it.

    Args:
        film: Pixels levels.
        block_px: The side of a JPEG's blocks in this film's pixels: 8, or less where it was decoded at a smaller scale;
            1 where it was not compressed by blocks.
    """
    bars = _peel(film, block_px, None)
    # What was trimmed by a tolerance that bars had a part in is trimmed again by the film's own.
    return _peel(film, block_px, _tolerance(bars.inside(film))) if bars else bars


def _peel(film: Pixels, block_px: int, tolerance: float | None) -> Bars:
    """Trim the film until no side has a bar, by one tolerance, or by that of what is left each time."""
    height, width = film.shape
    left, top, right, bottom = 0, 0, width, height
    for _ in range(MAX_ROUNDS):
        trimmed = False
        for side in ("top", "bottom", "left", "right"):
            inside = film[top:bottom, left:right]
            rows = inside if side in ("top", "bottom") else inside.T
            rows = rows if side in ("top", "left") else rows[::-1]
            # Blocks are counted from the top left corner: to the first whole one from this edge.
            to_block = {"top": -top, "left": -left, "bottom": bottom, "right": right}[side] % block_px
            if not _may_begin(rows, to_block):
                continue
            count = _bar(rows, _tolerance(inside) if tolerance is None else tolerance, to_block, block_px)
            if not count:
                continue
            trimmed = True
            top, bottom = top + count * (side == "top"), bottom - count * (side == "bottom")
            left, right = left + count * (side == "left"), right - count * (side == "right")
            if right - left < MIN_FILM * width or bottom - top < MIN_FILM * height:
                return Bars()
        if not trimmed:
            break
    return Bars(left=left, top=top, right=width - right, bottom=height - bottom)


def _may_begin(rows: Pixels, to_block: int) -> bool:
    """Return whether a bar may begin at the edge or at the next block, by the widest tolerance: a quick look."""
    widest = TOLERANCE * np.iinfo(rows.dtype).max
    return any(_spread(rows[start]) <= widest for start in {0, to_block} if start < len(rows))


def _spread(row: Pixels) -> int:
    """Return how far the pixels of a row lie apart but for the outliers at either end."""
    ordered = np.sort(row)
    outliers = int(OUTLIERS * len(row))
    return int(ordered[-1 - outliers]) - int(ordered[outliers])


def _bar(rows: Pixels, tolerance: float, to_block: int, block_px: int) -> int:
    """Return how many rows, from the first on, are a bar of about one level.

    Where another bar ended inside a block, the rest of the block rings: a bar may begin behind it.
    """
    for start in sorted({0, to_block}):
        level, spread = _levels(rows[start : start + 1])
        if len(spread) and spread[0] <= tolerance:
            break
    else:
        return 0
    whole = start + _until_structure(rows[start:], float(level[0]), tolerance)
    if whole == start:
        return 0
    count = start + 1
    while count < whole:
        # Ever more rows at once: most bars are narrow, and few films have one.
        levels, spreads = _levels(rows[count : min(2 * count + block_px, whole)])
        other = (spreads > tolerance) | (np.abs(levels - level[0]) > tolerance)
        if other.any():
            count += int(other.argmax())
            break
        count += len(levels)
    if block_px > 1 and (count < whole or whole == len(rows)):
        in_block = (to_block - count) % block_px or block_px
        count += _ringing(rows[count : count + in_block + 1].astype(np.float32), float(level[0]))
    return count


def _until_structure(rows: Pixels, bar: float, tolerance: float) -> int:
    """Return at which row of a bar a structure begins that crosses it; how many rows there are where none does.

    It looks at a sample of each row, and no further than the bar, so that a side that is refused for its structure
    costs little, however often a picture has it looked at.
    """
    least = STRUCTURE * rows.shape[1]
    sample = rows[:, :: max(1, rows.shape[1] // SAMPLES)]
    width = max(3, round(STRUCTURE_WIDTH * sample.shape[1]))
    lengths = np.zeros(sample.shape[1] - width + 3, dtype=np.int64)  # of the structure up to this row, at each place
    first, last = 0, 0
    while last < len(rows):
        first, last = last, 2 * last + SAMPLES // 4
        levels, spreads = _levels(sample[first:last])
        other = (spreads > tolerance) | (np.abs(levels - bar) > tolerance)
        if other.any():
            last = first + int(other.argmax())
        outlying = np.abs(sample[first:last] - levels[: last - first, None]) > tolerance  # (N, S)
        before = np.pad(np.cumsum(outlying, axis=1), ((0, 0), (1, 0)))
        wide = before[:, width:] - before[:, :-width] == width  # (N, S - width + 1), by where they begin
        for row, places in enumerate(wide, first):
            # One that runs aslant moves by a place at most from row to row.
            above = np.maximum(np.maximum(lengths[:-2], lengths[1:-1]), lengths[2:])
            lengths[1:-1] = np.where(places, above + 1, 0)
            longest = int(lengths.max())
            if longest >= least:
                return row + 1 - longest
        if other.any():
            break
    return len(rows)


def _levels(rows: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the level (N,) of each row, and how far its pixels lie apart but for the outliers at either end."""
    outliers = int(OUTLIERS * rows.shape[1])
    ordered = np.sort(rows, axis=1)
    low, high = (ordered[:, index].astype(np.float32) for index in (outliers, -1 - outliers))
    return ordered[:, rows.shape[1] // 2].astype(np.float32), high - low


def _tolerance(film: Pixels) -> float:
    """Return the tolerance by the levels that the middle of the film spans, where there is least of any bars."""
    height, width = film.shape
    middle = film[height // 3 : height - height // 3, width // 3 : width - width // 3]
    sample = middle[:: 1 + middle.shape[0] // 64, :: 1 + middle.shape[1] // 64]
    low, high = np.percentile(sample, (5, 95))
    return max(TOLERANCE * float(high - low), LEAST_TOLERANCE if film.dtype == np.uint8 else 0.0)


def _ringing(rows: npt.NDArray[np.float32], level: float) -> int:
    """Return how many rows of a block are a bar's: nearer to its level than to the row behind the block, the last."""
    if len(rows) < 2:  # noqa: PLR2004  (nothing behind the block)
        return 0
    to_level = np.abs(rows[:-1] - level).mean(axis=1)
    to_film = np.abs(rows[:-1] - rows[-1]).mean(axis=1)
    film = to_level >= RINGING * to_film
    return int(film.argmax()) if film.any() else 0
