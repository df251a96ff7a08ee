"""The ratios that the benchmark is for: each taken within a round, then the median over the rounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.measures import Kind, Run, Timing
from bench.plan import LOAD
from bench.roster import BARE, CONTENDERS, LEAN, OURS

PEERS = tuple(contender.name for contender in CONTENDERS if contender.peer)

NAMES = (
    "vs_fastapi",
    "vs_best_peer",
    "vs_lean_fastapi",
    "vs_torchserve_stock",
    "fraction_of_bare",
    "proxy_share",
    "p50_vs_bare",
    "p99_over_p50",
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach, or not to exceed."""

    sense: Literal[">=", "<="]
    bound: float

    def met(self, value: float | None) -> bool | None:
        """Return whether it is met; None where there is no figure."""
        if value is None:
            return None
        return value >= self.bound if self.sense == ">=" else value <= self.bound


GOALS: Mapping[str, Goal] = {
    "vs_fastapi": Goal(">=", 6.0),
    "vs_best_peer": Goal(">=", 1.2),
    "vs_lean_fastapi": Goal(">=", 1.0),
    "vs_torchserve_stock": Goal(">=", 4.0),
    "fraction_of_bare": Goal(">=", 0.85),
    "proxy_share": Goal(">=", 0.95),
    "p50_vs_bare": Goal("<=", 1.4),
    "p99_over_p50": Goal("<=", 3.0),
    "memory_mb": Goal("<=", 900.0),
    "start_s": Goal("<=", 8.0),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    value: float
    """The median."""
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread | None:
    """Return median and extremes; None of nothing."""
    known = sorted(values)
    return Spread(median(known), known[0], known[-1]) if known else None


def ratios(runs: Sequence[Run], *, workers: int) -> dict[str, Spread | None]:
    """Return every ratio over the rounds of runs; None where a contender is missing, or answered too little.

    Args:
        runs: of all rounds.
        workers: one a core; runs with other numbers of workers, or with films of other sizes, are no part of it.
    """
    comparable = [run for run in runs if run.workers == workers and run.width_px is None]
    rounds = sorted({run.round for run in comparable})
    told = [of_round([run for run in comparable if run.round == number]) for number in rounds]
    return {name: spread(value for one in told if (value := one[name]) is not None) for name in NAMES}


def of_round(runs: Sequence[Run]) -> dict[str, float | None]:
    """Return the ratios within one round."""
    ours = throughput(runs, OURS)
    bare = throughput(runs, BARE)
    arrivals = _timing(runs, OURS, "open", 0)
    peers = [value for name in PEERS if (value := throughput(runs, name)) is not None]
    return {
        "vs_fastapi": _ratio(ours, throughput(runs, "fastapi_torch")),
        "vs_best_peer": _ratio(ours, max(peers, default=None)),
        "vs_lean_fastapi": _ratio(ours, throughput(runs, LEAN)),
        "vs_torchserve_stock": _ratio(ours, throughput(runs, "torchserve_stock")),
        "fraction_of_bare": _ratio(ours, bare),
        "proxy_share": _ratio(ours, throughput(runs, "ours_torchserve")),
        "p50_vs_bare": _ratio(_p50(runs, OURS, "closed"), _p50(runs, BARE, "bare")),
        "p99_over_p50": _ratio(arrivals.p99_ms, arrivals.p50_ms) if arrivals else None,
    }


def throughput(runs: Sequence[Run], name: str) -> float | None:
    """Return films a second: of a server under the common load, of the bare loop in as many processes as there are."""
    if name == BARE:
        loops = [run for run in runs if run.kind == "bare" and run.timing.valid]
        return max(loops, key=lambda run: run.concurrency).timing.films_per_s if loops else None
    timing = _timing(runs, name, "closed", LOAD)
    return timing.films_per_s if timing else None


def _p50(runs: Sequence[Run], name: str, kind: Kind) -> float | None:
    """Return what a film takes where it is the only one, in milliseconds."""
    timing = _timing(runs, name, kind, 1)
    return timing.p50_ms if timing else None


def _timing(runs: Sequence[Run], name: str, kind: Kind, concurrency: int) -> Timing | None:
    return next(
        (
            run.timing
            for run in runs
            if (run.contender, run.kind, run.concurrency) == (name, kind, concurrency) and run.timing.valid
        ),
        None,
    )


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
