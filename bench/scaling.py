"""Scaling laws: the cost of a film over its size, and throughput over concurrency."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bench.results import Results, Run, median_of, select
from bench.roster import BARE, OURS
from bench.schedule import LOAD

COSTS = {
    "bare_ms": "bare loop (ms)",
    "lone_ms": "through the proxy, concurrency 1 (ms)",
    "loaded_core_ms": f"through the proxy, concurrency {LOAD} (ms of a core)",
}
"""Of a film, with their titles."""

LINE_POINTS = 2
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


def line(megapixels: Sequence[float], cost_ms: Sequence[float]) -> dict[str, float] | None:
    """Fit the cost of a film over its size by least squares; None of fewer than two sizes."""
    if len(set(megapixels)) < LINE_POINTS:
        return None
    slope, fixed = np.polyfit(megapixels, cost_ms, 1)
    return {"fixed_ms": float(fixed), "ms_per_megapixel": float(slope)}


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


def by_size(results: Results) -> dict[str, Any]:
    """Return the costs of a film over its size, and the lines through them."""
    rows = [
        {"width_px": width_px, "megapixels": size, **_costs(select(results.runs, width_px=width_px), results.workers)}
        for width_px, size in sorted(results.megapixels.items())
    ]
    return {"rows": rows, "lines": {name: _line_of(rows, name) for name in COSTS}}


def _costs(runs: Sequence[Run], workers: int) -> dict[str, float | None]:
    loaded = median_of(select(runs, contender=OURS, concurrency=LOAD), "films_per_s")
    return {
        "bare_ms": median_of(select(runs, contender=BARE, concurrency=1), "p50_ms"),
        "lone_ms": median_of(select(runs, contender=OURS, concurrency=1), "p50_ms"),
        "loaded_core_ms": _core_ms(loaded, workers),
    }


def _core_ms(films_per_s: float | None, workers: int) -> float | None:
    """Return the milliseconds of a core that a film takes."""
    return 1000 * workers / films_per_s if films_per_s else None


def _line_of(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float] | None:
    known = [row for row in rows if row[name] is not None]
    return line([row["megapixels"] for row in known], [row[name] for row in known])


def by_concurrency(results: Results) -> dict[str, Any]:
    """Return this service's throughput over concurrency (median over the rounds), and the law through it."""
    closed = select(results.runs, contender=OURS, kind="closed", workers=results.workers, width_px=None)
    closed = [run for run in closed if run.timing.valid]
    rates = {
        concurrency: median_of(select(closed, concurrency=concurrency), "films_per_s") or 0.0
        for concurrency in sorted({run.concurrency for run in closed})
    }
    law = universal_law(list(rates), list(rates.values()))
    rows = [
        {"concurrency": concurrency, "films_per_s": rate, "core_ms": _core_ms(rate, results.workers)}
        for concurrency, rate in rates.items()
    ]
    return {"rows": rows, "universal_law": law and asdict(law)}
