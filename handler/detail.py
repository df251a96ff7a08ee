"""What stands behind a result, for clients that ask for it: facts of the film, threshold, uncertainty, receipt."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handler.contract import ModelContract, OperatingPoint
from handler.imaging import Facts
from handler.screening import Result, prediction_set, uncertain


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """By what a result can be computed again, and compared: `python -m handler.replay`."""

    film_sha256: str
    """Of the bytes as they were sent."""
    contract_sha256: str
    model_sha256: str
    """Of the ONNX file."""
    model_version: str
    operating_point: str
    threshold: float
    prediction: str
    p_pneumonia: float
    """As in the result, four decimals."""


def detail(  # noqa: PLR0913  (each is of another origin)
    result: Result,
    *,
    p_pneumonia: float,
    facts: Facts,
    content: bytes | bytearray,
    contract: ModelContract,
    contract_sha256: str,
    point: OperatingPoint,
    reasons: Sequence[str],
) -> dict[str, Any]:
    """Return the detail of a result, of what JSON holds.

    Args:
        result: What it is the detail of.
        p_pneumonia: Calibrated, 0 to 1, unrounded.
        facts: Of the film.
        content: The film as it was sent.
        contract: The model's.
        contract_sha256: Of the contract's file.
        point: The operating point of the result.
        reasons: What the input gate has against the film.
    """
    receipt = Receipt(
        film_sha256=hashlib.sha256(content).hexdigest(),
        contract_sha256=contract_sha256,
        model_sha256=contract.model_sha256,
        model_version=contract.model_version,
        operating_point=point.name,
        threshold=point.threshold,
        prediction=result.prediction,
        p_pneumonia=result.p_pneumonia,
    )
    rule, p = contract.uncertainty, np.array([p_pneumonia])
    (possible,) = prediction_set(p, rule)
    return {
        "p_pneumonia": p_pneumonia,
        "operating_point": {"name": point.name, "threshold": point.threshold},
        "uncertain": bool(uncertain(p, point.threshold, rule)[0]),
        "prediction_set": {
            "labels": [label for label, one in zip(contract.labels, possible, strict=True) if one],
            "coverage": rule.coverage,
        },
        "film": dataclasses.asdict(facts),
        "gate": {"reasons": list(reasons)},
        "model_version": contract.model_version,
        "receipt": dataclasses.asdict(receipt),
    }
