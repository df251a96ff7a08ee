"""The figures that are made of results: ratios with their goals, and the scaling law."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

import numpy as np
from scipy.optimize import nnls

from bench.results import EXTRA_ROUND, Kind, Results, Run, median_of, select
from bench.roster import BARE, CONTENDERS, LEAN, OURS, STRAIGHT
from bench.schedule import LOAD


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Return the spread of the values that are there; None of nothing."""
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its goal."""

    name: str
    sense: Literal[">=", "<="]
    goal: float
    meaning: str

    def met(self, spread: Spread | None) -> bool | None:
        """Return whether the median meets the goal; None where the figure is missing."""
        if spread is None:
            return None
        return spread.median >= self.goal if self.sense == ">=" else spread.median <= self.goal


RATIOS = (
    Figure("vs_fastapi", ">=", 6.0, f"throughput at concurrency {LOAD} / plain FastAPI with torch"),
    Figure("vs_best_peer", ">=", 1.2, "... / the best of LitServe, BentoML and Ray Serve, same decode and engine"),
    Figure("vs_lean_fastapi", ">=", 1.0, "... / FastAPI, same decode and engine, one process a core, even load"),
    Figure("vs_torchserve_stock", ">=", 4.0, "... / TorchServe's own image_classifier with eager torch"),
    Figure("fraction_of_bare", ">=", 0.85, "... / the bare loop, one process a core"),
    Figure("proxy_share", ">=", 0.95, "... / straight to TorchServe"),
    Figure("p50_vs_bare", "<=", 1.4, "p50 at concurrency 1 / the bare loop's time for a film"),
    Figure("p99_over_p50", "<=", 3.0, "p99 / p50 at 80 % of the highest throughput, open loop, films evenly spaced"),
)
FIGURES = (
    *RATIOS,
    Figure("memory_mb", "<=", 900.0, "memory of all processes after the load (MB PSS)"),
    Figure("start_s", "<=", 8.0, "from the start to the first answer (s)"),
)


def figures(results: Results) -> dict[str, Spread | None]:
    """Return every figure; None where a contender is missing, or answered too little."""
    comparable = select(results.runs, workers=results.workers)
    rounds = sorted({run.round for run in comparable} - {EXTRA_ROUND})
    ratios = [_ratios(select(comparable, round=number), results.workers) for number in rounds]
    return {
        **{figure.name: Spread.of(one[figure.name] for one in ratios) for figure in RATIOS},
        "memory_mb": Spread.of(results.memory_mb),
        "start_s": Spread.of(results.start_s),
    }


def _ratios(runs: Sequence[Run], workers: int) -> dict[str, float | None]:
    """Return the ratios within one round."""

    def value(name: str, measure: str, kind: Kind = "closed", concurrency: int = LOAD) -> float | None:
        found = [run.timing for run in select(runs, contender=name, kind=kind, concurrency=concurrency)]
        return getattr(found[0], measure) if found and found[0].valid else None

    def speed_up(name: str) -> float | None:
        return _ratio(value(OURS, "films_per_s"), value(name, "films_per_s"))

    peers = [speed_up(contender.name) for contender in CONTENDERS if contender.peer]
    return {
        "vs_fastapi": speed_up("fastapi_torch"),
        "vs_best_peer": min((ratio for ratio in peers if ratio is not None), default=None),
        "vs_lean_fastapi": speed_up(LEAN),
        "vs_torchserve_stock": speed_up("torchserve_stock"),
        "fraction_of_bare": _ratio(value(OURS, "films_per_s"), value(BARE, "films_per_s", "bare", workers)),
        "proxy_share": speed_up(STRAIGHT),
        "p50_vs_bare": _ratio(value(OURS, "p50_ms", "closed", 1), value(BARE, "p50_ms", "bare", 1)),
        "p99_over_p50": _ratio(value(OURS, "p99_ms", "open", 0), value(OURS, "p50_ms", "open", 0)),
    }


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


LAW_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UniversalLaw:
    """Throughput over concurrency N: X(N) = rate * N / (1 + contention (N - 1) + coherency N (N - 1)).

    Source: N. J. Gunther, Guerrilla Capacity Planning, 2007, chapter 4
    """

    rate_per_s: float
    """Of one client."""
    contention: float
    """The share of the work that queues for something single; its inverse bounds the speed-up."""
    coherency: float
    """The cost of each client to every other; above 0, throughput falls again beyond a peak."""

    def throughput(self, concurrency: float) -> float:
        """Return films a second."""
        others = concurrency - 1
        return self.rate_per_s * concurrency / (1 + self.contention * others + self.coherency * concurrency * others)


def universal_law(concurrencies: Sequence[int], films_per_s: Sequence[float]) -> UniversalLaw | None:
    """Fit the law by least squares with parameters of at least 0; None of fewer than three concurrencies.

    It is linear in N / X(N), where every concurrency counts alike relative to its throughput.
    """
    if len(set(concurrencies)) < LAW_POINTS or min(films_per_s) <= 0:
        return None
    clients = np.asarray(concurrencies, dtype=float)
    seconds = clients / np.asarray(films_per_s)  # (points,), N / X(N)
    terms = np.stack([np.ones_like(clients), clients - 1, clients * (clients - 1)], axis=1)  # (points, 3)
    (one, contention, coherency), _ = nnls(terms / seconds[:, None], np.ones_like(seconds))
    if one <= 0:
        return None
    return UniversalLaw(rate_per_s=float(1 / one), contention=float(contention / one), coherency=float(coherency / one))


def scaling(results: Results) -> dict[str, Any]:
    """Return this service's throughput and core time a film over concurrency, and the law through it."""
    closed = select(results.runs, contender=OURS, kind="closed", workers=results.workers)
    closed = [run for run in closed if run.timing.valid]
    rates = {
        concurrency: median_of(select(closed, concurrency=concurrency), "films_per_s") or 0.0
        for concurrency in sorted({run.concurrency for run in closed})
    }
    law = universal_law(list(rates), list(rates.values()))
    rows = [
        {"concurrency": concurrency, "films_per_s": rate, "core_ms": 1000 * results.workers / rate}
        for concurrency, rate in rates.items()
    ]
    return {"rows": rows, "universal_law": law and asdict(law)}
