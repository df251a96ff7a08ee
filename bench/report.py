"""`results.md`: the figures for people."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.findings import Findings
from bench.measures import Kind, Run
from bench.plan import LOAD, Plan
from bench.ratios import GOALS, Goal, Spread
from bench.roster import BARE, CONTENDERS, OURS

MEANINGS: Mapping[str, str] = {
    "vs_fastapi": f"throughput at concurrency {LOAD} / plain FastAPI with torch",
    "vs_best_peer": "... / the best of LitServe, BentoML and Ray Serve, same decode and engine",
    "vs_lean_fastapi": "... / FastAPI, same decode and engine, one process a core, load spread evenly",
    "vs_torchserve_stock": "... / TorchServe's own image_classifier with eager torch",
    "fraction_of_bare": "... / the bare loop, one process a core",
    "proxy_share": "... / straight to TorchServe",
    "p50_vs_bare": "p50 at concurrency 1 / the bare loop's time for a film",
    "p99_over_p50": "p99 / p50 at 80 % of the highest throughput, open loop, films evenly spaced",
    "memory_mb": "memory of everything after the load (MB PSS)",
    "start_s": "from the start to the first answer (s)",
}

TITLES: Mapping[str, str] = {BARE: "bare loop"} | {contender.name: contender.title for contender in CONTENDERS}

SIGNIFICANT = 3


def page(found: Findings) -> str:
    """Return the report in Markdown."""
    runs, machine = found.runs, found.machine
    parts = ["# Benchmark", _setting(found.plan, found.films, machine)]
    if machine["busy"]:
        parts.append(
            f"**The machine was busy when this began (load average {machine['load_average']}): the figures are noise.**"
        )
    parts += ["## Ratios", _ratios(found.figures, found.plan)]
    if found.left_out:
        parts += ["## Not timed", "\n".join(f"- **{name}**: {reason}" for name, reason in found.left_out.items())]
    parts += [f"## Contenders, {found.workers} workers", _contenders(runs, found.workers)]
    parts += [f"## {TITLES[OURS].capitalize()} by number of workers, concurrency {LOAD}", _workers(runs)]
    if found.by_size["rows"]:
        parts += ["## Cost of a film over its size", _by_size(found.by_size)]
    parts += ["## Throughput over concurrency", _by_concurrency(found.by_concurrency)]
    return "\n\n".join(parts) + "\n"


def _setting(plan: Plan, films: int, machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{plan.name.capitalize()} plan: {plan.rounds} rounds, {plan.seconds:g} s a load, {films} films in turn. "
        f"{machine['cpu']}, {machine['cores']} of {machine['cores_of_machine']} cores, {machine['system']}, "
        f"Python {machine['python']}, {machine['generator']}, commit {machine['commit']}.\n\n{packages}."
    )


def _ratios(figures: Mapping[str, Spread | None], plan: Plan) -> str:
    rows = []
    for name, meaning in MEANINGS.items():
        goal, figure = GOALS[name], figures[name]
        value = "not measured" if figure is None else _short(figure.value)
        extremes = "" if figure is None else f"{_short(figure.low)} to {_short(figure.high)}"
        rows.append([f"`{name}`", meaning, value, extremes, _goal(goal), _verdict(goal, figure)])
    head = ["", f"median of {plan.rounds} rounds, each within itself", "", "lowest to highest", "goal", "met"]
    return table(head, rows)


def _goal(goal: Goal) -> str:
    return f"{'≥' if goal.sense == '>=' else '≤'} {goal.bound:g}"


def _verdict(goal: Goal, figure: Spread | None) -> str:
    return {True: "yes", False: "no", None: ""}[goal.met(None if figure is None else figure.value)]


def _contenders(runs: Sequence[Run], workers: int) -> str:
    rows = []
    for name, title in TITLES.items():
        for concurrency, kind in sorted({(run.concurrency, run.kind) for run in runs if run.contender == name}):
            row = _row(runs, name, kind, concurrency, workers)
            if row:
                rows.append([title, *row])
    head = ["", "concurrency", "films/s", "p50 (ms)", "p95 (ms)", "p99 (ms)", "errors"]
    return table(head, rows)


def _row(runs: Sequence[Run], name: str, kind: Kind, concurrency: int, workers: int) -> list[str] | None:
    timings = [
        run.timing
        for run in runs
        if (run.contender, run.kind, run.concurrency, run.workers, run.width_px)
        == (name, kind, concurrency, workers, None)
    ]
    if not timings:
        return None
    measures = ("films_per_s", "p50_ms", "p95_ms", "p99_ms")
    medians = [f"{median(getattr(timing, measure) for timing in timings):.1f}" for measure in measures]
    told = {
        "bare": f"{concurrency} {'process' if concurrency == 1 else 'processes'}",
        "closed": str(concurrency),
        "open": "open loop, evenly spaced",
        "open_poisson": "open loop, Poisson",
    }[kind]
    return [told, *medians, str(sum(timing.errors for timing in timings))]


def _workers(runs: Sequence[Run]) -> str:
    ours = sorted({run.workers for run in runs if run.contender == OURS})
    rows = [[str(workers), *row[1:]] for workers in ours if (row := _row(runs, OURS, "closed", LOAD, workers))]
    return table(["workers", "films/s", "p50 (ms)", "p95 (ms)", "p99 (ms)", "errors"], rows)


def _by_size(scaling: Mapping[str, Any]) -> str:
    names = {
        "bare_ms": "bare loop (ms)",
        "alone_ms": "through the proxy, alone (ms)",
        "loaded_core_ms": f"through the proxy, concurrency {LOAD} (ms of a core)",
    }
    rows = [
        [str(row["width_px"]), f"{row['megapixels']:.2f}", *(_one_decimal(row[name]) for name in names)]
        for row in scaling["rows"]
    ]
    rows.append(["fit", "", *(_line(scaling["lines"][name]) for name in names)])
    return table(["width (px)", "megapixels", *names.values()], rows)


def _line(fit: Mapping[str, float] | None) -> str:
    return "" if fit is None else f"{fit['fixed_ms']:.1f} + {fit['ms_per_megapixel']:.2f} a megapixel"


def _one_decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _by_concurrency(scaling: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["concurrency"]),
            f"{row['films_per_s']:.1f}",
            "" if row["core_ms"] is None else f"{row['core_ms']:.2f}",
        ]
        for row in scaling["rows"]
    ]
    told = table(["concurrency", "films/s", "cost of a film (ms of a core)"], rows)
    if law := scaling["universal_law"]:
        told += (
            f"\n\nUniversal scalability law: {law['rate_per_s']:.1f} films/s of one client, "
            f"contention {law['contention']:.3f}, coherency {law['coherency']:.5f}."
        )
    return told


def _short(value: float) -> str:
    return f"{value:.{SIGNIFICANT}g}" if value < 10**SIGNIFICANT else f"{value:.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell != "-" else "-" for cell in line) + "|" for line in lines)
