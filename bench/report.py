"""`results.json` for programs, and `results.md` for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import FIGURES, RATIOS, Figure, Spread, figures, scaling
from bench.results import Results, Run, median_of, select
from bench.roster import OURS, TITLES
from bench.schedule import LOAD

DIGITS = 3

MEASURES = {"films_per_s": "films/s", "p50_ms": "p50 (ms)", "p95_ms": "p95 (ms)", "p99_ms": "p99 (ms)"}
"""Fields of `Timing`, with their titles."""


def document(results: Results) -> dict[str, Any]:
    """Return what `results.json` holds; a figure that is missing is null."""
    spreads = figures(results)
    medians = {name: spread and round(spread.median, DIGITS) for name, spread in spreads.items()}
    return {
        "ratios": {figure.name: medians[figure.name] for figure in RATIOS},
        "runs": [run.row() for run in results.runs],
        "machine": results.machine,
        "spread": {
            name: spread and [round(spread.low, DIGITS), round(spread.high, DIGITS)] for name, spread in spreads.items()
        },
        "goals": {
            figure.name: {"sense": figure.sense, "bound": figure.goal, "met": figure.met(spreads[figure.name])}
            for figure in FIGURES
        },
        "memory_mb": medians["memory_mb"],
        "start_s": medians["start_s"],
        "left_out": results.left_out,
        "plan": asdict(results.schedule),
        "scaling": {"by_concurrency": scaling(results)},
    }


def page(results: Results) -> str:
    """Return `results.md`."""
    parts = ["# Benchmark", *_setting(results), "## Ratios", _figures(results)]
    if results.left_out:
        parts += ["## Not timed", "\n".join(f"- **{name}**: {why}" for name, why in results.left_out.items())]
    parts += [f"## Contenders, {results.workers} workers", _contenders(results)]
    parts += [f"## {TITLES[OURS].capitalize()} by number of workers, concurrency {LOAD}", _workers(results.runs)]
    parts += ["## Throughput over concurrency", *_scaling(scaling(results))]
    return "\n\n".join(parts) + "\n"


def _setting(results: Results) -> list[str]:
    schedule, machine = results.schedule, results.machine
    sizes = f"{schedule.rounds} rounds, {schedule.seconds:g} s a load, {results.films} films in turn"
    cores = f"{machine['cores']} of {machine['cores_of_machine']} cores"
    versions = f"Python {machine['python']}, {machine['generator']}, commit {machine['commit']}"
    parts = [
        f"{schedule.name.capitalize()} plan: {sizes}. {machine['cpu']}, {cores}, {machine['system']}, {versions}.",
        ", ".join(f"{name} {version}" for name, version in machine["packages"].items()) + ".",
    ]
    if machine["busy"]:
        load = machine["load_average"]
        parts.append(f"**The machine was busy when this began (load average {load}): the figures are noise.**")
    return parts


def _figures(results: Results) -> str:
    spreads = figures(results)
    over = f"median of {results.schedule.rounds} rounds, each within itself"
    head = ["", over, "", "lowest to highest", "goal", "met"]
    return table(head, [_figure(figure, spreads[figure.name]) for figure in FIGURES])


def _figure(figure: Figure, spread: Spread | None) -> list[str]:
    goal = f"{'≥' if figure.sense == '>=' else '≤'} {figure.goal:g}"
    if spread is None:
        return [f"`{figure.name}`", figure.meaning, "not measured", "", goal, ""]
    middle, low, high = map(_short, (spread.median, spread.low, spread.high))
    met = "yes" if figure.met(spread) else "no"
    return [f"`{figure.name}`", figure.meaning, middle, f"{low} to {high}", goal, met]


def _short(value: float) -> str:
    return f"{value:.{DIGITS}g}" if value < 10**DIGITS else f"{value:.0f}"


def _contenders(results: Results) -> str:
    runs = select(results.runs, workers=results.workers)
    rows = []
    for name, title in TITLES.items():
        own = select(runs, contender=name)
        for concurrency, kind in sorted({(run.concurrency, run.kind) for run in own}):
            load = {
                "bare": f"{concurrency} process{'es' if concurrency > 1 else ''}",
                "closed": str(concurrency),
                "open": "open loop, evenly spaced",
                "open_poisson": "open loop, Poisson",
            }[kind]
            rows.append([title, load, *_medians(select(own, concurrency=concurrency, kind=kind))])
    return table(["", "concurrency", *MEASURES.values(), "errors"], rows)


def _workers(runs: Sequence[Run]) -> str:
    loaded = select(runs, contender=OURS, kind="closed", concurrency=LOAD)
    numbers = sorted({run.workers for run in loaded})
    rows = [[str(number), *_medians(select(loaded, workers=number))] for number in numbers]
    return table(["workers", *MEASURES.values(), "errors"], rows)


def _medians(runs: Sequence[Run]) -> list[str]:
    medians = [number(median_of(runs, measure)) for measure in MEASURES]
    return [*medians, str(sum(run.timing.errors for run in runs))]


def _scaling(throughput: Mapping[str, Any]) -> list[str]:
    rows = [
        [str(row["concurrency"]), number(row["films_per_s"]), number(row["core_ms"], 2)] for row in throughput["rows"]
    ]
    parts = [table(["concurrency", "films/s", "cost of a film (ms of a core)"], rows)]
    if law := throughput["universal_law"]:
        parts.append(
            f"Universal scalability law: {law['rate_per_s']:.1f} films/s of one client, "
            f"contention {law['contention']:.3f}, coherency {law['coherency']:.5f}."
        )
    return parts


def number(value: float | None, decimals: int = 1) -> str:
    """Return a number with so many decimals, or nothing where there is none."""
    return "" if value is None else f"{value:.{decimals}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "-|" * len(head), *lines[1:]])
