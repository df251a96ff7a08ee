"""One load on a contender: what is sent, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

MIN_FILMS = 10
"""Fewer answers make no figure, as where something else has the cores."""

MAX_ERROR_SHARE = 0.01
"""With more failed requests, those that were answered came too easily."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Films for one contender."""

    urls: Sequence[str]
    """All its addresses; clients, or films, are shared evenly among them."""
    headers: Mapping[str, str]
    bodies: Sequence[Path]
    """Request bodies as files, sent in turn as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one load took."""

    films: int
    """Answered with 200."""
    errors: int
    seconds: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, took_ms: npt.ArrayLike, *, errors: int, seconds: float, films: int | None = None) -> "Timing":
        """Summarise latencies (requests,), with percentiles of the nearest rank; `films` is by default their number."""
        latencies = np.asarray(took_ms, dtype=float)
        known = latencies if latencies.size else np.zeros(1)
        p50_ms, p95_ms, p99_ms = map(float, np.percentile(known, (50, 95, 99), method="inverted_cdf"))
        return cls(
            films=latencies.size if films is None else films,
            errors=errors,
            seconds=seconds,
            mean_ms=float(known.mean()),
            p50_ms=p50_ms,
            p95_ms=p95_ms,
            p99_ms=p99_ms,
        )

    @property
    def films_per_s(self) -> float:
        """Return the throughput of films answered with 200."""
        return self.films / self.seconds if self.seconds else 0.0

    @property
    def valid(self) -> bool:
        """Return whether a figure may be made of it."""
        return self.films >= MIN_FILMS and self.errors <= MAX_ERROR_SHARE * self.films
