"""Films as they would look had they been taken as those of the other class are: the judge of shortcuts.

A film's framing, the marks in its corners, its exposure and its detail come of the machine, the radiographer and the
archive, not of the lungs. In the public data set they differ between the classes, and a model can answer by them
alone: it looks perfect on films of the same source, and is wrong on those of another. Here each is exchanged between
the classes, or taken away from both, while the lungs stay. What is left of a model's accuracy does not come of it.

All changes are drawn from a generator that the caller seeds: every model is judged on the same films. The changed films
are those of a file, before the exposure is stretched as the server does; see `served`.

Source: the idea of Geirhos et al., Shortcut Learning in Deep Neural Networks, Nature Machine Intelligence 2 (2020)
665-673; DeGrave et al., AI for radiographic COVID-19 detection selects shortcuts over signal, Nature Machine
Intelligence 3 (2021) 610-619.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from handler.exposure import find_window, stretch
from training.changes.corruptions import with_detail_swapped
from training.changes.framing import find_frames, framed, window_as
from training.figures.metrics import LABELS, Floats, Indices, Labels, Pixels

Counterfactual = Callable[[Pixels, Labels, np.random.Generator], Pixels]
"""From films, their labels and a generator to the changed films."""

Pairing = Callable[[Labels, np.random.Generator], Indices]
"""From labels (N,) and a generator to the film (N,) that each of them exchanges something with."""

LEVELS = 256
CLOSE = (0.05, 0.2)
"""How far each side moves in where films are framed closely, as shares of the side, each side drawn apart."""
CLOSER = (0.10, 0.25)
BAND = (0.08, 0.12)
"""Widths of the band along the edges that is exchanged."""
CORNER = (0.12, 0.25)
"""Sides of the corners that are exchanged."""
SEAM = 0.03
"""Share of the side over which what is exchanged fades in."""
INNER = 0.125
"""How far from the sides the middle begins in which grey levels are compared, as a share of the side."""
WAVES = 2
"""Up to how many waves a side are shading: 1 % of the side, as in the source."""


def of_other_class(labels: Labels, rng: np.random.Generator) -> Indices:
    """Return a film of the other class (N,) for each of N labels, drawn at random.

    Raises:
        ValueError: a class is absent.
    """
    if len(np.unique(labels)) != len(LABELS):
        raise ValueError("counterfactuals want films of both classes")
    return _drawn(labels, 1 - labels, rng)


def of_same_class(labels: Labels, rng: np.random.Generator) -> Indices:
    """Return a film of the same class (N,) for each of N labels, drawn at random: the control of `of_other_class`."""
    return _drawn(labels, labels, rng)


def of_any_class(labels: Labels, rng: np.random.Generator) -> Indices:
    """Return any film (N,) for each of N labels, drawn at random: it says nothing of the class."""
    return rng.integers(0, len(labels), len(labels))


def _drawn(labels: Labels, wanted: Labels, rng: np.random.Generator) -> Indices:
    drawn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(wanted):
        mine = wanted == label
        drawn[mine] = rng.choice(np.flatnonzero(labels == label), size=int(mine.sum()))
    return drawn


def closer(pixels: Pixels, labels: Labels, rng: np.random.Generator) -> Pixels:
    """Move each side of every film in by 10 to 25 %: what is left is lungs."""
    return _windowed(pixels, _inwards(len(labels), CLOSER, rng))


def close(pixels: Pixels, labels: Labels, rng: np.random.Generator) -> Pixels:
    """Move each side of every film in by 5 to 20 %: no film shows arms, chin or belly."""
    return _windowed(pixels, _inwards(len(labels), CLOSE, rng))


def normal_close(pixels: Pixels, labels: Labels, rng: np.random.Generator) -> Pixels:
    """Do as `close` does, with NORMAL films only: the framing says the opposite of what it used to."""
    windows = _inwards(len(labels), CLOSE, rng)
    windows[labels == 1] = (0, 0, 1, 1)
    return _windowed(pixels, windows)


def framing(pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class) -> Pixels:
    """Frame each film as one of the other class is framed: its chest comes to lie where the other's does.

    Films whose chest is not found stay as they are, and none is framed after them.
    """
    frames = find_frames(pixels, labels)
    changed, found = pixels.copy(), np.flatnonzero(frames.found)
    if len(np.unique(labels[found])) < len(LABELS):
        return changed
    for i, j in zip(found, found[pairing(labels[found], rng)], strict=True):
        changed[i] = framed(pixels[i], window_as(frames.boxes[i], frames.boxes[j]))
    return changed


def marks(pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class) -> Pixels:
    """Lay the edges and corners of a film of the other class over each film's, the seam faded."""
    pairs = zip(pixels, pixels[pairing(labels, rng)], strict=True)
    return np.stack([_rounded(film + _margin(len(film), rng) * (other - film.astype(float))) for film, other in pairs])


def histogram(pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class) -> Pixels:
    """Give each film the grey levels of one of the other class: the level of a rank becomes the other's of that rank.

    Ranks are those within the middle of the films: over the whole of them, one with much air beside the body would have
    the other's lungs black.

    Source: Gonzalez and Woods, Digital Image Processing, histogram specification.
    """
    ranks, levels = np.stack([_ranks(_inner(film)) for film in pixels]), np.arange(LEVELS)  # (N, 256)
    pairs = zip(pixels, ranks, ranks[pairing(labels, rng)], strict=True)
    return np.stack([np.rint(np.interp(mine, other, levels)).astype(np.uint8)[film] for film, mine, other in pairs])


