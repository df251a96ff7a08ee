"""An audit to read: tables in Markdown, a plot, the films that were answered worst, and models side by side."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from training.audit.measures import Judged, Scored, worst
from training.figures import plots
from training.figures.metrics import LABELS, SENSITIVITIES, margins
from training.figures.tables import measure, table

SHOWN = 4
"""Films of each class that are shown under each counterfactual."""
AT = [f"{sensitivity:g}" for sensitivity in SENSITIVITIES]


def markdown(result: Mapping[str, Any]) -> str:
    """Return the report on one model, as `audit.audit` makes it."""
    held_out = "that it held out" if result["held_out"] else "of the folder, taken as new to it"
    without, rows = result["without_lungs"], result["rows"]
    seen = table(["seen", "ROC-AUC"], [[row["clue"], measure(row["roc_auc"], 3)] for row in without["rows"]])
    return f"""# Shortcut audit

## What separates the classes without lungs

A small classifier sees one thing of {without["films"]:,} films, and is judged on patients that it has not learned from.
The audited model is not asked. Far from 0.5, accuracy on films of this source need not come of the lungs.

{seen}

## Model {result["model"]} on films taken otherwise

{result["films"]:,} films of {result["patients"]:,} patients {held_out}. **Worst row: {worst(rows)["films"]}.**

- ROC-AUC is of unrounded logits; intervals are 95 %, bootstrap by patient.
- Control: ROC-AUC under the same change by films of the same class (for close framing of NORMAL: of both). Where it is
  far better than the row, the model reads what was exchanged.
- Specificity is at the best threshold for the sensitivity on the same films.
- At each shipped operating point: sensitivity / specificity.

{rows_table(rows)}

![ROC-AUC and specificity under each change](audit.png)

The {SHOWN} NORMAL films most taken for PNEUMONIA and the {SHOWN} PNEUMONIA films least, under each change:

![Worst films](worst_films.png)
"""


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of an audit as a Markdown table, the worst in bold."""
    points = list(rows[0]["operating_points"])
    header = ["films", "ROC-AUC", "control", *(f"spec. at sens. {at}" for at in AT), *(f"`{name}`" for name in points)]
    lowest = worst(rows)
    lines = []
    for row in rows:
        control = f"{row['control']['roc_auc']['value']:.4f}" if row["control"] else ""
        decided = [
            f"{point['sensitivity']['value']:.3f} / {point['specificity']['value']:.3f}"
            for point in row["operating_points"].values()
        ]
        ranked = [measure(row["specificity_at"][at], 2) for at in AT]
        cells = [row["films"], measure(row["roc_auc"], 4), control, *ranked, *decided]
        lines.append([f"**{cell}**" if row is lowest and cell else cell for cell in cells])
    return table(header, lines)


def comparison(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return models side by side, and by which rows they rank in the order in which they are given.

    Args:
        rows: those of `audit.measures.audit_rows`, by the model's name.
    """
    ranked = {}
    for of_models in zip(*rows.values(), strict=True):
        ranked[of_models[0]["films"]] = {
            "roc_auc": _falls([row["roc_auc"]["value"] for row in of_models]),
            **{f"specificity_at_{at}": _falls([row["specificity_at"][at]["value"] for row in of_models]) for at in AT},
        }
    return {
        "models": [
            {"model": name, "worst": worst(of_model)["films"], "rows": list(of_model)}
            for name, of_model in rows.items()
        ],
        "in_the_order_given": ranked,
    }


def comparison_table(result: Mapping[str, Any]) -> str:
    """Return models side by side as a Markdown table: ROC-AUC / specificity at each sensitivity."""
    models = result["models"]
    lines = []
    for index, (name, ranked) in enumerate(result["in_the_order_given"].items()):
        cells = [_short(model["rows"][index]) for model in models]
        lines.append([name, *cells, *("yes" if falls else "no" for falls in ranked.values())])
    lowest = [_short(worst(model["rows"])) for model in models]
    lines.append(["**worst**", *lowest, *[""] * (1 + len(AT))])
    header = [
        "films",
        *(str(model["model"]) for model in models),
        "order: AUC",
        *(f"order: spec. at {at}" for at in AT),
    ]
    films = f"{result['films']:,} films of {result['patients']:,} patients"
    legend = f"ROC-AUC, specificity at sensitivity {' and '.join(AT)}; {films}"
    return f"{legend}\n\n{table(header, lines)}"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot ROC-AUC and specificity at the highest sensitivity, a bar a row, with the controls."""
    panels = {
        "ROC-AUC": ([row["roc_auc"] for row in rows], [_control(row, "roc_auc") for row in rows]),
        f"specificity at sensitivity {AT[0]}": (
            [row["specificity_at"][AT[0]] for row in rows],
            [_control(row, "specificity_at", AT[0]) for row in rows],
        ),
    }
    plots.bars_of_changes([row["films"] for row in rows], panels, path)


def worst_films(scored: Mapping[str, Scored], films: Judged, names: Sequence[str], path: Path) -> None:
    """Plot the films that were answered worst, as the model saw them: a line as they are and under each change."""
    lines = []
    for change, one in scored.items():
        pixels, order = films.changed(change), np.argsort(margins(one.logits))
        normal = [i for i in order[::-1] if films.labels[i] == 0][:SHOWN]
        pneumonia = [i for i in order if films.labels[i] == 1][:SHOWN]
        shown = [(f"{LABELS[films.labels[i]]} {names[i]}", pixels[i]) for i in (*normal, *pneumonia)]
        lines.append((change, shown))
    plots.contact_sheet(lines, path, columns=2 * SHOWN)


def _control(row: Mapping[str, Any], *keys: str) -> float | None:
    result = row["control"]
    for key in keys if result else ():
        result = result[key]
    return float(result["value"]) if result else None


def _falls(values: Sequence[float]) -> bool:
    return all(first > second for first, second in pairwise(values))


def _short(row: Mapping[str, Any]) -> str:
    return " ".join([f"{row['roc_auc']['value']:.4f}", *(f"{row['specificity_at'][at]['value']:.2f}" for at in AT)])
