"""What a benchmark has found: `results.json`, and what report and plots are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import scaling
from bench.measures import Run
from bench.plan import Plan
from bench.ratios import GOALS, NAMES, Spread, ratios, spread
from bench.session import Session

DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of it."""

    plan: Plan
    films: int
    """Sent in turn."""
    workers: int
    """One a core."""
    runs: Sequence[Run]
    figures: Mapping[str, Spread | None]
    """Ratios, memory and start, by the names of GOALS; None where there is none."""
    left_out: Mapping[str, str]
    """Contenders that were not timed, and why."""
    machine: Mapping[str, Any]
    by_size: Mapping[str, Any]
    by_concurrency: Mapping[str, Any]
    """As in `bench/scaling.py`."""

    @classmethod
    def of(cls, session: Session, machine: Mapping[str, Any]) -> "Findings":
        """Make them of a session that has run."""
        figures = {
            **ratios(session.runs, workers=session.workers),
            "memory_mb": spread(session.memory_mb),
            "start_s": spread(session.start_s),
        }
        return cls(
            plan=session.plan,
            films=len(session.films),
            workers=session.workers,
            runs=session.runs,
            figures=figures,
            left_out=session.left_out,
            machine=machine,
            by_size=scaling.by_size(session.runs, session.megapixels_of, workers=session.workers),
            by_concurrency=scaling.by_concurrency(session.runs, workers=session.workers),
        )

    def told(self) -> dict[str, Any]:
        """Return what results.json holds; a ratio that cannot be had is null."""
        rounded = {name: figure and round(figure.value, DIGITS) for name, figure in self.figures.items()}
        extremes = {
            name: figure and [round(figure.low, DIGITS), round(figure.high, DIGITS)]
            for name, figure in self.figures.items()
        }
        goals = {
            name: {**asdict(goal), "met": goal.met(figure.value if (figure := self.figures[name]) else None)}
            for name, goal in GOALS.items()
        }
        return {
            "ratios": {name: rounded[name] for name in NAMES},
            "runs": [run.told() for run in self.runs],
            "machine": dict(self.machine),
            "spread": extremes,
            "goals": goals,
            "memory_mb": rounded["memory_mb"],
            "start_s": rounded["start_s"],
            "left_out": dict(self.left_out),
            "plan": asdict(self.plan),
            "scaling": {"by_size": dict(self.by_size), "by_concurrency": dict(self.by_concurrency)},
        }
