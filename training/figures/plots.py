"""Plots as PNG files: Matplotlib's Agg canvas without pyplot, so without state and without a display.

Colours are Okabe and Ito's, distinct with any colour vision.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_curve

from training.figures.metrics import LABELS, Decisions, Floats, Labels, bin_of, wilson

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777"
CLASS_COLOURS = (BLUE, ORANGE)
"""In the order of LABELS."""

_MARKERS = "osD^v"
_DPI = 120
_DARK = 0.6
"""Share above which a cell's text must be white."""


def roc(labels: Labels, scores: Floats, measured: Mapping[str, Any], path: Path) -> None:
    """Plot the ROC curve of scores (N,) with the operating points; `measured` is what `metrics.json` holds."""
    figure, axes = _square()
    false_positives, true_positives, _ = roc_curve(labels, scores)
    low, high = measured["ci95"]["roc_auc"]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
    axes.plot(
        false_positives,
        true_positives,
        color=BLUE,
        label=f"ROC-AUC {measured['roc_auc']:.3f} [{low:.3f}, {high:.3f}]",
    )
    _mark_points(axes, measured, x=lambda point: 1 - point["specificity"], y=lambda point: point["sensitivity"])
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"ROC, {measured['n']:,} films")
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def precision_recall(labels: Labels, scores: Floats, measured: Mapping[str, Any], path: Path) -> None:
    """Plot precision over recall of PNEUMONIA, with the operating points and the share that chance would reach."""
    figure, axes = _square()
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    share = float(labels.mean())
    axes.axhline(share, color=GREY, linewidth=1, linestyle=":", label=f"chance: {share:.0%} of films are PNEUMONIA")
    axes.plot(recalls, precisions, color=BLUE, drawstyle="steps-post", label="precision over recall")
    _mark_points(axes, measured, x=lambda point: point["sensitivity"], y=lambda point: point["precision"])
    axes.set(
        xlabel="recall of PNEUMONIA (sensitivity)",
        ylabel="precision",
        title=f"Precision-recall, {measured['n']:,} films",
    )
    axes.legend(loc="lower left", frameon=False)
    _save(figure, path)


def confusion(labels: Labels, decisions: Mapping[str, Decisions], measured: Mapping[str, Any], path: Path) -> None:
    """Plot one confusion matrix an operating point: films, and their share of the row."""
    figure = Figure(figsize=(0.6 + 3.6 * len(decisions), 4.0), layout="constrained")
    panels = figure.subplots(1, len(decisions), squeeze=False)[0]
    for axes, (name, decided) in zip(panels, decisions.items(), strict=True):
        counts = np.array(
            [[np.sum((labels == row) & (decided == bool(column))) for column in (0, 1)] for row in (0, 1)]
        )
        shares = counts / counts.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
        for row, column in np.ndindex(2, 2):
            text = f"{counts[row, column]:,}\n{shares[row, column]:.1%}"
            colour = "white" if shares[row, column] > _DARK else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=13)
        threshold = measured["operating_points"][name]["threshold"]
        axes.set(title=f"{name}\np >= {threshold:.4f}", xlabel="answered", xticks=(0, 1), yticks=(0, 1))
        axes.set_xticklabels(LABELS)
        axes.set_yticklabels(LABELS, rotation=90, va="center")
        axes.tick_params(length=0)
    panels[0].set_ylabel("labelled")
    _save(figure, path)


