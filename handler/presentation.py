"""How a film is presented: as a positive or a negative, and upright, upside down, on its side or mirrored.

A small network scores how much a picture looks like an upright, positive chest film; 0 is where a film and any other
picture are equally likely. It sees the picture in all sixteen presentations, and the highest scores decide. A film and
its negative, or a film and the same turned, hence have the same sixteen scores in another order: no film can be called
a positive together with its negative. `training.presentation.train` learns the weights and measures how often this is
right.

Weights are half floats and layers are rounded to whole numbers, so that every sum is exact in float64, in whatever
order a processor adds: the same film is presented in the same way everywhere.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
"""(2, 8): the picture as it is and its negative, each in the eight orientations of ORIENTATIONS."""

Turned = Literal["upside down", "on its side", "mirrored"]

ORIENTATIONS: tuple[Turned | None, ...] = (
    *(None, "on its side", "upside down", "on its side"),
    *("mirrored", "on its side", "upside down", "on its side"),
)
"""What a film is called that is upright after so many quarter turns; the last four after a mirroring as well."""

SHIPPED = Path(__file__).with_name("presentation.npz")

SIDE = 32
"""Sides of what the network sees, in means of 7x7 pixels of a film."""
BLOCK = 7
PATCH = 4
"""Sides of the squares that the first layer sees, in such means."""
UNIT = 1024
"""Of the whole numbers that layers are rounded to: 1.0."""
WHITE = BLOCK * BLOCK * 255

FILM = 0.0
"""The best score at least: below, it is more likely another picture than a chest film, and nothing is certain."""
POLARITY = 3.0
"""Score of one polarity above the other at least: odds of 20 to 1."""


def _patches() -> npt.NDArray[np.intp]:
    """Return where each value comes from, (8, 64, 16): of eight orientations, 64 squares of 16 values of a grid."""
    grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    turned = np.stack([np.rot90(way, quarters) for way in (grid, grid[:, ::-1]) for quarters in range(4)])
    squares = turned.reshape(8, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(squares.reshape(8, (SIDE // PATCH) ** 2, PATCH * PATCH))


PATCHES = _patches()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How a film was presented; by default a positive, upright."""

    negative: bool | None = False
    """None where it is uncertain."""
    turned: Turned | None = None
    """How it lies, where that is certain; None for upright as well as for uncertain."""
    recognised: bool = True
    """Whether it looks like a chest film at all; where it does not, nothing else of it is certain."""

    def warnings(self) -> list[str]:
        """Return what there is to say of it: one sentence a reason, most often none."""
        said = []
        if self.negative:
            said.append("Warning: the film was a negative and has been inverted.")
        if not self.recognised:
            said.append("Warning: the picture was not recognised as a chest film, positive or negative.")
        elif self.negative is None:
            said.append("Warning: the film may be a negative, which is uncertain; it was not inverted.")
        if self.turned == "mirrored":
            said.append("Warning: the film may be mirrored, or the heart lies on the right; it was not turned.")
        elif self.turned:
            said.append(f"Warning: the film seems to be {self.turned}; it was not turned.")
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Scores of an orientation above that of an upright film, from which on it is certain."""

    upside_down: float
    on_its_side: float
    mirrored: float

    def of(self, turned: Turned) -> float:
        """Return the margin of an orientation."""
        return {"upside down": self.upside_down, "on its side": self.on_its_side, "mirrored": self.mirrored}[turned]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Weights of the three layers, float64 that half floats hold exactly, input by output."""

    square: npt.NDArray[np.float64]
    """(16, C), the same for every square of the grid."""
    square_bias: npt.NDArray[np.float64]
    """(C,)."""
    hidden: npt.NDArray[np.float64]
    """(64 * C, H)."""
    hidden_bias: npt.NDArray[np.float64]
    """(H,)."""
    score: npt.NDArray[np.float64]
    """(H,)."""
    score_bias: float

    def scores(self, film: npt.NDArray[np.uint8]) -> Scores:
        """Return the scores of one film (224, 224), 0 to 255, its levels stretched; takes a tenth of a millisecond."""
        values = block_sums(film).ravel() * 2.0 - WHITE  # (1024,), of the negative the same with the other sign
        squares = values[PATCHES].reshape(-1, PATCH * PATCH) @ self.square  # (8 * 64, C)
        squares *= UNIT / WHITE
        bias = UNIT * self.square_bias
        return np.stack([self._score(bias + squares), self._score(bias - squares)])

    def _score(self, squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        seen = _rectified(squares).reshape(8, -1)  # (8, 64 * C)
        hidden = _rectified(seen @ self.hidden + UNIT * self.hidden_bias)  # (8, H)
        return (hidden @ self.score) / UNIT + self.score_bias  # (8,)


def recognise(film: npt.NDArray[np.uint8]) -> Presentation:
    """Return how a film is presented.

    Args:
        film: (224, 224), its levels stretched from 0 to 255.

    Raises:
        ValueError: the film has another shape.
    """
    network, margins = shipped()
    return judge(network.scores(film), margins)


def judge(scores: Scores, margins: Margins) -> Presentation:
    """Return how a film is presented, from its sixteen scores."""
    positive, negative = scores.max(axis=1)
    if max(positive, negative) < FILM:
        return Presentation(negative=None, recognised=False)
    by_orientation = scores.max(axis=0)  # (8,)
    turned = ORIENTATIONS[by_orientation.argmax()]
    if turned and by_orientation.max() - by_orientation[0] < margins.of(turned):
        turned = None
    certain = abs(positive - negative) >= POLARITY
    return Presentation(negative=bool(negative > positive) if certain else None, turned=turned)


def block_sums(film: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Return the sums (32, 32) of the 7x7 blocks of a film (224, 224).

    Raises:
        ValueError: the film has another shape.
    """
    if film.shape != (SIDE * BLOCK, SIDE * BLOCK):
        raise ValueError(f"a film has {SIDE * BLOCK}x{SIDE * BLOCK} pixels, got {film.shape}")
    rows = film.reshape(SIDE, BLOCK, SIDE * BLOCK).sum(axis=1, dtype=np.uint16)
    # One axis at a time: a quarter of the time of both at once.
    sums: npt.NDArray[np.uint16] = rows.reshape(SIDE, SIDE, BLOCK).sum(axis=2, dtype=np.uint16)
    return sums


@cache
def shipped() -> tuple[Network, Margins]:
    """Return the network and the margins that this package brings."""
    return load(SHIPPED)


def load(path: Path) -> tuple[Network, Margins]:
    """Return the network and the margins of a file that `save` wrote.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is no archive of arrays, or one of them has another shape.
        KeyError: one of the arrays is absent.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name].astype(np.float64) for name in file.files}
    upside_down, on_its_side, mirrored = arrays["margins"].tolist()
    network = Network(
        **{name: arrays[name] for name in ("square", "square_bias", "hidden", "hidden_bias", "score")},
        score_bias=float(arrays["score_bias"]),
    )
    return network, Margins(upside_down=upside_down, on_its_side=on_its_side, mirrored=mirrored)


def save(path: Path, network: Network, margins: Margins) -> None:
    """Write a network and margins, at half precision."""
    half = {
        name: np.asarray(getattr(network, name), dtype=np.float16)
        for name in ("square", "square_bias", "hidden", "hidden_bias", "score", "score_bias")
    }
    named = np.array([margins.upside_down, margins.on_its_side, margins.mirrored], dtype=np.float32)
    np.savez(path, allow_pickle=False, margins=named, **half)


def _rectified(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.rint(np.maximum(values, 0.0))
