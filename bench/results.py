"""What a benchmark has measured."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.schedule import Schedule

Kind = Literal["bare", "closed", "open", "open_poisson"]
"""`closed`: clients that each wait for their answer; `open`: evenly spaced arrivals at a rate; `open_poisson`: random
arrivals at that rate; `bare`: the loop without a server."""

MIN_FILMS = 10
"""Fewer answers make no figure, as where something else has the cores."""

MAX_ERROR_SHARE = 0.01
"""With more failed requests, those that were answered came too easily."""

EXTRA_ROUND = 0
"""Of runs that belong to no round: those with other numbers of workers."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One timed load."""

    contender: str
    kind: Kind
    round: int
    concurrency: int
    """Clients, or processes of the bare loop; 0 of an open loop."""
    workers: int
    rate_per_s: float | None = None
    """Arrivals, of an open loop."""
    timing: Timing

    def row(self) -> dict[str, object]:
        """Return the run's entry of `results.json`, rounded to what a benchmark can know."""
        row = asdict(self)
        row |= {**row.pop("timing"), "films_per_s": self.timing.films_per_s}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


@dataclass(slots=True, kw_only=True)
class Results:
    """Everything that a benchmark has measured."""

    schedule: Schedule
    films: int
    """Sent in turn."""
    workers: int
    """Of every contender: one a core."""
    machine: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Contenders that are not timed, and why."""
    memory_mb: list[float] = field(default_factory=list)
    """Of this service, a value a round."""
    start_s: list[float] = field(default_factory=list)


def select(runs: Sequence[Run], **values: object) -> list[Run]:
    """Return the runs that have these values, such as `contender="bare", concurrency=1`."""
    return [run for run in runs if all(getattr(run, name) == value for name, value in values.items())]


def median_of(runs: Sequence[Run], measure: str) -> float | None:
    """Return the median of a field of `Timing` over runs; None of no run."""
    return median(getattr(run.timing, measure) for run in runs) if runs else None
