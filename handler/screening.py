"""From logits to an answer: calibration, operating point, decision, warnings."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.contract import Calibration, Gate, ModelContract, OperatingPoint
from handler.imaging import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client is told of one film; the keys and their order are the public contract."""

    prediction: str
    """"NORMAL" or "PNEUMONIA"."""
    p_pneumonia: float
    """Calibrated, 0 to 1, four decimals."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer to one film, an error or not, as it leaves the handler."""

    status: int
    """Of HTTP."""
    reason: str
    body: bytes
    """JSON."""


def log_odds(logits: npt.NDArray[np.float32], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return the calibrated log odds (B,) of PNEUMONIA from logits (B, 2)."""
    difference = logits[:, 1].astype(np.float64) - logits[:, 0]  # (B,)
    return difference / calibration.temperature + calibration.bias


def logistic(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the probabilities (B,), in [0, 1], of log odds (B,), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * odds))


def probabilities(logits: npt.NDArray[np.float32], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return p_pneumonia (B,) in [0, 1] from logits (B, 2)."""
    return logistic(log_odds(logits, calibration))


def answer(p_pneumonia: float, facts: Facts, *, contract: ModelContract, point: OperatingPoint) -> Answer:
    """Decide one film at an operating point.

    The threshold is compared with the four decimals that the client sees, so that an answer never contradicts itself.
    """
    p_pneumonia = round(p_pneumonia, 4)
    prediction = contract.labels[int(p_pneumonia >= point.threshold)]
    note = " ".join([contract.note, *warnings(facts, contract.gate)])
    return Answer(prediction=prediction, p_pneumonia=p_pneumonia, note=note)


def warnings(facts: Facts, gate: Gate) -> list[str]:
    """Return what there is to say of a film beside the answer: one sentence a reason, most often none."""
    said = []
    if facts.colour > gate.max_colour:
        said.append("Warning: a colour picture, not a radiograph.")
    if facts.contrast < gate.min_contrast:
        said.append("Warning: lower contrast than the films the model was trained on.")
    if facts.shortest_px < gate.min_side_px:
        said.append(f"Warning: smaller than {gate.min_side_px} pixels a side, detail is missing.")
    return [*said, *facts.presentation.warnings(), *facts.warnings]
