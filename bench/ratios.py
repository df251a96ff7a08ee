"""The figures that the benchmark is for: each taken within a round, then the median over the rounds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.results import EXTRA_ROUND, Kind, Results, Run, select
from bench.roster import BARE, CONTENDERS, LEAN, OURS
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
    comparable = select(results.runs, workers=results.workers, width_px=None)
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
        "proxy_share": speed_up("ours_torchserve"),
        "p50_vs_bare": _ratio(value(OURS, "p50_ms", "closed", 1), value(BARE, "p50_ms", "bare", 1)),
        "p99_over_p50": _ratio(value(OURS, "p99_ms", "open", 0), value(OURS, "p50_ms", "open", 0)),
    }


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
