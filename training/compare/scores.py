"""What runs are worth on the films they held out: the columns of the comparison, as JSON and as a Markdown table."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from training.figures import tables
from training.files import reading, write_json

SENSITIVITY = 0.99
"""At which specificities are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one run is worth on the films it held out, each in [0, 1]."""

    worst_counterfactual: float
    """The lowest AUC over films framed, marked and exposed as those of the other class: what recipes are chosen by."""
    worst_counterfactual_specificity: float
    """The lowest specificity there, each at the threshold where SENSITIVITY is reached on the same films."""
    auc: float
    specificity: float
    """At the threshold where SENSITIVITY is reached on the same films: it compares runs, it promises nothing."""
    corrupted_auc: float
    """Mean over all corruptions and severities."""
    corrupted_sensitivity: float
    """At the threshold of the films as they are: what a fixed threshold keeps, mean over the corruptions."""
    corrupted_specificity: float
    worst_auc: float
    """Over the corruptions and severities."""
    swapped_auc: float
    """With the fine detail of the classes swapped, `corruptions.with_detail_swapped`."""


COLUMNS = {
    "worst_counterfactual": "worst counterfactual: AUC",
    "worst_counterfactual_specificity": f"its worst spec. at sens. {SENSITIVITY}",
    "auc": "AUC",
    "specificity": f"spec. at sens. {SENSITIVITY}",
    "corrupted_auc": "corrupted: AUC",
    "corrupted_sensitivity": "corrupted: sens.",
    "corrupted_specificity": "corrupted: spec.",
    "worst_auc": "worst corruption: AUC",
    "swapped_auc": "detail swapped: AUC",
}
"""The heading of each field of Score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A run with its score."""

    recipe: str
    description: str
    seed: int
    fold: int
    films: int
    """How many it held out."""
    score: Score


def write_scores(runs: Sequence[ScoredRun], path: Path) -> None:
    """Write the scores of runs as JSON."""
    result = {"columns": COLUMNS, "runs": [dataclasses.asdict(run) for run in runs]}
    write_json(path, result)


def read_scores(path: Path) -> list[ScoredRun]:
    """Read what `write_scores` wrote.

    Raises:
        ArtefactError: the file is missing, or is none of these.
    """
    with reading(path, "the scores of a comparison"):
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [ScoredRun(**run | {"score": Score(**run["score"])}) for run in runs]


def table(runs: Sequence[ScoredRun]) -> str:
    """Return a Markdown table: a row a recipe, with mean and standard deviation where it was run more than once."""
    rows = []
    for (recipe, description), scores in by_recipe(runs).items():
        cells = [_spread([getattr(score, column) for score in scores]) for column in COLUMNS]
        rows.append([f"`{recipe}`: {description}", str(len(scores)), *cells])
    return tables.table(["recipe", "runs", *COLUMNS.values()], rows)


def by_recipe(runs: Sequence[ScoredRun]) -> dict[tuple[str, str], list[Score]]:
    """Return the scores of each recipe, by its name and description, in the order of first appearance."""
    scores: dict[tuple[str, str], list[Score]] = {}
    for run in runs:
        scores.setdefault((run.recipe, run.description), []).append(run.score)
    return scores


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
