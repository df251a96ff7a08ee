"""A site's measures as one page to read, in Markdown."""

from collections.abc import Mapping
from typing import Any

from training.evaluate import evaluate
from training.figures.tables import interval, table

PREVALENCE = (
    "PPV: how often an answer of PNEUMONIA is right; NPV: the same of NORMAL. Both depend on how many of the films "
    "sent are PNEUMONIA, and the share among labelled films says nothing of a clinic's. Sensitivity and specificity "
    "are taken to be those measured here."
)


def page(result: Mapping[str, Any]) -> str:
    """Return the report; `result` is what `site.json` holds."""
    films, patients = result["films"], result["patients"]
    calibration = result["calibration"]
    counted = (
        f"{films['NORMAL']:,} films of NORMAL of {patients['NORMAL']:,} patients, {films['PNEUMONIA']:,} of PNEUMONIA "
        f"of {patients['PNEUMONIA']:,}; {result['films_without_patient_id']:,} films have no patient id and are not "
        f"counted as patients; {result['skipped']:,} files could not be read, {result['copies']:,} were copies of "
        "others. Brackets are 95 % intervals, by patient where nothing else is said. Not a medical device."
    )
    fitted = (
        f"Temperature and bias are {_pair(calibration['shipped'])} as shipped and {_pair(calibration['site'])} on "
        f"these films. Its worth is cross-fitted in {result['folds']} parts by patient: each film is judged by "
        "a calibration and thresholds chosen without its patient. The thresholds in the head of the table are chosen "
        "on all films. The probabilities are right where as many films are PNEUMONIA as here, "
        f"{films['PNEUMONIA'] / sum(films.values()):.0%}; the decisions do not depend on it."
    )
    sections = [
        f"# Model {result['model_version']} on this site's films",
        counted,
        "## Verdict",
        "\n".join(f"- {finding}" for finding in result["verdict"]["findings"]),
        f"**What to do:** {result['verdict']['advice']}",
        "## As it ships",
        evaluate.table(result["shipped"], 3),
        "![ROC](roc.png) ![Precision and recall](precision_recall.png)",
        "![Confusion](confusion.png)",
        "## Recalibrated",
        fitted,
        evaluate.table(result["cross_fitted"], 3),
        _losses(result["log_loss"]),
        "Before, and after (cross-fitted):",
        "![Calibration before](reliability.png) ![Calibration after](reliability_recalibrated.png)",
        "## What an answer means, by prevalence",
        PREVALENCE,
        "As it ships:",
        _predictive(result["predictive_values"]["shipped"]),
        "![Predictive values as shipped](predictive_values.png)",
        "Recalibrated, cross-fitted:",
        _predictive(result["predictive_values"]["cross_fitted"]),
        "![Predictive values recalibrated](predictive_values_recalibrated.png)",
    ]
    return "\n\n".join(sections) + "\n"


def _losses(result: Mapping[str, Any]) -> str:
    return (
        "Log loss: " + ", ".join(f"{key} {interval(result[key], ends)}" for key, ends in result["ci95"].items()) + "."
    )


def _predictive(points: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return predictive values as a table, a row a prevalence."""
    header = ["prevalence", *(f"`{name}` {value}" for name in points for value in ("PPV", "NPV"))]
    rows = []
    for at_one in zip(*points.values(), strict=True):
        cells = [interval(row[key], row["ci95"][key]) for row in at_one for key in ("ppv", "npv")]
        rows.append([f"{at_one[0]['prevalence']:.0%}", *cells])
    return table(header, rows)


def _pair(result: Mapping[str, float]) -> str:
    return f"{result['temperature']:.3f} and {result['bias']:.3f}"
