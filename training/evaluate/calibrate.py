"""python -m training.evaluate.calibrate --data DIR --run DIR [--model-store DIR] [--version X.Y.Z]

Fit temperature and bias, and choose the operating points, on a run's validation films with the shipped ONNX file, and
write `contract.json`. The films must be the run's own: the same split is made again and its digest compared.

They are chosen on the films as they are and as other sites may take them (`counterfactuals.ACQUISITIONS`) together:
thresholds chosen on films of the source only did not carry over to films of another look.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from handler.contract import SCHEMA_VERSION, Bounds, Calibration, ModelContract, Uncertainty
from handler.engine import Engine
from handler.gate import FILE, level
from handler.imaging import INPUT_PX, VERSION
from handler.network import MEAN, STD
from handler.screening import decide, probabilities
from training import cli
from training.changes.counterfactuals import ACQUISITIONS, served, taken_otherwise
from training.data.films import DecodedFilms
from training.evaluate.evaluate import THREADS, logits_of
from training.evaluate.operating_points import DEFAULT, SENSITIVITY_LOW, choose_thresholds, operating_point
from training.evaluate.uncertainty import conformal
from training.figures.metrics import LABELS, Floats, Labels, Logits
from training.figures.tables import measure, table
from training.files import sha256
from training.learn.run_folder import load_films, parts, read_run

logger = logging.getLogger(__name__)

NOTE = "High-recall screening model; not a medical device."
LICENCE = "MIT; trained on Chest X-Ray Images (Kermany et al. 2018, doi:10.17632/rscbjbr9sj), CC BY 4.0"


BEYOND = 0.001
"""Share of the films learned from that lie beyond each of the gate's bounds."""
MAX_COLOUR = 8.0
"""Levels between channels; a grey film saved in colour has 0, a tinted scan a few, a photograph tens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A calibration, and thresholds on its probabilities by operating point, chosen on some films."""

    calibration: Calibration
    thresholds: Mapping[str, float]
    uncertainty: Uncertainty


def main() -> None:
    """Parse the command line and calibrate."""
    parser = cli.parser(__doc__, "--data", "--run", "--model-store")
    parser.add_argument("--version", help="of the model (default: that of the contract that is replaced, else 1.0.0)")
    args = parser.parse_args()
    learned, held_out = parts(load_films(args.data), args.run)
    contract = calibrate(
        args.model_store / "pneumonia.onnx",
        learned=learned,
        held_out=held_out,
        version=args.version or kept_version(args.model_store / "contract.json"),
        data_sha256=read_run(args.run)[1],
    )
    contract.save(args.model_store / "contract.json")
    fitted = contract.calibration
    logger.info(
        "temperature %.3f, bias %.3f on %d films held out", fitted.temperature, fitted.bias, len(held_out.files)
    )
    rows = [
        [
            point.name,
            f"{point.threshold:.4f}",
            *(measure(asdict(rate)) for rate in (point.sensitivity, point.specificity)),
        ]
        for point in contract.operating_points
    ]
    logger.info("%s", table(["operating point", "threshold", "sensitivity", "specificity"], rows))


def calibrate(
    onnx: Path, *, learned: DecodedFilms, held_out: DecodedFilms, version: str, data_sha256: str
) -> ModelContract:
    """Return the contract of a model: calibration and operating points by films held out, the gate by those learned.

    Raises:
        ArtefactError: the ONNX file is missing.
        DataError: too few films of PNEUMONIA are held out.
    """
    model_sha256 = sha256(onnx)
    # In float32: the thresholds must not depend on the processor that chose them.
    engine = Engine(onnx, exact=True, threads=THREADS)
    logits, labels = acquired_logits(engine, held_out), held_out.labels
    choice = chosen(logits, labels)
    p_pneumonia = probabilities(logits[:, 0], choice.calibration)
    return ModelContract(
        schema_version=SCHEMA_VERSION,
        model_version=version,
        labels=LABELS,
        input_px=INPUT_PX,
        mean=MEAN,
        std=STD,
        preprocessing_version=VERSION,
        calibration=choice.calibration,
        operating_points=tuple(
            operating_point(name, threshold, decide(p_pneumonia, threshold), labels)
            for name, threshold in choice.thresholds.items()
        ),
        default_operating_point=DEFAULT,
        uncertainty=choice.uncertainty,
        gate=bounds(learned, onnx.with_name(FILE)),
        model_sha256=model_sha256,
        data_sha256=data_sha256,
        licence=LICENCE,
        note=NOTE,
    )


def acquired_logits(engine: Engine, films: DecodedFilms) -> Logits:
    """Return the logits (N, A, 2) of films as they are, and under each acquisition, always drawn alike."""
    changed = (served(taken_otherwise(change, films.pixels, films.labels)) for change in ACQUISITIONS.values())
    seen = [logits_of(engine, pixels) for pixels in (films.pixels, *changed)]
    return np.stack(seen, axis=1)


def chosen(logits: Logits, labels: Labels, *, low: float = SENSITIVITY_LOW) -> Choice:
    """Choose calibration and thresholds as they ship, on films of logits (N, A, 2) and labels (N,).

    The calibration is of all acquisitions together.

    Raises:
        DataError: there are too few films of PNEUMONIA to show a sensitivity of `low`.
    """
    acquisitions = logits.shape[1]
    pooled = logits.reshape(-1, 2)
    calibration = fit_calibration(pooled, labels.repeat(acquisitions))
    of_each = probabilities(pooled, calibration).reshape(-1, acquisitions).T  # (A, N)
    thresholds = choose_thresholds(of_each, labels, low=low)
    return Choice(calibration=calibration, thresholds=thresholds, uncertainty=conformal(of_each, labels))


def fit_calibration(logits: Logits, targets: Labels | Floats) -> Calibration:
    """Return the temperature and bias that minimise the negative log-likelihood of logits (N, 2).

    Two parameters only, so that they cannot learn the films by heart. The targets (N,), in [0, 1], are the labels, or
    labels drawn in a little where the films are so few that no steepness would be too great for them.
    """

    def candidate(parameters: npt.NDArray[np.float64]) -> Calibration:
        return Calibration(temperature=float(np.exp(parameters[0])), bias=float(parameters[1]))

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        p = probabilities(logits, candidate(parameters))
        of_pneumonia, of_normal = np.log(np.clip((p, 1.0 - p), 1e-12, None))
        return float(-(targets * of_pneumonia + (1.0 - targets) * of_normal).mean())

    best = candidate(minimize(loss, x0=(0.0, 0.0), method="Nelder-Mead").x)
    return Calibration(temperature=round(best.temperature, 6), bias=round(best.bias, 6))


def bounds(films: DecodedFilms, detector: Path) -> Bounds:
    """Return what the input gate knows of the films that were learned from; `detector` is its file, if there is one."""
    contrast = np.percentile([facts.contrast for facts in films.facts], 100 * BEYOND)
    low, high = np.quantile([level(film) for film in films.pixels], (BEYOND, 1 - BEYOND)).tolist()
    return Bounds(
        min_contrast=round(float(contrast), 2),
        max_colour=MAX_COLOUR,
        min_side_px=min(facts.shortest_px for facts in films.facts),
        min_level=round(low, 2),
        max_level=round(high, 2),
        detector_sha256=sha256(detector) if detector.exists() else "",
    )


def kept_version(contract: Path) -> str:
    """Return the model version of a contract that is about to be replaced; a first one begins at 1.0.0."""
    return ModelContract.load(contract).model_version if contract.exists() else "1.0.0"


if __name__ == "__main__":
    cli.run(main)
