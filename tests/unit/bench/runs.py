"""Runs and results that nobody measured."""

from bench.results import Kind, Results, Run, Timing
from bench.schedule import SMALLEST


def run(  # noqa: PLR0913  (each is what some test is about)
    contender: str,
    films_per_s: float,
    *,
    kind: Kind = "closed",
    round_: int = 1,
    concurrency: int = 16,
    workers: int = 2,
    p50_ms: float = 10.0,
    p99_ms: float = 20.0,
    errors: int = 0,
) -> Run:
    """Return a run of one second."""
    return Run(
        contender=contender,
        kind=kind,
        round=round_,
        concurrency=concurrency,
        workers=workers,
        rate_per_s=100.0 if kind.startswith("open") else None,
        timing=Timing(
            films=round(films_per_s),
            errors=errors,
            seconds=1.0,
            mean_ms=p50_ms,
            p50_ms=p50_ms,
            p95_ms=p99_ms,
            p99_ms=p99_ms,
        ),
    )


def round_of_runs(round_: int = 1, *, ours: float = 180.0) -> list[Run]:
    """Return what one round measures of every contender."""
    return [
        run("bare", 100, kind="bare", round_=round_, concurrency=1, p50_ms=9.0),
        run("bare", 200, kind="bare", round_=round_, concurrency=2),
        run("ours_proxy", ours / 3, round_=round_, concurrency=1, p50_ms=12.0),
        run("ours_proxy", ours, round_=round_),
        run("ours_proxy", 140, kind="open", round_=round_, concurrency=0, p50_ms=14.0, p99_ms=35.0),
        run("ours_proxy", 140, kind="open_poisson", round_=round_, concurrency=0, p50_ms=16.0, p99_ms=70.0),
        run("ours_torchserve", 185, round_=round_),
        run("lean_fastapi", 175, round_=round_),
        run("litserve", 150, round_=round_),
        run("bentoml", 120, round_=round_),
        run("ray_serve", 130, round_=round_),
        run("fastapi_torch", 30, round_=round_),
        run("torchserve_stock", 40, round_=round_),
    ]


MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "cores_of_machine": 2,
    "memory_gb": 24.0,
    "system": "Linux",
    "python": "3.11.7",
    "packages": {"openvino": "2026.4.1"},
    "generator": "wrk",
    "commit": "0123456789ab",
    "load_average": 0.1,
    "busy": False,
}


def results_of(runs: list[Run], **values: object) -> Results:
    """Return the results of a benchmark that has measured these runs."""
    measured = Results(schedule=SMALLEST, films=1, workers=2, machine=dict(MACHINE), runs=runs)
    measured.memory_mb, measured.start_s = [800.0], [7.0]
    for name, value in values.items():
        setattr(measured, name, value)
    return measured