def reliability(labels: Labels, p: Floats, measured: Mapping[str, Any], path: Path, *, bins: int = 15) -> None:
    """Plot the observed frequency of PNEUMONIA over p_pneumonia, with Wilson intervals, and the films in each bin."""
    figure = Figure(figsize=(5.5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    places = bin_of(p, bins)
    filled = np.unique(places)
    means = np.array([p[places == place].mean() for place in filled])
    observed = np.array([labels[places == place].mean() for place in filled])
    limits = np.array([wilson(int(labels[places == place].sum()), int((places == place).sum())) for place in filled])
    spread = np.abs(limits.T - observed)  # (2, filled bins), below and above
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="calibrated")
    upper.errorbar(means, observed, yerr=spread, color=BLUE, marker="o", linewidth=1, capsize=3, label="films, 95 %")
    upper.set(ylabel="observed frequency of PNEUMONIA", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.set_title(f"Reliability, ECE {measured['ece']:.3f} over {bins} bins")
    upper.legend(loc="upper left", frameon=False)
    edges = np.linspace(0, 1, bins + 1)
    of_classes = [p[labels == label] for label in (0, 1)]
    lower.hist(of_classes, bins=edges.tolist(), stacked=True, color=CLASS_COLOURS, label=LABELS)
    lower.set(xlabel="p_pneumonia", ylabel="films")
    lower.set_yscale("symlog", linthresh=10)  # most films lie in the outer bins, the inner ones are to be seen too
    lower.legend(frameon=False, loc="upper center")
    for axes in (upper, lower):
        _clean(axes)
    _save(figure, path)


def predictive_values(rows: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Plot PPV and NPV over prevalence, with intervals; `rows` by operating point, as `site.predictive_values`."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("ppv", "npv"),
        ("PPV: answered PNEUMONIA, and it is", "NPV: answered NORMAL, and it is"),
        strict=True,
    ):
        for (name, points), marker, colour in zip(
            rows.items(), cycle(_MARKERS), cycle((ORANGE, GREEN, PURPLE)), strict=False
        ):
            prevalences = [point["prevalence"] for point in points]
            low, high = np.array([point["ci95"][key] for point in points]).T
            axes.plot(
                prevalences, [point[key] for point in points], color=colour, marker=marker, markersize=5, label=name
            )
            axes.fill_between(prevalences, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("logit")
        axes.set_xticks(prevalences, [f"{share:.0%}" for share in prevalences])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="share of films that are PNEUMONIA (prevalence)", ylim=(-0.02, 1.02), title=title)
        axes.legend(frameon=False, loc="lower right" if key == "ppv" else "lower left")
        _clean(axes)
    _save(figure, path)


def training_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Plot the course of a training; a row is an epoch with `epoch`, `train_loss`, `val_loss` and `val_auc`."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    losses, aucs = figure.subplots(2, 1, sharex=True)
    epochs = [int(row["epoch"]) for row in rows]
    for key, name, colour in (("train_loss", "training", BLUE), ("val_loss", "validation", ORANGE)):
        losses.plot(epochs, [row[key] for row in rows], color=colour, marker="o", markersize=3, label=name)
    losses.set(ylabel="cross-entropy (nats)", ylim=(0, None))
    losses.legend(frameon=False)
    val_auc = [row["val_auc"] for row in rows]
    aucs.plot(epochs, val_auc, color=ORANGE, marker="o", markersize=3, label="validation")
    aucs.plot(epochs[-1], val_auc[-1], "*", color=PURPLE, markersize=14, label=f"last {val_auc[-1]:.4f}")
    aucs.set(xlabel="epoch", ylabel="ROC-AUC")
    aucs.legend(frameon=False, loc="lower right")
    aucs.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, aucs):
        _clean(axes)
    _save(figure, path)


def intensities(histograms: Sequence[npt.NDArray[np.float64]], path: Path) -> None:
    """Plot how often each grey level occurs: one histogram (256,) a class, each of sum 1."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, shares, colour in zip(LABELS, histograms, CLASS_COLOURS, strict=True):
        axes.plot(range(256), 100 * shares, color=colour, label=name)
        axes.fill_between(range(256), 100 * shares, color=colour, alpha=0.15)
    # Black borders and burnt-in markers would squeeze everything else to the floor.
    inner = max(float(shares[1:255].max()) for shares in histograms)
    axes.set(xlabel="grey level (0 to 255)", ylabel="share of pixels (%)", xlim=(0, 255), ylim=(0, 115 * inner))
    axes.set_title("Grey levels by class, films at 224x224")
    axes.legend(frameon=False)
    _clean(axes)
    _save(figure, path)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[tuple[str, npt.NDArray[np.uint8]]]]], path: Path, *, columns: int = 8
) -> None:
    """Plot films in a grid: a heading, and its films (224, 224) with the name below each."""
    lines = [
        (heading if start == 0 else "", films[start : start + columns])
        for heading, films in rows
        for start in range(0, len(films), columns)
    ]
    height = 2.0 * len(lines)
    figure = Figure(figsize=(1.6 * columns, height))
    # Not the constrained layout, which would widen the first column to its heading.
    margins = {"left": 0.005, "right": 0.995, "top": 1 - 0.3 / height, "bottom": 0.15 / height, "wspace": 0.04}
    grid = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw=margins)
    for axes in grid.flat:
        axes.axis("off")
    for cells, (heading, films) in zip(grid, lines, strict=True):
        if heading:
            cells[0].set_title(heading, loc="left", fontsize=11, fontweight="bold")
        for axes, (name, film) in zip(cells, films, strict=False):
            axes.imshow(film, cmap="gray", vmin=0, vmax=255)
            axes.text(0.5, -0.02, name, transform=axes.transAxes, ha="center", va="top", fontsize=5)
    _save(figure, path)


def bars_of_changes(
    names: Sequence[str],
    panels: Mapping[str, tuple[Sequence[Mapping[str, float]], Sequence[float | None]]],
    path: Path,
) -> None:
    """Plot measures under changes: a bar a change, with its interval, and a mark for its control where it has one.

    Args:
        names: of the changes, the first being none.
        panels: by the measure's name, for each change, its `value`, `low` and `high`, and the value of the control.
        path: of the picture.
    """
    figure = Figure(figsize=(6 * len(panels), 1.2 + 0.42 * len(names)), layout="constrained")
    places = np.arange(len(names))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, (measured, controls)) in zip(grid, panels.items(), strict=True):
        values, low, high = (np.array([one[key] for one in measured]) for key in ("value", "low", "high"))
        colours = [GREEN, *[BLUE] * (len(names) - 1)]
        colours[int(np.argmin(values))] = ORANGE  # the worst
        spread = np.maximum([values - low, high - values], 0)
        axes.barh(places, values, xerr=spread, color=colours, height=0.65, ecolor="#333333", capsize=2)
        marks = [math.nan if value is None else value for value in controls]
        axes.plot(marks, places, "D", color="white", markeredgecolor="black", label="control: exchanged within a class")
        axes.set_xlim(max(0.0, min(0.5, float(low.min()) - 0.05)), 1.005)
        axes.set_title(title)
        _clean(axes)
    grid[0].set_yticks(places, names)
    grid[0].invert_yaxis()
    grid[-1].legend(frameon=True, loc="lower right", fontsize=8)
    _save(figure, path)


def trade(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot the worst counterfactual over what a film costs: a mark a run, by recipe; rows as `resolution.trade`."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    recipes = sorted({row["recipe"] for row in rows})
    for recipe, marker, colour in zip(recipes, cycle(_MARKERS), cycle((BLUE, ORANGE, GREEN, PURPLE)), strict=False):
        mine = [row for row in rows if row["recipe"] == recipe]
        cost = [row["decoding_ms"] + row["engine_ms"] for row in mine]
        worst = [row["worst_counterfactual"] for row in mine]
        axes.plot(cost, worst, marker, color=colour, markersize=8, label=recipe)
        for row, x, y in zip(mine, cost, worst, strict=True):
            axes.annotate(f"{row['resolution_px']} px", (x, y), xytext=(7, -3), textcoords="offset points", fontsize=8)
    axes.set(xlabel="decoding and engine, milliseconds a film on one core", ylabel="worst counterfactual, ROC-AUC")
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="center left")
    _clean(axes)
    _save(figure, path)


def shrink(plot: Path) -> None:
    """Keep the few colours that a plot has: those of the report are committed anew with every model."""
    with Image.open(plot) as image:
        few = image.convert("RGB").quantize(64)
    few.save(plot, optimize=True)


def _mark_points(
    axes: Axes,
    measured: Mapping[str, Any],
    *,
    x: Callable[[Mapping[str, float]], float],
    y: Callable[[Mapping[str, float]], float],
) -> None:
    """Mark each operating point on a curve."""
    for (name, point), marker, colour in zip(
        measured["operating_points"].items(), cycle(_MARKERS), cycle((ORANGE, GREEN, PURPLE)), strict=False
    ):
        axes.plot(
            x(point), y(point), marker, color=colour, markersize=8, label=f"{name}, p >= {point['threshold']:.4f}"
        )


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    _clean(axes)
    return figure, axes


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)
