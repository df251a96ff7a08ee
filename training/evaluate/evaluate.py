"""python -m training.evaluate.evaluate --data DIR_OR_CSV --out OUT [--model-store model_store]

Score every film under DIR with the shipped artefact, through the code that answers in the server, and write
OUT/metrics.json, OUT/predictions.csv and plots. This shares nothing with the training loop. Decisions are of the four
decimals that a client is served; ROC-AUC and calibration of the unrounded log odds, because many films round to 1.0000
and would count as alike. predictions.csv has both.
"""

import csv
import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from handler.contract import ModelContract
from handler.engine import Engine, Explanation
from handler.imaging import INPUT_PX, VERSION
from handler.screening import decide, log_odds, logistic
from training import cli
from training.data.films import DecodedFilms, count_patients, decode_films, find_films, relative
from training.errors import ArtefactError
from training.figures import metrics, plots, tables
from training.figures.metrics import LABELS, Decisions, Floats, Labels
from training.files import make_folder, sha256, write_json

logger = logging.getLogger(__name__)

THREADS = os.cpu_count() or 1
"""Films that are scored at once, each on one thread, as a worker does it."""

RATES = tuple(field.name for field in dataclasses.fields(metrics.Rates))


def open_engine(onnx: Path, contract: ModelContract, *, exact: bool = False) -> Engine:
    """Return the engine of the model that a contract was written for, in float32 throughout if it is to be `exact`.

    Raises:
        ArtefactError: the model is missing or corrupt, or is another one.
    """
    if (digest := sha256(onnx)) != contract.model_sha256:
        raise ArtefactError(
            f"{onnx}: SHA-256 {digest[:12]}..., the contract was written for {contract.model_sha256[:12]}..."
        )
    try:
        engine = Engine(onnx, exact=exact, threads=THREADS)
        engine.logits(np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.uint8))
    except RuntimeError as exc:
        raise ArtefactError(f"{onnx}: cannot be run: {exc}") from exc
    return engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The artefact as the server has it: the ONNX file and the contract that belongs to it."""

    contract: ModelContract
    engine: Engine

    @classmethod
    def load(cls, model_store: Path) -> Self:
        """Load `pneumonia.onnx` and `contract.json` from a folder.

        Raises:
            ContractError: the contract is missing, or is not one that this code understands.
            ArtefactError: the model is missing or corrupt, or is not the one that the contract was written for.
        """
        contract = ModelContract.load(model_store / "contract.json")
        if (contract.preprocessing_version, contract.input_px) != (VERSION, INPUT_PX):
            raise ArtefactError(
                f"{model_store}: the model wants preprocessing {contract.preprocessing_version} at "
                f"{contract.input_px} pixels, this code has {VERSION} at {INPUT_PX}"
            )
        return cls(contract=contract, engine=open_engine(model_store / "pneumonia.onnx", contract))

    def logits(self, films: DecodedFilms) -> npt.NDArray[np.float32]:
        """Return the logits (N, 2) of films."""
        return logits_of(self.engine, films.pixels)

    def score(self, films: DecodedFilms) -> Floats:
        """Return the calibrated log odds (N,) of the films."""
        return log_odds(self.logits(films), self.contract.calibration)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """What a service would answer for the films of a data set."""

    labels: Labels
    """(N,)."""
    log_odds: Floats
    """(N,), calibrated, unrounded: what films are ranked by."""
    decisions: Mapping[str, Decisions]
    """By operating point, (N,): answered PNEUMONIA."""
    patients: tuple[str, ...]

    @property
    def p_pneumonia(self) -> Floats:
        """The calibrated probabilities (N,), unrounded."""
        return logistic(self.log_odds)


def logits_of(engine: Engine, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logits (N, 2) of films (N, 224, 224), by an engine of `THREADS` threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(list(pool.map(lambda film: engine.logits(film[None]), pixels)))


def explain_all(engine: Engine, pixels: npt.NDArray[np.uint8]) -> Explanation:
    """Return logits, statistics, features and activation maps of films (N, 224, 224), as `logits_of` runs them."""
    with ThreadPoolExecutor(THREADS) as pool:
        passes = list(pool.map(lambda film: engine.explain(film[None]), pixels))
    names = [field.name for field in dataclasses.fields(Explanation)]
    return Explanation(**{name: np.concatenate([getattr(one, name) for one in passes]) for name in names})


def serve(shipped: Shipped, films: DecodedFilms) -> Served:
    """Score every film and answer it at every operating point, as the server would."""
    return answered(shipped.contract, films, shipped.score(films))


def answered(contract: ModelContract, films: DecodedFilms, odds: Floats) -> Served:
    """Answer films of calibrated log odds (N,) at every operating point of a contract."""
    return Served(
        labels=films.labels,
        log_odds=odds,
        decisions={point.name: decide(logistic(odds), point.threshold) for point in contract.operating_points},
        patients=tuple(file.patient for file in films.files),
    )


def measure(served: Served, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return what `metrics.json` holds: every measure, and its 95 % interval by patient under `ci95`.

    The interval of a proportion or an AUC that is 0 or 1 is Wilson's over the patients it counts, for there resampling
    would claim certainty.
    """

    def all_measures(weights: Floats | None = None) -> Floats:
        of_points = [
            dataclasses.astuple(metrics.rates(served.labels, decisions, weights))
            for decisions in served.decisions.values()
        ]
        overall = (
            metrics.roc_auc(served.labels, served.log_odds, weights),
            metrics.ece(served.labels, served.p_pneumonia, weights),
        )
        return np.concatenate([overall, *of_points])

    values = [round(value, 6) for value in all_measures().tolist()]
    intervals = [
        [round(end, 6) for end in ends] for ends in metrics.bootstrap_ci(all_measures, served.patients).tolist()
    ]
    result = {"n": len(served.labels), **_shaped(values, thresholds)}
    result["ci95"] = _shaped(intervals, {name: [threshold] * 2 for name, threshold in thresholds.items()})
    for name, decisions in served.decisions.items():
        _widen(result["operating_points"][name], result["ci95"]["operating_points"][name], served, decisions)
    if result["roc_auc"] in (0.0, 1.0):
        result["ci95"]["roc_auc"] = _interval_of_a_perfect_auc(result["roc_auc"], served)
    return result


