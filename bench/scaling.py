"""Scaling laws: what a film costs over its size, and what throughput becomes over concurrency."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bench.measures import Run
from bench.plan import LOAD
from bench.roster import BARE, OURS

COSTS = ("bare_ms", "alone_ms", "loaded_core_ms")
"""Of a film: in the bare loop, through the proxy with nothing else there, and in core time under load."""

POINTS_OF_A_LINE = 2
POINTS_OF_THE_LAW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Cost of a film over its size: fixed_ms + ms_per_megapixel * megapixels."""

    fixed_ms: float
    ms_per_megapixel: float


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
    """What each client costs every other; above 0, throughput falls again beyond a peak."""

    def throughput(self, concurrency: float) -> float:
        """Return films a second."""
        others = concurrency - 1
        return self.rate_per_s * concurrency / (1 + self.contention * others + self.coherency * concurrency * others)


def line(megapixels: Sequence[float], cost_ms: Sequence[float]) -> Line | None:
    """Fit the cost of a film over its size by least squares; None of fewer than two sizes."""
    if len(set(megapixels)) < POINTS_OF_A_LINE:
        return None
    slope, fixed = np.polyfit(megapixels, cost_ms, 1)
    return Line(fixed_ms=float(fixed), ms_per_megapixel=float(slope))


def universal_law(concurrencies: Sequence[int], films_per_s: Sequence[float]) -> UniversalLaw | None:
    """Fit the law by least squares with parameters of at least 0; None of fewer than three concurrencies.

    It is linear in N / X(N), where every concurrency counts alike relative to its throughput.
    """
    if len(set(concurrencies)) < POINTS_OF_THE_LAW or min(films_per_s) <= 0:
        return None
    clients = np.asarray(concurrencies, dtype=float)
    seconds = clients / np.asarray(films_per_s)  # (points,), N / X(N)
    terms = np.stack([np.ones_like(clients), clients - 1, clients * (clients - 1)], axis=1)  # (points, 3)
    (one, contention, coherency), _ = nnls(terms / seconds[:, None], np.ones_like(seconds))
    if one <= 0:
        return None
    return UniversalLaw(rate_per_s=float(1 / one), contention=float(contention / one), coherency=float(coherency / one))


def by_size(runs: Sequence[Run], megapixels_of: dict[int, float], *, workers: int) -> dict[str, Any]:
    """Return the cost of a film over its size, and the lines through it: one process alone, and through the proxy.

    Args:
        runs: those with films made to a width.
        megapixels_of: the films' mean size by their width.
        workers: cores, whose time a film under load is reckoned in.
    """
    sized = [run for run in runs if run.width_px is not None]
    rows = []
    for width in sorted({run.width_px for run in sized if run.width_px is not None}):
        here = [run for run in sized if run.width_px == width]
        loaded = [run.timing for run in here if (run.contender, run.concurrency) == (OURS, LOAD)]
        rows.append(
            {
                "width_px": width,
                "megapixels": megapixels_of[width],
                "bare_ms": _lone_ms(here, BARE),
                "alone_ms": _lone_ms(here, OURS),
                "loaded_core_ms": _core_ms([timing.films_per_s for timing in loaded], workers),
            }
        )
    fits = {name: _line_of(rows, name) for name in COSTS}
    return {"rows": rows, "lines": {name: fit and asdict(fit) for name, fit in fits.items()}}


def _lone_ms(runs: Sequence[Run], name: str) -> float | None:
    """Return the median time of a film that is the only one."""
    known = [run.timing.p50_ms for run in runs if (run.contender, run.concurrency) == (name, 1)]
    return median(known) if known else None


def _core_ms(films_per_s: Sequence[float], workers: int) -> float | None:
    """Return the milliseconds of a core that a film takes."""
    rate = median(films_per_s) if films_per_s else 0.0
    return 1000 * workers / rate if rate else None


def _line_of(rows: Sequence[Mapping[str, Any]], name: str) -> Line | None:
    known = [(row["megapixels"], row[name]) for row in rows if row[name] is not None]
    return line([size for size, _ in known], [cost for _, cost in known])


def by_concurrency(runs: Sequence[Run], *, workers: int) -> dict[str, Any]:
    """Return this service's throughput over concurrency (median over the rounds), and the law through it."""
    mine = (OURS, "closed", workers, None)
    closed = [run for run in runs if (run.contender, run.kind, run.workers, run.width_px) == mine and run.timing.valid]
    concurrencies = sorted({run.concurrency for run in closed})
    rates = [
        median(run.timing.films_per_s for run in closed if run.concurrency == concurrency)
        for concurrency in concurrencies
    ]
    law = universal_law(concurrencies, rates) if rates else None
    rows = [
        {"concurrency": concurrency, "films_per_s": rate, "core_ms": _core_ms([rate], workers)}
        for concurrency, rate in zip(concurrencies, rates, strict=True)
    ]
    return {"rows": rows, "universal_law": law and asdict(law)}
