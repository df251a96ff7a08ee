"""python -m training.evaluate.reference [--model-store model_store] [--reference reference]

Score the reference films with the shipped artefact and write expected.json beside them: what a service must answer
to be called ready, and what the tests expect.
"""

import logging
from pathlib import Path
from typing import Any

from handler.screening import logistic
from training import cli
from training.data.films import SUFFIXES, FilmFile, decode_films
from training.errors import DataError
from training.evaluate.evaluate import Shipped
from training.figures.metrics import LABELS
from training.files import write_json

logger = logging.getLogger(__name__)

TOLERANCE = 0.02
"""On p_pneumonia: other processors and libraries round otherwise, another model or decoding is further off."""


def find_reference_films(folder: Path) -> list[FilmFile]:
    """List the reference films, sorted by name; the label is the first word of the name, as in `normal-1-224.jpeg`.

    Raises:
        DataError: there is no such folder, no film in it, or a name without a label.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        name = path.name.partition("-")[0].upper()
        if name not in LABELS:
            raise DataError(f"{path}: the name must begin with normal- or pneumonia-")
        files.append(FilmFile(path=path, label=LABELS.index(name), patient=path.stem, subgroup="composite"))
    if not files:
        raise DataError(f"{folder}: has no reference film")
    return files


def expected(shipped: Shipped, folder: Path) -> dict[str, Any]:
    """Return what `expected.json` holds.

    Raises:
        DataError: a film is missing or cannot be read.
    """
    films = decode_films(find_reference_films(folder))
    if films.skipped:
        path, reason = films.skipped[0]
        raise DataError(f"{path}: {reason}")
    return {
        "tolerance": TOLERANCE,
        "model_version": shipped.contract.model_version,
        "films": [
            {"file": file.path.name, "label": LABELS[file.label], "p_pneumonia": round(p, 4)}
            for file, p in zip(films.files, logistic(shipped.score(films)).tolist(), strict=True)
        ],
    }


def write_expected(shipped: Shipped, folder: Path) -> dict[str, Any]:
    """Write `expected.json` beside the reference films, and return what it holds.

    Raises:
        DataError: a film is missing or cannot be read.
    """
    result = expected(shipped, folder)
    write_json(folder / "expected.json", result)
    return result


def main() -> None:
    """Write expected.json, as the command line says."""
    parser = cli.parser(__doc__, "--model-store")
    parser.add_argument("--reference", type=Path, default=Path("reference"), help="folder of the reference films")
    args = parser.parse_args()
    result = write_expected(Shipped.load(args.model_store), args.reference)
    for film in result["films"]:
        logger.info("%-24s %-9s p_pneumonia %.4f", film["file"], film["label"], film["p_pneumonia"])
    logger.info("written to %s", args.reference / "expected.json")


if __name__ == "__main__":
    cli.run(main)
