"""python -m training.evaluate.official_test --data DIR [--model-store model_store]

Score the shipped version on the official test split of the public data set, once, and add its figures to
report/official_test.json: one entry a version, never overwritten. Nothing is ever chosen on these films. What
validation said of earlier versions was wrong, and only this table shows it.
"""

import datetime
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training import cli
from training.data.films import decode_films, find_films
from training.errors import ArtefactError, DataError
from training.evaluate.evaluate import RATES, Served, Shipped, measure, serve, table
from training.figures.metrics import LABELS, ranked, with_ends
from training.files import reading, sha256, write_json

logger = logging.getLogger(__name__)

FILE = Path("report") / "official_test.json"
FILMS = {"NORMAL": 234, "PNEUMONIA": 390}
"""What the official test split consists of."""


def main() -> None:
    """Parse the command line, score, and add the entry."""
    parser = cli.parser(__doc__, "--model-store")
    parser.add_argument("--data", type=Path, required=True, help="the official test split {NORMAL,PNEUMONIA}/*")
    args = parser.parse_args()
    shipped = Shipped.load(args.model_store)
    results = read_results(args.model_store / FILE)
    require_unmeasured(results, shipped.contract.model_version)
    films = decode_films(find_films(args.data))
    counts = {name: int(np.sum(films.labels == label)) for label, name in enumerate(LABELS)}
    if counts != FILMS:
        raise DataError(f"{args.data}: not the official test split, which has {FILMS}: {counts}")
    served = serve(shipped, films)
    measured = measure(served, {point.name: point.threshold for point in shipped.contract.operating_points})
    results["versions"].append(entry(shipped.contract.model_version, served, measured, store=args.model_store))
    path = args.model_store / FILE
    write_json(path, results, indent=1)
    logger.info("%s\nadded to %s", table(measured), path)


def read_results(path: Path) -> dict[str, Any]:
    """Return the results kept so far: the entries of "versions", and those of "others", which are not ours.

    Raises:
        ArtefactError: the file is missing, or holds something else.
    """
    with reading(path, "the official results"):
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = [one["version"] for one in results["versions"]]
        return results


def require_unmeasured(results: Mapping[str, Any], version: str) -> None:
    """Check that a version has no entry yet.

    Raises:
        ArtefactError: it has one: a version is measured once.
    """
    if any(one["version"] == version for one in results["versions"]):
        raise ArtefactError(f"version {version} was measured on the official test split already, and is measured once")


def entry(version: str, served: Served, measured: Mapping[str, Any], *, store: Path) -> dict[str, Any]:
    """Return the entry of a version: its figures with 95 % intervals by patient, date and digests.

    Args:
        version: of the model.
        served: what it answers.
        measured: the same, as `evaluate.measure` returns it.
        store: the model store.
    """
    files = ("pneumonia.onnx", "contract.json")
    return {
        "version": version,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "source": "make official-test",
        "films": FILMS,
        "sha256": {name: sha256(store / name) for name in files},
        "roc_auc": with_ends(measured["roc_auc"], measured["ci95"]["roc_auc"]),
        "ece": with_ends(measured["ece"], measured["ci95"]["ece"]),
        "specificity_at": ranked(served.log_odds, served.labels, served.patients)["specificity_at"],
        "operating_points": {
            name: {"threshold": point["threshold"]}
            | {rate: with_ends(point[rate], measured["ci95"]["operating_points"][name][rate]) for rate in RATES}
            for name, point in measured["operating_points"].items()
        },
    }


if __name__ == "__main__":
    cli.run(main)
