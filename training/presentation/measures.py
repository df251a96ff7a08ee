"""How well `handler.presentation` recognises films: pure functions of films, networks and margins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.exposure import find_window, stretch
from handler.presentation import ORIENTATIONS, Margins, Network, Presentation, Scores, Turned, judge
from training.changes.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from training.figures.metrics import wilson

TURNED: tuple[Turned, ...] = ("upside down", "on its side", "mirrored")
FALSELY: Mapping[Turned, float] = {"upside down": 0.0002, "on its side": 0.0002, "mirrored": 0.0015}
"""Share of films that may be called so though they are upright."""
LEAST_MARGIN = 1.0

Films = npt.NDArray[np.uint8]
"""(N, 224, 224), upright positives, each with the network that judges it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of how many."""

    count: int
    of: int

    def __str__(self) -> str:
        rate = self.as_json()
        percent = "{rate:.3%} ({low:.3%} to {high:.3%})".format(**rate)
        return f"{self.count} of {self.of}, {percent}"

    def as_json(self) -> dict[str, float]:
        """Return the rate with its 95 % Wilson interval."""
        low, high = wilson(self.count, self.of)
        return {"count": self.count, "of": self.of, "rate": self.count / self.of, "low": low, "high": high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """How well the films of a set are recognised."""

    sensitivity: Rate
    """Upright negatives called negatives."""
    specificity: Rate
    """Upright positives called positives."""
    uncertain: Rate
    """Upright positives of which it is not said; a negative has the same scores."""
    turned_sensitivity: Rate
    """Negatives in the other seven orientations called negatives."""
    turned_specificity: Rate
    """Positives in the other seven orientations called positives."""
    false_warnings: Rate
    """Upright positives that are called turned or mirrored."""
    caught: Mapping[Turned, Rate]
    """Positives that lie so and are called so."""

    def rates(self) -> dict[str, Rate]:
        """Return all rates by name."""
        names = ("sensitivity", "specificity", "uncertain", "turned_sensitivity", "turned_specificity")
        named: dict[str, Rate] = {name: getattr(self, name) for name in (*names, "false_warnings")}
        return named | {f"caught {turned}": rate for turned, rate in self.caught.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What is said of upright positives that were changed."""

    negative: Rate
    uncertain: Rate
    turned: Rate

    def rates(self) -> dict[str, Rate]:
        """Return all rates by name."""
        return {"negative": self.negative, "uncertain": self.uncertain, "turned": self.turned}


def scored(films: Films, networks: Sequence[Network]) -> list[Scores]:
    """Return the scores of each film, as they are served."""
    return [network.scores(np.ascontiguousarray(film)) for film, network in zip(films, networks, strict=True)]


def find_margins(scores: Sequence[Scores]) -> Margins:
    """Return the margins at which no more of these upright films than FALSELY allows are called turned."""
    by_orientation = np.stack(scores).max(axis=1)  # (N, 8)
    names = np.array([name or "" for name in ORIENTATIONS])

    def margin(name: Turned) -> float:
        above = np.sort(by_orientation[:, names == name].max(axis=1) - by_orientation[:, 0])[::-1]
        first_not_called = above[int(FALSELY[name] * len(above))]
        return max(LEAST_MARGIN, float(np.floor(first_not_called * 100 + 1) / 100))

    return Margins(upside_down=margin("upside down"), on_its_side=margin("on its side"), mirrored=margin("mirrored"))


def recognition(films: Films, networks: Sequence[Network], margins: Margins) -> Recognition:
    """Measure how films are recognised in all sixteen presentations."""

    def recognised(pixels: Films) -> list[list[Presentation]]:
        """Return what is recognised of the films in each orientation, by its index in ORIENTATIONS."""
        ways = [np.rot90(way, quarters, axes=(1, 2)) for way in (pixels, pixels[..., ::-1]) for quarters in range(4)]
        return [[judge(scores, margins) for scores in scored(way, networks)] for way in ways]

    positives, negatives = recognised(films), recognised(255 - films)
    turned = range(1, len(ORIENTATIONS))
    return Recognition(
        sensitivity=_rate([one.negative is True for one in negatives[0]]),
        specificity=_rate([one.negative is False for one in positives[0]]),
        uncertain=_rate([one.negative is None for one in positives[0]]),
        turned_sensitivity=_rate([one.negative is True for way in turned for one in negatives[way]]),
        turned_specificity=_rate([one.negative is False for way in turned for one in positives[way]]),
        false_warnings=_rate([one.turned is not None for one in positives[0]]),
        caught={
            name: _rate([one.turned == name for way in turned if ORIENTATIONS[way] == name for one in positives[way]])
            for name in TURNED
        },
    )


def recognition_of_changed(
    films: Films, networks: Sequence[Network], margins: Margins, *, severity: str
) -> dict[str, Changed]:
    """Measure what is said of films after each change of `training.changes.corruptions`, mild or strong."""
    measured = {}
    for name, changes in CORRUPTIONS.items():
        changed = corrupted(films, changes[SEVERITIES.index(severity)])
        stretched = np.stack([stretch(film, find_window(film)) for film in changed])
        result = [judge(scores, margins) for scores in scored(stretched, networks)]
        measured[name] = Changed(
            negative=_rate([one.negative is True for one in result]),
            uncertain=_rate([one.negative is None for one in result]),
            turned=_rate([one.turned is not None for one in result]),
        )
    return measured


def _rate(outcomes: Sequence[bool]) -> Rate:
    return Rate(count=sum(outcomes), of=len(outcomes))