def _shaped(flat: list[Any], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """Return measures, or their intervals, in the shape of `metrics.json`."""
    roc_auc, ece, *of_points = flat
    rows = [of_points[start : start + len(RATES)] for start in range(0, len(of_points), len(RATES))]
    points = {
        name: {"threshold": threshold, **dict(zip(RATES, row, strict=True))}
        for (name, threshold), row in zip(thresholds.items(), rows, strict=True)
    }
    return {"roc_auc": roc_auc, "ece": ece, "operating_points": points}


def _widen(values: dict[str, Any], intervals: dict[str, Any], served: Served, decisions: Decisions) -> None:
    """Replace the interval of every proportion that is exactly 0 or 1."""
    patients = np.array(served.patients)
    counted = {
        "sensitivity": served.labels == 1,
        "specificity": served.labels == 0,
        "precision": decisions,
        "accuracy": np.ones(len(decisions), dtype=bool),
    }
    for name, mask in counted.items():
        n = len(set(patients[mask]))
        if n and values[name] in (0.0, 1.0):
            intervals[name] = [round(end, 6) for end in metrics.wilson(int(values[name]) * n, n)]


def _interval_of_a_perfect_auc(auc: float, served: Served) -> list[float]:
    """Return Wilson's interval over the patients of the rarer class.

    An AUC of m and n patients varies no more than a proportion of min(m, n) does.

    Source: Birnbaum and Klose, Bounds for the Variance of the Mann-Whitney Statistic, Annals of Mathematical
    Statistics 28 (1957) 933-945.
    """
    patients = np.array(served.patients)
    n = min(len(set(patients[served.labels == label])) for label in range(len(LABELS)))
    return [round(end, 6) for end in metrics.wilson(int(auc) * n, n)]


def write(out: Path, data: Path, films: DecodedFilms, served: Served, result: Mapping[str, Any]) -> None:
    """Write metrics, predictions, skipped files and plots to the folder `out`."""
    write_json(out / "metrics.json", result)
    rows = [
        (relative(file.path, data), LABELS[file.label], f"{p:.4f}", f"{odds:.9g}")
        for file, p, odds in zip(films.files, served.p_pneumonia, served.log_odds, strict=True)
    ]
    _write_csv(out / "predictions.csv", ("path", "label", "p_pneumonia", "log_odds"), rows)
    skipped = out / "skipped.csv"
    skipped.unlink(missing_ok=True)  # of an earlier run
    if films.skipped:
        _write_csv(skipped, ("path", "reason"), [(relative(path, data), reason) for path, reason in films.skipped])
    plots.roc(served.labels, served.log_odds, result, out / "roc.png")
    plots.precision_recall(served.labels, served.log_odds, result, out / "precision_recall.png")
    plots.confusion(served.labels, served.decisions, result, out / "confusion.png")
    plots.reliability(served.labels, served.p_pneumonia, result, out / "reliability.png")


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def table(measured: Mapping[str, Any], digits: int = 4) -> str:
    """Return the measures with their intervals as Markdown: a line, and a table with a column an operating point."""
    points, ends = measured["operating_points"], measured["ci95"]
    overall = (
        f"{name} {tables.interval(measured[key], ends[key], digits)}"
        for name, key in (("ROC-AUC", "roc_auc"), ("ECE", "ece"))
    )
    rows = []
    for rate in RATES:
        of_points = ((point[rate], ends["operating_points"][name][rate]) for name, point in points.items())
        rows.append([rate, *(tables.interval(*one, digits) for one in of_points)])
    header = ["", *(f"`{name}`, p >= {point['threshold']:.4f}" for name, point in points.items())]
    return f"{', '.join(overall)}.\n\n{tables.table(header, rows)}"


def main() -> None:
    """Evaluate, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--out", "--model-store")
    args = parser.parse_args()
    shipped = Shipped.load(args.model_store)
    films = decode_films(find_films(args.data))
    make_folder(args.out)
    served = serve(shipped, films)
    result = measure(served, {point.name: point.threshold for point in shipped.contract.operating_points})
    write(args.out, args.data, films, served, result)
    counts = ", ".join(f"{np.sum(films.labels == label)} {name}" for label, name in enumerate(LABELS))
    logger.info(
        "model %s on %d films (%s) of %d patients, %d films without a patient id, %d files skipped",
        shipped.contract.model_version,
        result["n"],
        counts,
        *count_patients(films.files),
        len(films.skipped),
    )
    logger.info("%s", table(result))
    logger.info("written to %s", args.out)


if __name__ == "__main__":
    cli.run(main)
