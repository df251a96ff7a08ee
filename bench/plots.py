"""Plots as PNG files, in the manner of `training/figures/plots.py`: Matplotlib's Agg canvas, without pyplot."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from bench.measures import Run
from bench.plan import LOAD
from bench.report import TITLES
from bench.roster import BARE, OURS
from bench.scaling import UniversalLaw

COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#999933", "#777777")
"""Okabe and Ito's, with two more, told apart with any colour vision."""

MARKERS = "osD^vP*X"
BLACK = "#222222"
DPI = 120

PANELS = (
    ("films_per_s", "films/s", "throughput"),
    ("p50_ms", "ms", "p50"),
    ("p95_ms", "ms", "p95"),
    ("p99_ms", "ms", "p99"),
)


def concurrency(runs: Sequence[Run], path: Path, *, workers: int) -> None:
    """Plot throughput and latencies over concurrency, a line a contender (median over the rounds)."""
    kept = [run for run in runs if run.workers == workers]
    lines = {title: _closed(kept, name) for name, title in TITLES.items()}
    loops = [run for run in kept if run.kind == "bare" and run.width_px is None and run.concurrency == workers]
    bare = median(run.timing.films_per_s for run in loops) if loops else None
    _panels(lines, path, heading=f"{workers} workers", limit=bare)


def workers(runs: Sequence[Run], path: Path) -> None:
    """Plot the same for this service, a line a number of workers."""
    numbers = sorted({run.workers for run in runs if run.contender == OURS})
    lines = {
        f"{number} {'worker' if number == 1 else 'workers'}": _closed(
            [run for run in runs if run.workers == number], OURS
        )
        for number in numbers
    }
    _panels(lines, path, heading=TITLES[OURS])


def scaling(by_size: Mapping[str, Any], by_concurrency: Mapping[str, Any], path: Path) -> None:
    """Plot the scaling laws: the cost of a film over its size, and throughput over concurrency."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _size_panel(left, by_size)
    _law_panel(right, by_concurrency)
    figure.savefig(path, dpi=DPI)


def _size_panel(axes: Axes, by_size: Mapping[str, Any]) -> None:
    sizes = np.array([row["megapixels"] for row in by_size["rows"]])
    names = {
        "bare_ms": ("bare loop, one process", BLACK),
        "alone_ms": ("through the proxy, concurrency 1 (p50)", COLOURS[0]),
        "loaded_core_ms": (f"through the proxy, concurrency {LOAD} (core time)", COLOURS[2]),
    }
    for (name, (label, colour)), marker in zip(names.items(), MARKERS, strict=False):
        costs = [math.nan if row[name] is None else row[name] for row in by_size["rows"]]
        axes.plot(sizes, costs, marker, color=colour, label=label)
        if fit := by_size["lines"][name]:
            ends = np.array([0.0, sizes.max()])
            axes.plot(ends, fit["fixed_ms"] + fit["ms_per_megapixel"] * ends, color=colour, linewidth=1)
    axes.set(xlabel="size of the film (megapixels)", ylabel="ms a film", title="Cost of a film over its size")
    axes.set(xlim=(0, None), ylim=(0, None))
    if len(sizes):
        axes.legend(frameon=False, loc="upper left")
    clean(axes)


def _law_panel(axes: Axes, by_concurrency: Mapping[str, Any]) -> None:
    rows = by_concurrency["rows"]
    clients = [row["concurrency"] for row in rows]
    axes.plot(clients, [row["films_per_s"] for row in rows], "o", color=COLOURS[0], label=TITLES[OURS])
    if law := by_concurrency["universal_law"]:
        smooth = np.geomspace(1, max(clients), 100)
        fitted = [UniversalLaw(**law).throughput(number) for number in smooth]
        label = f"universal law: contention {law['contention']:.2f}, coherency {law['coherency']:.4f}"
        axes.plot(smooth, fitted, color=COLOURS[0], linewidth=1, label=label)
    axes.set(xlabel="concurrency", ylabel="films/s", title="Throughput over concurrency", ylim=(0, None))
    _doublings(axes, clients)
    axes.legend(frameon=False, loc="lower right")
    clean(axes)


def _closed(runs: Sequence[Run], name: str) -> dict[int, dict[str, float]]:
    """Return the medians over the rounds by concurrency; a run that failed has none."""
    mine = [
        run for run in runs if (run.contender, run.kind, run.width_px) == (name, "closed", None) and run.timing.valid
    ]
    return {
        number: {
            measure: median(getattr(run.timing, measure) for run in mine if run.concurrency == number)
            for measure, _, _ in PANELS
        }
        for number in sorted({run.concurrency for run in mine})
    }


def _panels(
    lines: Mapping[str, Mapping[int, Mapping[str, float]]], path: Path, *, heading: str, limit: float | None = None
) -> None:
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(heading)
    for axes, (measure, unit, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
        for (label, points), (colour, marker) in zip(
            ((label, points) for label, points in lines.items() if points), styles, strict=False
        ):
            values = [point[measure] for point in points.values()]
            axes.plot(list(points), values, color=colour, marker=marker, markersize=5, label=label)
        if measure == "films_per_s":
            if limit is not None:
                axes.axhline(limit, color=BLACK, linewidth=1, linestyle="--", label=TITLES[BARE])
            axes.set_ylim(0, None)
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="concurrency", ylabel=unit, title=title)
        _doublings(axes, sorted({number for points in lines.values() for number in points}))
        clean(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=DPI)


def _doublings(axes: Axes, clients: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [str(number) for number in clients])
    axes.set_xticks([], minor=True)


def clean(axes: Axes) -> None:
    """Take away what is no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
