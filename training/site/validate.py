"""python -m training.site.validate --data DIR_OR_CSV --out OUT [--sensitivity 0.95] [--write DIR --version X.Y.Z]

What a careful site does first: try the shipped model on its own labelled films. Score them as the server does, and
write OUT/site.md, site.json, predictions.csv and plots: measures with intervals, calibration before and after,
predictive values, a threshold for a wanted sensitivity, and a verdict. With --write, also a model store recalibrated
to the site, with reference answers, ready for `make serve MODEL_STORE=DIR`.
"""

import argparse
import dataclasses
import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from handler.contract import ModelContract
from handler.screening import log_odds
from training import cli
from training.data.films import DecodedFilms, count_patients, decode_films, find_films, folds_for, without_copies
from training.errors import DataError
from training.evaluate import evaluate
from training.evaluate.calibrate import Choice
from training.evaluate.cross_fit import cross_fit, predictive_values
from training.evaluate.evaluate import Served, Shipped, answered, measure
from training.evaluate.reference import find_reference_films
from training.figures import plots
from training.figures.metrics import LABELS, Logits
from training.files import make_folder, write_json
from training.site import report as site_report
from training.site.recommend import Recommendation, choose, log_losses, recommend
from training.site.store import check_request, site_contract, write_store
from training.site.verdict import verdict

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What a site's films say."""

    shipped: Served
    """As it ships."""
    choice: Choice
    """On all films, at the wanted sensitivity."""
    fitted: Served
    """Cross-fitted: what choices made in the same way are worth."""
    recommendation: Recommendation
    result: dict[str, Any]
    """What `site.json` holds."""


def main() -> None:
    """Validate, as the command line says."""
    args = _parser().parse_args()
    if not 0.0 < args.sensitivity < 1.0:
        raise DataError(f"sensitivity: must lie in (0, 1), got {args.sensitivity}")
    shipped = Shipped.load(args.model_store)
    contract = shipped.contract
    if args.write:
        check_request(args.write, args.version, source=args.model_store, shipped=contract)
        find_reference_films(args.reference)
    found = decode_films(find_films(args.data))
    films = replace(without_copies(found), skipped=found.skipped)
    folds = folds_for(films)
    make_folder(args.out)
    validation = examine(contract, films, shipped.logits(films), sensitivity=args.sensitivity, folds=folds)
    validation.result["copies"] = len(found.files) - len(films.files)
    write(args.out, args.data, films, validation)
    for line in (*validation.result["verdict"]["findings"], f"What to do: {validation.result['verdict']['advice']}"):
        logger.info("%s", line.replace("**", ""))
    logger.info("written to %s", args.out / "site.md")
    if args.write:
        _write_store(args, contract, validation)


def examine(
    contract: ModelContract, films: DecodedFilms, logits: Logits, *, sensitivity: float, folds: int
) -> Validation:
    """Return everything that films of logits (N, 2) say of a contract.

    Raises:
        DataError: the films are of too few patients.
    """
    shipped = answered(contract, films, log_odds(logits, contract.calibration))
    chooser = partial(choose, sensitivity=sensitivity)
    choice = chooser(logits, films.labels)
    fitted = cross_fit(films, logits, chooser=chooser, folds=folds)
    recommendation = recommend(shipped.p_pneumonia, films, sensitivity=sensitivity)
    measures = {
        "shipped": measure(shipped, {point.name: point.threshold for point in contract.operating_points}),
        "cross_fitted": measure(fitted, choice.thresholds),
    }
    losses = log_losses(shipped, fitted)
    judged = verdict(contract, measures["shipped"], measures["cross_fitted"], losses, recommendation)
    calibrations = {"shipped": contract.calibration, "site": choice.calibration}
    result = {
        "model_version": contract.model_version,
        **_counts(films),
        "folds": folds,
        "verdict": dataclasses.asdict(judged),
        "recommendation": {**dataclasses.asdict(recommendation), "holds": recommendation.holds},
        **measures,
        "calibration": {name: dataclasses.asdict(calibration) for name, calibration in calibrations.items()},
        "log_loss": losses,
        "predictive_values": {name: predictive_values(measured) for name, measured in measures.items()},
    }
    return Validation(shipped=shipped, choice=choice, fitted=fitted, recommendation=recommendation, result=result)


def _counts(films: DecodedFilms) -> dict[str, Any]:
    of_class = {name: [file for file in films.files if file.label == label] for label, name in enumerate(LABELS)}
    return {
        "films": {name: len(files) for name, files in of_class.items()},
        "patients": {name: count_patients(files)[0] for name, files in of_class.items()},
        "films_without_patient_id": count_patients(films.files)[1],
        "skipped": len(films.skipped),
    }


def write(out: Path, data: Path, films: DecodedFilms, validation: Validation) -> None:
    """Write report, measures, predictions and plots to the folder `out`."""
    result, fitted = validation.result, validation.fitted
    evaluate.write(out, data, films, validation.shipped, result["shipped"])
    plots.reliability(fitted.labels, fitted.p_pneumonia, result["cross_fitted"], out / "reliability_recalibrated.png")
    plots.predictive_values(result["predictive_values"]["shipped"], out / "predictive_values.png")
    plots.predictive_values(result["predictive_values"]["cross_fitted"], out / "predictive_values_recalibrated.png")
    write_json(out / "site.json", result)
    (out / "site.md").write_text(site_report.page(result), encoding="utf-8")


def _write_store(args: argparse.Namespace, contract: ModelContract, validation: Validation) -> None:
    recommendation = validation.recommendation
    if not recommendation.holds:
        raise DataError(
            f"{args.write}: not written: {recommendation.films} films of PNEUMONIA do not show a sensitivity of "
            f"{recommendation.wanted:g}, at least {recommendation.needed} are needed"
        )
    written = site_contract(contract, validation.choice, validation.fitted, version=args.version)
    write_store(args.write, written, source=args.model_store, reference=args.reference)
    logger.info("model store %s written; serve it: make serve MODEL_STORE=%s", args.version, args.write)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, "--data", "--out", "--model-store")
    parser.add_argument("--sensitivity", type=float, default=0.95, help="wanted, at 95 %% confidence")
    parser.add_argument("--write", type=Path, metavar="DIR", help="also write a recalibrated model store")
    parser.add_argument("--version", metavar="X.Y.Z", help="of the model in that store")
    parser.add_argument("--reference", type=Path, default=Path("reference"), help="reference films that it gets too")
    return parser


if __name__ == "__main__":
    cli.run(main)
