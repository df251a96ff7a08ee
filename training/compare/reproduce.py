"""python -m training.compare.reproduce --data DIR [--recipe NAME] [--seeds 0 1 2] [--copies DIR]

Train the shipped recipe, or another of the reported comparison, again from the films, into runs/reproduce-RECIPE-SEED,
and check that what `training.compare.compare` measures falls within the reported spread. Exit code 1 if it does not.
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from training import cli
from training.compare.compare import score_run
from training.compare.scores import COLUMNS, Score, ScoredRun, by_recipe, read_scores
from training.data.films import DecodedFilms, data_digest
from training.errors import ArtefactError, DataError
from training.figures import tables
from training.files import reading
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films
from training.learn.train import RUNS, train

logger = logging.getLogger(__name__)

DEVIATIONS = 3
"""How many standard deviations of the reported runs a new run may lie from their mean."""

FLOOR: Mapping[str, float] = {
    "worst_counterfactual": 0.01,
    "worst_counterfactual_specificity": 0.1,
    "auc": 0.002,
    "specificity": 0.03,
    "corrupted_auc": 0.01,
    "corrupted_sensitivity": 0.03,
    "corrupted_specificity": 0.05,
    "worst_auc": 0.03,
    "swapped_auc": 0.03,
}
"""What is allowed at least: a few runs may lie together by luck, and processors round differently."""

FLOORS_OF_ONE = 3
"""How many floors are allowed where one run was reported, which has no spread."""

Bounds = Mapping[str, tuple[float, float]]


def main() -> None:
    """Reproduce, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--copies", "--backbone-weights", "--model-store")
    parser.add_argument("--recipe", help="a name in config/training/ (default: the shipped model's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each (default: 0)")
    args = parser.parse_args()
    films = load_films(args.data)
    shipped = shipped_recipe(args.model_store / "report", films)
    recipe = Recipe.load(args.recipe or shipped.name)
    bounds, reported = reported_bounds(read_scores(args.model_store / "report" / "comparison.json"), recipe.name)
    runs = []
    for seed in args.seeds:
        run = RUNS / f"reproduce-{recipe.name}-{seed}"
        start = args.backbone_weights
        if recipe.start:
            first, start = Recipe.load(recipe.start), RUNS / f"reproduce-{recipe.start}-{seed}"
            train(films, recipe=dataclasses.replace(first, seed=seed), run=start, start=args.backbone_weights)
        seeded = dataclasses.replace(recipe, seed=seed)
        train(films, recipe=seeded, run=run, start=start, copies_folder=args.copies)
        runs.append(score_run(run, films))
    logger.info("%s", table(runs, bounds))
    logger.info("allowed: %s", explanation(reported))
    if any(outside(run.score, bounds) for run in runs):
        sys.exit(1)


def shipped_recipe(report: Path, films: DecodedFilms) -> Recipe:
    """Return the recipe of the shipped model, having checked that it learned from these films.

    Raises:
        ArtefactError: there is no report.
        DataError: it learned from other films.
    """
    path = report / "report.json"
    with reading(path, "a report"):
        result = json.loads(path.read_text(encoding="utf-8"))
        recipe, digest = Recipe.from_fields(result["recipe"], source=str(path)), result["sha256"]["data"]
    if data_digest(films, divide(films, recipe)[1].tolist()) != digest:
        raise DataError("the shipped model learned from other films than these")
    return recipe


def reported_bounds(runs: Sequence[ScoredRun], recipe: str) -> tuple[Bounds, int]:
    """Return between which values each column of a new run of a recipe must lie, and how many runs say so.

    Raises:
        ArtefactError: no run of the recipe was reported.
    """
    scores = next((scores for (name, _), scores in by_recipe(runs).items() if name == recipe), None)
    if scores is None:
        known = ", ".join(name for name, _ in by_recipe(runs))
        raise ArtefactError(f"recipe {recipe!r}: not in the reported comparison, which has {known}")
    return {column: _between([getattr(score, column) for score in scores], column) for column in COLUMNS}, len(scores)


def _between(values: Sequence[float], column: str) -> tuple[float, float]:
    floor = FLOOR[column]
    allowed = max(DEVIATIONS * stdev(values), floor) if len(values) > 1 else FLOORS_OF_ONE * floor
    return mean(values) - allowed, mean(values) + allowed


def explanation(reported: int) -> str:
    """Return in words how the bounds come of the number of runs that were reported."""
    if reported == 1:
        return f"{FLOORS_OF_ONE} times a fixed floor, since one run was reported and its spread is unknown"
    return f"the mean of {reported} reported runs, {DEVIATIONS} standard deviations or a fixed floor to each side"


def outside(score: Score, bounds: Bounds) -> list[str]:
    """Return the columns of a score that lie out of bounds."""
    return [column for column, (low, high) in bounds.items() if not low <= getattr(score, column) <= high]


def table(runs: Sequence[ScoredRun], bounds: Bounds) -> str:
    """Return a Markdown table: a row a column of the comparison, with what is allowed and what each run has."""
    rows = []
    for column, heading in COLUMNS.items():
        low, high = bounds[column]
        cells = [
            f"{getattr(run.score, column):.4f}" + (" OUTSIDE" if column in outside(run.score, bounds) else "")
            for run in runs
        ]
        rows.append([heading, f"{low:.4f} to {min(high, 1.0):.4f}", *cells])
    return tables.table(["", "allowed", *(f"seed {run.seed}" for run in runs)], rows)


if __name__ == "__main__":
    cli.run(main)
