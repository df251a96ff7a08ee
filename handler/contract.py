"""The contract between training and serving: `contract.json` as one frozen dataclass.

Training writes it, the archive carries it, the handler refuses to start on one that it does not understand.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from handler.errors import ContractError

SCHEMA_VERSION = 3
"""Raised whenever a field is added, removed or changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A proportion with its 95 % confidence interval, each in [0, 1]."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.value <= self.high <= 1.0:
            raise ContractError(f"interval: wants 0 <= low <= value <= high <= 1, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the difference of the logits becomes a probability: logistic(difference / temperature + bias).

    The temperature takes back overconfidence; the bias, what class weights and augmentation shifted.

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999; Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017.
    """

    temperature: float
    bias: float

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < math.inf:
            raise ContractError(f"calibration: temperature must be positive and finite, got {self.temperature!r}")
        if not math.isfinite(self.bias):
            raise ContractError(f"calibration: bias must be finite, got {self.bias!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold with the evidence for it."""

    name: str
    threshold: float
    """On the calibrated probability of PNEUMONIA, 0 < threshold < 1; at or above it the answer is PNEUMONIA."""
    sensitivity: Interval
    specificity: Interval

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ContractError(f"operating point {self.name!r}: threshold must lie in (0, 1), got {self.threshold!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """The conformal rule: which labels a film may have, so that the right one is among them in `coverage` of all films.

    PNEUMONIA may be from `pneumonia_from` on, NORMAL up to `normal_to`. A decision is uncertain unless it is the one
    label that the film may have. The coverage holds for each label, for films like those that chose the bounds.

    Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, section 4.5 (label-conditional).
    """

    coverage: float
    """Share of the films of each label, 0 to 1."""
    pneumonia_from: float
    """p_pneumonia from which on PNEUMONIA is in the prediction set."""
    normal_to: float
    """p_pneumonia up to which NORMAL is."""

    def __post_init__(self) -> None:
        for name in ("coverage", "pneumonia_from", "normal_to"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ContractError(f"uncertainty: {name} must lie in [0, 1], got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the input gate knows of the training films; a film beyond a bound is marked, see `handler.gate`."""

    min_contrast: float
    """Standard deviation of the grey film, in grey levels (0 to 255), that nearly all training films exceed."""
    max_colour: float
    """Mean absolute difference between colour channels, in levels (0 to 255), that a radiograph stays under."""
    min_side_px: int
    """Shortest side, in pixels, under which detail that the model was trained on is missing."""
    min_level: float
    max_level: float
    """Mean level of the stretched film, 0 to 255, between which nearly all training films lie."""
    detector_sha256: str
    """Of `gate.npz`, which says how far a film may lie from those of the training; empty where there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContract:
    """Everything that the server must know of the model it serves."""

    schema_version: int
    model_version: str
    labels: tuple[str, str]
    """In the order of the logits; the second is the finding that is screened for."""
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Of the RGB channels in [0, 1], in which the grey film is repeated. Folded into the ONNX graph."""
    preprocessing_version: int
    """`handler.imaging.VERSION` that the model was trained and calibrated with."""
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    uncertainty: Uncertainty
    gate: Bounds
    model_sha256: str
    """Of the ONNX file."""
    data_sha256: str
    """Of what was learned from: content digest, label, patient and part of every film."""
    licence: str
    note: str
    """Sent with every answer."""

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ContractError(f"schema_version: this code reads {SCHEMA_VERSION}, got {self.schema_version!r}")
        if self.labels != ("NORMAL", "PNEUMONIA"):
            raise ContractError(f"labels: wants NORMAL, PNEUMONIA in the order of the logits, got {self.labels!r}")
        names = [point.name for point in self.operating_points]
        if len(set(names)) != len(names):
            raise ContractError(f"operating_points: names must differ, got {names!r}")
        if self.default_operating_point not in names:
            raise ContractError(
                f"default_operating_point: must be one of {names!r}, got {self.default_operating_point!r}"
            )

    def operating_point(self, name: str) -> OperatingPoint:
        """Return the operating point called `name`.

        Raises:
            ContractError: there is none of that name.
        """
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(point.name for point in self.operating_points)
        raise ContractError(f"operating point {name!r}: unknown, the contract has {known}")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a contract from a JSON file.

        Raises:
            ContractError: the file is missing, is not JSON, or has a missing, unknown or invalid field.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise ContractError(f"{path}: {exc.strerror or exc}") from exc
        except ValueError as exc:
            raise ContractError(f"{path}: not JSON: {exc}") from exc
        try:
            return cls(**_parsed(cls, fields))
        except ContractError as exc:
            raise ContractError(f"{path}: {exc}") from exc
        except (TypeError, ValueError, AttributeError) as exc:
            raise ContractError(f"{path}: a value has the wrong type: {exc}") from exc

    def save(self, path: Path) -> None:
        """Write the contract as JSON, keys in the order of the fields."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def _parsed(cls: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` as constructor arguments of the dataclass `cls`; every key must be there and be known."""
    if not isinstance(fields, Mapping):
        raise ContractError(f"{cls.__name__}: wants an object, got {type(fields).__name__}")
    names = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(fields.keys() - names):
        raise ContractError(f"{cls.__name__}: unknown {', '.join(unknown)}")
    if missing := sorted(names - fields.keys()):
        raise ContractError(f"{cls.__name__}: missing {', '.join(missing)}")
    return {name: _NESTED[name](fields[name]) if name in _NESTED else fields[name] for name in names}


def _interval(fields: Any) -> Interval:
    return Interval(**_parsed(Interval, fields))


def _calibration(fields: Any) -> Calibration:
    return Calibration(**_parsed(Calibration, fields))


def _uncertainty(fields: Any) -> Uncertainty:
    return Uncertainty(**_parsed(Uncertainty, fields))


def _bounds(fields: Any) -> Bounds:
    return Bounds(**_parsed(Bounds, fields))


def _operating_points(items: Any) -> tuple[OperatingPoint, ...]:
    return tuple(OperatingPoint(**_parsed(OperatingPoint, item)) for item in items)


_NESTED: dict[str, Callable[[Any], Any]] = {
    "labels": tuple,
    "mean": tuple,
    "std": tuple,
    "calibration": _calibration,
    "sensitivity": _interval,
    "specificity": _interval,
    "operating_points": _operating_points,
    "uncertainty": _uncertainty,
    "gate": _bounds,
}
"""How a field that JSON cannot hold as it is is made from what JSON holds."""
