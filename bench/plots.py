"""Plots as PNG files, in the manner of `training/figures/plots.py`: Matplotlib's Agg canvas, without pyplot."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from bench import figures
from bench.report import MEASURES
from bench.results import Results, Run, median_of, select
from bench.roster import BARE, OURS, TITLES

COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#999933", "#777777")
"""Okabe and Ito's, with two more, distinct with any colour vision."""

MARKERS = "osD^vP*X"
BLACK = "#222222"
DPI = 120

Plot = Callable[[Results, Path], None]

MIN_LABELLED_SHARE = 4
"""Per cent of a bar in which a number can be read."""


def concurrency(results: Results, path: Path) -> None:
    """Plot throughput and latencies over concurrency, a line a contender (median over the rounds)."""
    runs = select(results.runs, workers=results.workers)
    lines = {title: select(runs, contender=name, kind="closed") for name, title in TITLES.items()}
    limit = median_of(select(runs, kind="bare", concurrency=results.workers), "films_per_s")
    _panels(lines, path, heading=f"{results.workers} workers", limit=limit)


def workers(results: Results, path: Path) -> None:
    """Plot the same for this service, a line a number of workers."""
    runs = select(results.runs, contender=OURS, kind="closed")
    numbers = sorted({run.workers for run in runs})
    lines = {f"{n} worker{'s' if n > 1 else ''}": select(runs, workers=n) for n in numbers}
    _panels(lines, path, heading=TITLES[OURS])


def _panels(lines: Mapping[str, Sequence[Run]], path: Path, *, heading: str, limit: float | None = None) -> None:
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(heading)
    valid = {label: [run for run in runs if run.timing.valid] for label, runs in lines.items()}
    clients = sorted({run.concurrency for runs in valid.values() for run in runs})
    for axes, (measure, title) in zip(figure.subplots(2, 2).flat, MEASURES.items(), strict=True):
        shown = [(label, runs) for label, runs in valid.items() if runs]
        for (label, runs), colour, marker in zip(shown, cycle(COLOURS), cycle(MARKERS), strict=False):
            medians = {n: median_of(select(runs, concurrency=n), measure) for n in clients}
            points = {n: value for n, value in medians.items() if value is not None}
            axes.plot(list(points), list(points.values()), color=colour, marker=marker, markersize=5, label=label)
        if measure == "films_per_s":
            if limit is not None:
                axes.axhline(limit, color=BLACK, linewidth=1, linestyle="--", label=TITLES[BARE])
            axes.set_ylim(0, None)
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="concurrency", ylabel=title)
        _doublings(axes, clients)
        _clean(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=DPI)


def scaling(results: Results, path: Path) -> None:
    """Plot throughput over concurrency with the scaling law."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    found = figures.scaling(results)
    clients = [row["concurrency"] for row in found["rows"]]
    axes.plot(clients, [row["films_per_s"] for row in found["rows"]], "o", color=COLOURS[0], label=TITLES[OURS])
    if law := found["universal_law"]:
        smooth = np.geomspace(1, max(clients), 100)
        fitted = [figures.UniversalLaw(**law).throughput(n) for n in smooth]
        label = f"universal law: contention {law['contention']:.2f}, coherency {law['coherency']:.4f}"
        axes.plot(smooth, fitted, color=COLOURS[0], linewidth=1, label=label)
    axes.set(xlabel="concurrency", ylabel="films/s", title="Throughput over concurrency", ylim=(0, None))
    _doublings(axes, clients)
    axes.legend(frameon=False, loc="lower right")
    _clean(axes)
    figure.savefig(path, dpi=DPI)


def shares(bars: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Plot a stacked bar of 100 % a mapping of parts to milliseconds, which are written in; below 0 counts as 0."""
    figure = Figure(figsize=(12, 2.6 + 0.8 * len(bars)), layout="constrained")
    axes = figure.subplots()
    left = dict.fromkeys(bars, 0.0)
    totals = {name: sum(max(ms, 0.0) for ms in parts.values()) for name, parts in bars.items()}
    for part, colour in zip(next(iter(bars.values())), (*COLOURS, BLACK), strict=False):
        for place, (name, parts) in enumerate(bars.items()):
            share = 100 * max(parts[part], 0.0) / totals[name]
            axes.barh(place, share, left=left[name], color=colour, label=None if place else part)
            if share >= MIN_LABELLED_SHARE:
                text = f"{parts[part]:.1f}"
                axes.text(left[name] + share / 2, place, text, ha="center", va="center", color="white")
            left[name] += share
    axes.set_yticks(range(len(bars)), [f"{name}\n{sum(parts.values()):.1f} ms" for name, parts in bars.items()])
    axes.invert_yaxis()
    axes.set(xlabel="share of the round trip (%), milliseconds written in", xlim=(0, 100))
    axes.set_title("Where each millisecond of one request goes")
    _clean(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=DPI)


def _doublings(axes: Axes, clients: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [str(n) for n in clients])
    axes.set_xticks([], minor=True)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
