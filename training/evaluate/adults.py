"""python -m training.evaluate.adults --data DIR [--model-store model_store] [--json FILE]

Count what the shipped model answers for films that it is not made for: DIR has `no_finding/*` and `pneumonia/*` of
adults. Their labels are mined from reports, too noisy to measure sensitivity on; how many films without a finding are
called PNEUMONIA, and whether a warning goes with it, is what counts.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from handler.gate import Gate
from handler.imaging import Film
from training import cli
from training.data.films import DecodedFilms, FilmFile, decode_films, is_film
from training.errors import DataError
from training.evaluate.evaluate import Shipped, explain_all, serve
from training.figures.metrics import roc_auc, share
from training.files import write_json

logger = logging.getLogger(__name__)

GROUPS = ("no_finding", "pneumonia")
"""Folders, in the order of films.LABELS."""


def main() -> None:
    """Parse the command line and count."""
    parser = cli.parser(__doc__, "--model-store", "--json")
    parser.add_argument("--data", type=Path, required=True, help="folder {no_finding,pneumonia}/* of adults' films")
    args = parser.parse_args()
    shipped = Shipped.load(args.model_store)
    result = called(shipped, find_adults(args.data), Gate.load(args.model_store, shipped.contract))
    for group in GROUPS:
        shares = ", ".join(f"{name} {one['value']:.3f}" for name, one in result["called_pneumonia"][group].items())
        logger.info("%s: %d films, called PNEUMONIA: %s", group, result["films"][group], shares)
    marked = ", ".join(f"{name} {one['value']:.3f}" for name, one in result["marked"].items())
    logger.info("ROC-AUC %.3f, films that the input gate marks: %s", result["roc_auc"], marked)
    if args.json:
        write_json(args.json, result, indent=1)


def find_adults(folder: Path) -> DecodedFilms:
    """Return the films of a folder {no_finding,pneumonia}, decoded as the server does; each its own patient.

    Raises:
        DataError: a group has no film that can be read.
    """
    files = [
        FilmFile(path=path, label=label, patient=str(path), subgroup=group)
        for label, group in enumerate(GROUPS)
        for path in sorted((folder / group).rglob("*"))
        if is_film(path)
    ]
    if {file.label for file in files} != {0, 1}:
        raise DataError(f"{folder}: wants films in each of {', '.join(GROUPS)}")
    return decode_films(files)


def called(shipped: Shipped, films: DecodedFilms, gate: Gate) -> dict[str, Any]:
    """Return which share of each group is called PNEUMONIA at each operating point, and which the input gate marks.

    Intervals are Wilson's, by films.
    """
    served = serve(shipped, films)
    statistics = explain_all(shipped.engine, films.pixels).statistics
    decoded = [Film(pixels=pixels, facts=facts) for pixels, facts in zip(films.pixels, films.facts, strict=True)]
    reasons = gate.reasons(decoded, statistics)
    result = {}
    for label, group in enumerate(GROUPS):
        inside = films.labels == label
        result[group] = {name: asdict(share(decided[inside])) for name, decided in served.decisions.items()}
    return {
        "model": shipped.contract.model_version,
        "films": {group: int((films.labels == label).sum()) for label, group in enumerate(GROUPS)},
        "called_pneumonia": result,
        "roc_auc": round(roc_auc(films.labels, served.log_odds), 6),
        "marked": {
            "anything": asdict(share(np.array([bool(found) for found in reasons]))),
            "unlike_training_films": asdict(share(np.array(["unlike_training_films" in found for found in reasons]))),
        },
    }


if __name__ == "__main__":
    cli.run(main)
