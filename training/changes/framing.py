"""How a film is framed: where its chest lies in it, found by laying the mean film over it; and framing it otherwise.

A box around dark lungs would do for healthy ones, but a consolidated lung is not dark: the box would show the disease.
So the middle of the mean film, spine, ribs, mediastinum and diaphragm together, is laid over each film at many sizes
and places, both sides scaled apart because films are squashed. Where it fits best, there is the chest.

Source: congealing, Learned-Miller, Data Driven Image Models through Continuous Joint Alignment, IEEE TPAMI 28 (2006)
236-250; the fit is the normalised cross-correlation of Lewis, Fast Normalized Cross-Correlation, 1995.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft, ndimage

from training.figures.metrics import Floats, Labels, Pixels

Small = npt.NDArray[np.float32]

BLOCK_PX = 7
"""Films are compared as the means of blocks of so many pixels a side: 32x32 of 224x224."""
MIDDLE = 0.62
"""Share of the mean film's side that is laid over others: lungs, without shoulders, arms and what is beside the body.
"""
SCALES = np.geomspace(0.72, 1.4, 9)
"""Sizes, of each side apart, at which it is tried: steps of 9 %."""
REACH = 0.25
"""How far the chest's middle may lie from the film's, as a share of the side."""
ROUNDS = 2
"""Of laying the mean over all films and taking the mean of what it lies on."""
FOUND = 0.5
"""Correlation from which a chest counts as found; of 1 in 5 PNEUMONIA films and of 1 in 100 NORMAL ones less."""
OUTWARDS = 0.08
"""How far a film is widened at most where another frame wants more than it shows, as a share of the side."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Where the chest of N films lies."""

    boxes: Floats
    """(N, 4): left, top, right, bottom, as shares of the film's side; from a little under 0 to a little over 1."""
    correlation: Floats
    """(N,), -1 to 1: how well the mean film fits there."""

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Whether it fits well enough to say so, (N,)."""
        return self.correlation >= FOUND


def find_frames(pixels: Pixels, labels: Labels) -> Frames:
    """Find the chest in films (N, S, S) of labels (N,); both classes count the same in the mean film.

    Raises:
        ValueError: the films' side is no multiple of BLOCK_PX.
    """
    films = _evened(pixels)
    side = films.shape[1]
    edge = side * (1 - MIDDLE) / 2
    boxes = np.tile([edge, edge, side - edge, side - edge], (len(films), 1))
    correlation = np.zeros(len(films))
    for _ in range(ROUNDS):
        boxes, correlation = _laid_over(films, _middle(films, boxes, labels))
    return Frames(boxes=boxes / side, correlation=correlation)


def framed(film: Pixels, window: Floats) -> Pixels:
    """Return what a window (left, top, right, bottom, in shares of the side) shows of a film (S, S), as (S, S).

    Where it reaches out of the film, the film's edge goes on, for OUTWARDS of its side at most; beyond that the window
    ends there.
    """
    side = len(film)
    pad = round(OUTWARDS * side)
    wide = Image.fromarray(np.pad(film, pad, mode="edge") if window.min() < 0 or window.max() > 1 else film)
    offset = (wide.width - side) // 2
    box = np.clip(window * side + offset, 0, wide.width)
    return np.asarray(wide.resize((side, side), Image.Resampling.BICUBIC, tuple(box.tolist())))


def window_as(mine: Floats, other: Floats) -> Floats:
    """Return the window (4,) in which a chest at `mine` (4,) lies as one at `other` (4,) does in its whole film."""
    scale = np.tile((mine[2:] - mine[:2]) / (other[2:] - other[:2]), 2)
    start = np.tile(mine[:2], 2) - np.tile(other[:2], 2) * scale
    window: Floats = start + np.array([0.0, 0.0, 1.0, 1.0]) * scale
    return window


def _evened(pixels: Pixels) -> Small:
    """Return films (N, S, S) as (N, S / 7, S / 7), everywhere of mean 0 and deviation 1: exposure has no effect."""
    count, side = len(pixels), pixels.shape[1] // BLOCK_PX
    if pixels.shape[1] % BLOCK_PX:
        raise ValueError(f"films must have a side that is a multiple of {BLOCK_PX}, got {pixels.shape[1]}")
    blocks = pixels.reshape(count, side, BLOCK_PX, side, BLOCK_PX)
    small = blocks.mean(axis=(2, 4), dtype=np.float32)  # (N, 32, 32)
    small = small - ndimage.gaussian_filter(small, (0, 3.5, 3.5), mode="nearest")
    power = ndimage.gaussian_filter(small * small, (0, 4.5, 4.5), mode="nearest")
    evened: Small = small / (np.sqrt(power) + 1.0)
    return evened


def _middle(films: Small, boxes: Floats, labels: Labels) -> Small:
    """Return the mean (M, M) of what boxes (N, 4) show of films (N, S, S).

    The boxes are first scaled and moved together, so that the median one is the middle of a film: else the mean would
    shrink to what is easiest to find.
    """
    side = films.shape[1]
    size = round(MIDDLE * side)
    median = np.median(boxes, axis=0)
    half = (boxes[:, 2:] - boxes[:, :2]) / (median[2:] - median[:2]) * size / 2  # (N, 2)
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    means = []
    for label in np.unique(labels):
        total = np.zeros((size, size))
        for i in np.flatnonzero(labels == label):
            x, y = (centre[i, axis] + steps * half[i, axis] - 0.5 for axis in (0, 1))
            total += ndimage.map_coordinates(films[i], np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
        means.append(total / (labels == label).sum())
    mean: Small = np.mean(means, axis=0).astype(np.float32)
    return mean


def _laid_over(films: Small, middle: Small) -> tuple[Floats, Floats]:
    """Return where in films (N, S, S) the middle of the mean film fits best, (N, 4), and its correlation there."""
    count, side = len(films), films.shape[1]
    size = 2 * side
    spectra = fft.rfft2(films, (size, size))
    best, boxes = np.full(count, -1.0), np.zeros((count, 4))
    reach = round(REACH * side)
    for height in {round(len(middle) * scale) for scale in SCALES}:
        for width in {round(len(middle) * scale) for scale in SCALES}:
            part = ndimage.zoom(middle, (height / len(middle), width / len(middle)), order=1)
            part = (part - part.mean()) / part.std()
            fits = fft.irfft2(spectra * np.conj(fft.rfft2(part, (size, size))), (size, size))
            tops, lefts = ((side - length) // 2 + np.arange(-reach, reach + 1) for length in (height, width))
            fits = fits[:, tops % size][:, :, lefts % size].reshape(count, -1) / part.size
            place = fits.argmax(axis=1)
            value = fits[np.arange(count), place]
            row, column = np.divmod(place, len(lefts))
            box = np.stack([lefts[column], tops[row], lefts[column] + width, tops[row] + height], axis=1)
            better = value > best
            best[better], boxes[better] = value[better], box[better]
    return boxes, best
