"""What the model sees of films: what the gate judges, and what it might judge instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from handler.engine import Engine, Outputs
from handler.gate import Gate, Reason
from handler.imaging import Film
from training.data.films import DecodedFilms
from training.evaluate.evaluate import explain_all
from training.figures.metrics import Decisions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """Of N films."""

    films: Sequence[Film]
    patients: Sequence[str]
    """Empty where they are not known."""
    statistics: Outputs
    """(N, 640), of the network's middle stages."""
    features: Outputs
    """(N, 1280), its last."""

    def of(self, which: Decisions) -> Self:
        """Return those of the films at which (N,) is true."""
        places = np.flatnonzero(which).tolist()
        return type(self)(
            films=[self.films[i] for i in places],
            patients=[self.patients[i] for i in places],
            statistics=self.statistics[which],
            features=self.features[which],
        )

    def reasons(self, gate: Gate) -> list[tuple[Reason, ...]]:
        """Return what a gate has against each film."""
        return gate.reasons(self.films, self.statistics)

    @classmethod
    def together(cls, views: Sequence[Self]) -> Self:
        """Return the films of several."""
        return cls(
            films=[film for one in views for film in one.films],
            patients=[patient for one in views for patient in one.patients],
            statistics=np.concatenate([one.statistics for one in views]),
            features=np.concatenate([one.features for one in views]),
        )


def seen_of(engine: Engine, films: Sequence[Film], patients: Sequence[str] = ()) -> Views:
    """Return what an engine of `THREADS` threads sees of films."""
    explained = explain_all(engine, np.stack([film.pixels for film in films]))
    return Views(
        films=films,
        patients=patients or ("",) * len(films),
        statistics=explained.statistics,
        features=explained.features,
    )


def seen(engine: Engine, films: DecodedFilms) -> Views:
    """Return what an engine of `THREADS` threads sees of the films of a data set."""
    pairs = zip(films.pixels, films.facts, strict=True)
    return seen_of(
        engine, [Film(pixels=pixels, facts=facts) for pixels, facts in pairs], [f.patient for f in films.files]
    )
