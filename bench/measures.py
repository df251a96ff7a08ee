"""What one timed run is, and the figures that are made of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["bare", "closed", "open", "open_poisson"]
"""`closed`: so many clients that wait for each answer; `open`: evenly spaced arrivals at a rate, whatever the answers
do; `open_poisson`: the same, arriving by chance; `bare`: the loop without a server."""

PERCENTILES = (50, 95, 99)


FEWEST_FILMS = 10
"""Fewer answers in a run say nothing, as where something else has the cores."""

MOST_ERRORS = 0.01
"""The share of requests that may fail; more, and the answers that did come came too easily."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one load on one contender took."""

    films: int
    """Answered with 200."""
    errors: int
    seconds: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def films_per_s(self) -> float:
        """Throughput of right answers."""
        return self.films / self.seconds if self.seconds else 0.0

    @property
    def valid(self) -> bool:
        """Whether a ratio may be made of it."""
        return self.films >= FEWEST_FILMS and self.errors <= MOST_ERRORS * self.films


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of `results.json`."""

    contender: str
    kind: Kind
    round: int
    concurrency: int
    """Clients, or for the bare loop processes; of an open loop, 0."""
    workers: int
    width_px: int | None
    """Of films that were made this wide; None for the films as they are."""
    rate_per_s: float | None
    """Arrivals, of an open loop."""
    timing: Timing

    def told(self) -> dict[str, object]:
        """Return the row as plain values, rounded to what a benchmark can know."""
        timing = self.timing
        row: dict[str, object] = {
            "contender": self.contender,
            "kind": self.kind,
            "round": self.round,
            "concurrency": self.concurrency,
            "workers": self.workers,
            "width_px": self.width_px,
            "rate_per_s": None if self.rate_per_s is None else round(self.rate_per_s, 2),
            "films": timing.films,
            "errors": timing.errors,
            "seconds": round(timing.seconds, 3),
            "films_per_s": round(timing.films_per_s, 2),
        }
        return row | {name: round(getattr(timing, name), 3) for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms")}


def timing_of(took: Mapping[float, int], *, errors: int, seconds: float, films: int | None = None) -> Timing:
    """Summarise latencies.

    Args:
        took: milliseconds, and how many requests took so long.
        errors: requests that failed, among the latencies or not.
        seconds: how long the load lasted.
        films: how many were answered rightly, where that is not the number of latencies.
    """
    count = sum(took.values())
    mean_ms = sum(ms * times for ms, times in took.items()) / count if count else 0.0
    p50_ms, p95_ms, p99_ms = percentiles(took)
    return Timing(
        films=count if films is None else films,
        errors=errors,
        seconds=seconds,
        mean_ms=mean_ms,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
    )


def percentiles(took: Mapping[float, int], shares: Iterable[int] = PERCENTILES) -> list[float]:
    """Return percentiles by nearest rank; 0 of nothing."""
    ordered = sorted(took.items())
    count = sum(took.values())
    found = []
    for share in shares:
        rank = max(1, -(-count * share // 100))  # rounded up
        seen = 0
        value = 0.0
        for value, times in ordered:  # noqa: B007  (the value at the rank is the result)
            seen += times
            if seen >= rank:
                break
        found.append(value)
    return found


def histogram(took_ms: Iterable[float]) -> Counter[float]:
    """Return how often each latency occurs, to the microsecond."""
    return Counter(round(ms, 3) for ms in took_ms)