def shading(pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class) -> Pixels:
    """Give each film the amplitude of the lowest frequencies of one of the other class; their phase stays.

    Source: Yang and Soatto, FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR 2020, at beta = 0.01.
    """
    low = np.r_[0 : WAVES + 1, -WAVES:0][:, None], np.arange(WAVES + 1)[None]
    amplitudes = np.stack([np.abs(np.fft.rfft2(film)[low]) for film in pixels])  # (N, 5, 3)
    changed = np.empty_like(pixels)
    for film, other, place in zip(pixels, amplitudes[pairing(labels, rng)], changed, strict=True):
        spectrum = np.fft.rfft2(film)
        spectrum[low] = other * np.exp(1j * np.angle(spectrum[low]))
        place[:] = _rounded(np.fft.irfft2(spectrum, s=film.shape))
    return changed


def look(pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class) -> Pixels:
    """Give each film the shading of one film of the other class, and the grey levels of another."""
    return histogram(shading(pixels, labels, rng, pairing=pairing), labels, rng, pairing=pairing)


def detail(pixels: Pixels, labels: Labels, _rng: np.random.Generator) -> Pixels:
    """Swap the fine detail of the classes."""
    return with_detail_swapped(pixels, labels)


def close_with_look(
    pixels: Pixels, labels: Labels, rng: np.random.Generator, *, pairing: Pairing = of_other_class
) -> Pixels:
    """Give every film the look of the other class, and frame it closely."""
    return close(look(pixels, labels, rng, pairing=pairing), labels, rng)


COUNTERFACTUALS: Mapping[str, Counterfactual] = {
    "close framing": close,
    "closer framing": closer,
    "close framing of NORMAL": normal_close,
    "framing of the other class": framing,
    "marks of the other class": marks,
    "histogram of the other class": histogram,
    "shading of the other class": shading,
    "look of the other class": look,
    "detail of the other class": detail,
    "close framing, look of the other class": close_with_look,
}
"""By the name that reports give them."""

_EXCHANGES: Mapping[str, Callable[..., Pixels]] = {
    "framing": framing,
    "marks": marks,
    "histogram": histogram,
    "shading": shading,
    "look": look,
    "close framing, look": close_with_look,
}
"""What is exchanged with another film, whichever the pairing draws."""

CONTROLS: Mapping[str, Counterfactual] = {
    "close framing of NORMAL": close,
    **{f"{name} of the other class": partial(change, pairing=of_same_class) for name, change in _EXCHANGES.items()},
}
"""The same changes by films of the same class: what they cost without saying anything else of the class."""

ACQUISITIONS: Mapping[str, Counterfactual] = {
    "close framing": close,
    "closer framing": closer,
    **{f"{name} of another film": partial(change, pairing=of_any_class) for name, change in _EXCHANGES.items()},
}
"""The same changes whatever the class: films as other sites may take them. Calibration and thresholds are chosen on
these; the counterfactuals above, which turn what is exchanged against the model, are for the audit only."""


def taken_otherwise(change: Counterfactual, pixels: Pixels, labels: Labels) -> Pixels:
    """Return films under a change, before their exposure is stretched; always drawn alike, so that models compare."""
    return change(pixels, labels, np.random.default_rng(0))


def served(pixels: Pixels) -> Pixels:
    """Return films (N, S, S) with their exposure stretched, as the server does with a file that shows them."""
    return np.stack([stretch(film, find_window(film)) for film in pixels])


def _inwards(count: int, limits: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Return windows (N, 4) whose sides lie within the film's by shares between `limits`."""
    moved = rng.uniform(*limits, (count, 4))
    moved[:, 2:] = 1 - moved[:, 2:]
    return moved


def _windowed(pixels: Pixels, windows: Floats) -> Pixels:
    return np.stack([framed(film, window) for film, window in zip(pixels, windows, strict=True)])


def _margin(side: int, rng: np.random.Generator) -> Floats:
    """Return by how much each pixel (S, S) lies in the edges and corners that are exchanged, 0 to 1."""
    from_side = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    beyond = np.minimum(from_side[:, None], from_side) - rng.uniform(*BAND) * side  # under 0 within the band
    for turns in range(4):
        height, width = rng.uniform(*CORNER, 2) * side
        corner = np.maximum(np.arange(side)[:, None] + 0.5 - height, np.arange(side) + 0.5 - width)
        view = np.rot90(beyond, turns)
        np.minimum(view, corner, out=view)
    share: Floats = np.clip(1 - beyond / (SEAM * side), 0, 1)
    return share


def _inner(film: Pixels) -> Pixels:
    edge = round(INNER * len(film))
    return film[edge : len(film) - edge, edge : len(film) - edge]


def _ranks(film: Pixels) -> Floats:
    """Return the rank (256,) of each level in a film: the share of pixels below it, and half of those at it."""
    counts = np.bincount(film.reshape(-1), minlength=LEVELS)
    ranks: Floats = (np.cumsum(counts) - counts / 2) / film.size
    return ranks


def _rounded(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
