"""python -m training.compare.compare --data DIR --runs RUN [RUN ...] [--out FILE] [--json FILE]

Score the model of each run, exported as it would ship, on the films that it held out, as they are and
changed, and print one Markdown table: a row a recipe, with mean and standard deviation where a recipe was run with
several seeds or folds. A recipe is chosen by its worst counterfactual, the first column: three artefacts in turn were
better on the films as they are, and worse on those of another source.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.engine import Engine
from training import cli
from training.changes.corruptions import CORRUPTIONS, corrupted, with_detail_swapped
from training.changes.counterfactuals import COUNTERFACTUALS, served, taken_otherwise
from training.compare.scores import SENSITIVITY, Score, ScoredRun, table, write_scores
from training.data.films import DecodedFilms
from training.evaluate.evaluate import THREADS, logits_of
from training.figures import metrics
from training.figures.metrics import roc_auc, specificity_at
from training.learn.export import export_onnx, save_weights
from training.learn.run_folder import load_films, parts, read_run

logger = logging.getLogger(__name__)


def main() -> None:
    """Parse the command line and compare."""
    parser = cli.parser(__doc__, "--data", "--runs", "--json")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    films = load_films(args.data)
    runs = [score_run(run, films) for run in args.runs]
    logger.info("%s", table(runs))
    if args.out:
        args.out.write_text(table(runs) + "\n", encoding="utf-8")
    if args.json:
        write_scores(runs, args.json)


def score_run(run: Path, films: DecodedFilms) -> ScoredRun:
    """Score a run's model on the films that it held out.

    Args:
        run: the run folder.
        films: what `run_folder.load_films` returns of the films that it learned from.

    Raises:
        ArtefactError: it is not a run folder, or has no checkpoint.
        DataError: it learned from other films.
    """
    recipe, _ = read_run(run)
    _, held_out = parts(films, run)
    return ScoredRun(
        recipe=recipe.name,
        description=recipe.description,
        seed=recipe.seed,
        fold=recipe.fold,
        films=len(held_out.files),
        score=score(as_shipped(run / "last.ckpt"), held_out),
    )


def as_shipped(checkpoint: Path) -> Engine:
    """Return a checkpoint's model as `training.learn.export` makes it, in float32: faster than torch on a CPU.

    Raises:
        ArtefactError: the checkpoint is missing, corrupt or of another model.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights, graph = Path(folder) / "weights.safetensors", Path(folder) / "model.onnx"
        save_weights(checkpoint, weights)
        export_onnx(weights, graph)
        return Engine(graph, exact=True, threads=THREADS)


def score(engine: Engine, films: DecodedFilms) -> Score:
    """Score a model on films as they are, under every counterfactual and every corruption."""
    labels = films.labels
    clean = margins(engine, films.pixels)
    counterfactuals = counterfactual_margins(engine, films)
    threshold = float(np.quantile(clean[labels == 1], 1.0 - SENSITIVITY, method="lower"))
    changed = [
        margins(engine, corrupted(films.pixels, corruption)) for pair in CORRUPTIONS.values() for corruption in pair
    ]
    aucs = [roc_auc(labels, one) for one in changed]
    return Score(
        worst_counterfactual=min(roc_auc(labels, one) for one in counterfactuals),
        worst_counterfactual_specificity=min(
            specificity_at(labels, one, sensitivity=SENSITIVITY) for one in counterfactuals
        ),
        auc=roc_auc(labels, clean),
        specificity=float((clean[labels == 0] < threshold).mean()),
        corrupted_auc=float(np.mean(aucs)),
        corrupted_specificity=float(np.mean([(one[labels == 0] < threshold).mean() for one in changed])),
        corrupted_sensitivity=float(np.mean([(one[labels == 1] >= threshold).mean() for one in changed])),
        worst_auc=min(aucs),
        swapped_auc=roc_auc(labels, margins(engine, with_detail_swapped(films.pixels, labels))),
    )


def counterfactual_margins(engine: Engine, films: DecodedFilms) -> list[npt.NDArray[np.float64]]:
    """Return the margins (N,) of films under each counterfactual of the audit."""
    return [
        margins(engine, served(taken_otherwise(change, films.pixels, films.labels)))
        for change in COUNTERFACTUALS.values()
    ]


def margins(engine: Engine, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return by how much the PNEUMONIA logit exceeds the NORMAL one, for films (N, 224, 224)."""
    return metrics.margins(logits_of(engine, pixels))


if __name__ == "__main__":
    cli.run(main)
