"""From logits to a result: calibration, operating point, decision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.contract import Calibration, ModelContract, OperatingPoint, Uncertainty

Probabilities = npt.NDArray[np.float64]
"""p_pneumonia (B,), calibrated, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one film; the keys and their order are the public contract."""

    prediction: str
    """"NORMAL" or "PNEUMONIA"."""
    p_pneumonia: float
    """Calibrated, 0 to 1, four decimals."""
    note: str


def log_odds(logits: npt.NDArray[np.float32], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return the calibrated log odds (B,) of PNEUMONIA from logits (B, 2)."""
    difference = logits[:, 1].astype(np.float64) - logits[:, 0]  # (B,)
    return difference / calibration.temperature + calibration.bias


def logistic(odds: npt.NDArray[np.float64]) -> Probabilities:
    """Return the probabilities (B,), in [0, 1], of log odds (B,), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * odds))


def probabilities(logits: npt.NDArray[np.float32], calibration: Calibration) -> Probabilities:
    """Return p_pneumonia (B,) in [0, 1] from logits (B, 2)."""
    return logistic(log_odds(logits, calibration))


def served(p_pneumonia: Probabilities) -> Probabilities:
    """Return the probabilities (B,) as a client sees them: four decimals."""
    return p_pneumonia.round(4)


def decide(p_pneumonia: Probabilities, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which films (B,) are PNEUMONIA at a threshold.

    Compared are the four decimals that the client sees, so that a result never contradicts itself. This is the one
    decision: the server, the calibration, the reports and a site's validation all call it.
    """
    return served(p_pneumonia) >= threshold


def prediction_set(p_pneumonia: Probabilities, rule: Uncertainty) -> npt.NDArray[np.bool_]:
    """Return which labels films may have, (B, 2) in the order of the logits, so that `rule.coverage` have theirs."""
    p = served(p_pneumonia)
    return np.stack([p <= rule.normal_to, p >= rule.pneumonia_from], axis=1)


def uncertain(p_pneumonia: Probabilities, threshold: float, rule: Uncertainty) -> npt.NDArray[np.bool_]:
    """Return of which films (B,) the decision at a threshold is not the one label that they may have."""
    decided = decide(p_pneumonia, threshold)
    certain: npt.NDArray[np.bool_] = (prediction_set(p_pneumonia, rule) == np.stack([~decided, decided], axis=1)).all(1)
    return ~certain


def result(
    p_pneumonia: float, *, contract: ModelContract, point: OperatingPoint, warnings: Sequence[str] = ()
) -> Result:
    """Return the result of a film at an operating point.

    Args:
        p_pneumonia: Calibrated, 0 to 1.
        contract: Names the labels; its note goes with the result.
        point: The operating point.
        warnings: Of the film, which go with the note: `handler.gate.warnings`.
    """
    p = np.array([p_pneumonia])
    return Result(
        prediction=contract.labels[int(decide(p, point.threshold)[0])],
        p_pneumonia=float(served(p)[0]),
        note=" ".join([contract.note, *warnings]),
    )
