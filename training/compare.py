"""python -m training.compare --data DIR --runs RUN [RUN ...] [--out FILE]

Score the best checkpoint of each run on the films that it held out, as they are and corrupted, and print one Markdown
table: a row a recipe, with mean and standard deviation where a recipe was run with several seeds or folds.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training import cli
from training.calibrate import read_run
from training.corruptions import CORRUPTIONS, corrupted
from training.errors import DataError
from training.export import load_checkpoint
from training.films import DecodedFilms, data_digest, decode_films, find_films, split_by_patient, without_copies
from training.metrics import roc_auc
from training.model import PneumoniaNet

logger = logging.getLogger(__name__)

SENSITIVITY = 0.99
"""At which specificities are compared."""

BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one run is worth on the films it held out, each in [0, 1]."""

    auc: float
    specificity: float
    """At the threshold where SENSITIVITY is reached on the same films: it compares runs, it promises nothing."""
    corrupted_auc: float
    """Mean over all corruptions and severities."""
    corrupted_specificity: float
    """At the threshold of the films as they are: what a fixed threshold keeps, mean over the corruptions."""
    corrupted_sensitivity: float
    worst_auc: float
    """Over the corruptions and severities."""


COLUMNS = {
    "auc": "AUC",
    "specificity": f"spec. at sens. {SENSITIVITY}",
    "corrupted_auc": "corrupted: AUC",
    "corrupted_sensitivity": "corrupted: sens.",
    "corrupted_specificity": "corrupted: spec.",
    "worst_auc": "worst corruption: AUC",
}


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder or CSV that the runs learned from")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of training.train")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    films = without_copies(decode_films(find_films(args.data)))
    scores: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for run in args.runs:
        recipe, digest = read_run(run)
        _, validation = split_by_patient(films, folds=recipe.folds, fold=recipe.fold, seed=0)
        if data_digest(films, validation.tolist()) != digest:
            raise DataError(f"{args.data}: not the films that {run} learned from")
        scores[recipe.name, recipe.description].append(
            score(load_checkpoint(run / "best.ckpt"), films.subset(validation))
        )
    told = table(scores)
    logger.info("%s", told)
    if args.out:
        args.out.write_text(told + "\n", encoding="utf-8")


def score(net: PneumoniaNet, films: DecodedFilms) -> Score:
    """Score a network on films as they are, and under every corruption."""
    labels = films.labels
    clean = margins(net, films.pixels)
    threshold = float(np.quantile(clean[labels == 1], 1.0 - SENSITIVITY, method="lower"))
    changed = [
        margins(net, corrupted(films.pixels, corruption)) for pair in CORRUPTIONS.values() for corruption in pair
    ]
    aucs = [roc_auc(labels, one) for one in changed]
    return Score(
        auc=roc_auc(labels, clean),
        specificity=float((clean[labels == 0] < threshold).mean()),
        corrupted_auc=float(np.mean(aucs)),
        corrupted_specificity=float(np.mean([(one[labels == 0] < threshold).mean() for one in changed])),
        corrupted_sensitivity=float(np.mean([(one[labels == 1] >= threshold).mean() for one in changed])),
        worst_auc=min(aucs),
    )


def margins(net: PneumoniaNet, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return by how much the PNEUMONIA logit exceeds the NORMAL one, for films (N, 224, 224)."""
    parts = []
    with torch.inference_mode():
        for batch in torch.from_numpy(pixels).unsqueeze(1).split(BATCH):
            logits = net(batch)
            parts.append((logits[:, 1] - logits[:, 0]).double().numpy())
    return np.concatenate(parts)


def table(scores: dict[tuple[str, str], list[Score]]) -> str:
    """Return the scores of recipes, each with one or more runs, as a Markdown table."""
    lines = ["| recipe | runs | " + " | ".join(COLUMNS.values()) + " |", "|-" * (len(COLUMNS) + 2) + "|"]
    for (name, description), runs in scores.items():
        cells = [_spread([getattr(run, column) for run in runs]) for column in COLUMNS]
        lines.append(f"| `{name}`: {description} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


if __name__ == "__main__":
    cli.run(main)
