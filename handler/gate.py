"""The input gate: what speaks against a picture being a film that the model knows, as reason codes and sentences.

The bounds on a film's facts are the contract's. How far a film lies from those that were learned from is judged by the
statistics of the network's middle stages (`handler.engine.statistics`): their distance in the directions in which
films differ, by Mahalanobis, and in all others together. The last features, which were trained to see lungs only, tell
hardly more than half as much. The distances' parameters are in `gate.npz`, beside the model; `training.gate.fit`
writes it.

Source: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
NeurIPS 2018; Tipping and Bishop, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61 (1999) 611-622.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from handler.contract import Bounds, ModelContract
from handler.errors import ContractError
from handler.imaging import Facts, Film
from handler.presentation import Turned

Reason = Literal[
    "not_a_chest_film",
    "unlike_training_films",
    "colour_picture",
    "inverted",
    "upside_down",
    "on_its_side",
    "mirrored",
    "too_small",
    "low_contrast",
    "unusual_exposure",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

Policy = Literal["warn", "reject", "off"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

FILE = "gate.npz"

_TURNED: dict[Turned, Reason] = {"upside down": "upside_down", "on its side": "on_its_side", "mirrored": "mirrored"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """How far films lie from those that were learned from: 1 is about the mean of these."""

    mean: npt.NDArray[np.float32]
    """(D,), of the films that it was fitted on."""
    scale: npt.NDArray[np.float32]
    """(D,), their standard deviation."""
    directions: npt.NDArray[np.float32]
    """(D, K), orthonormal: in which standardised films differ most."""
    variances: npt.NDArray[np.float32]
    """(K,), along them."""
    rest: float
    """Mean variance in all other directions."""
    unlike: float
    """Distance above which a film is unlike those of the training."""
    foreign: float
    """Distance above which a picture is no chest film."""
    model_sha256: str
    """Of the ONNX file whose statistics it judges."""

    def distances(self, statistics: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the distances (B,) of films by their statistics (B, D)."""
        across, along = self._folded
        away = statistics - self.mean
        standard, nearer = away * across, away @ along  # (B, D), (B, K)
        squares = np.einsum("bd,bd->b", standard, standard) - np.einsum("bk,bk->b", nearer, nearer)
        distances: npt.NDArray[np.float32] = np.sqrt(np.maximum(squares, 0))
        return distances

    @cached_property
    def _folded(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Factors (D,) that count all directions as the rest, and (D, K), what is too much of it in those kept.

        Those have the larger variances. With everything folded in, a film takes half the time.
        """
        size = len(self.mean)
        surplus = np.sqrt(np.maximum(1 / self.rest - 1 / self.variances, 0) / size)
        across = 1 / (self.scale * np.sqrt(self.rest * size))
        along = self.directions * surplus / self.scale[:, None]
        return across.astype(np.float32), along.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the detector, its directions at half precision."""
        np.savez(
            path,
            allow_pickle=False,
            mean=self.mean.astype(np.float32),
            scale=self.scale.astype(np.float32),
            directions=self.directions.astype(np.float16),
            variances=self.variances.astype(np.float32),
            limits=np.array([self.rest, self.unlike, self.foreign]),
            model_sha256=np.array(self.model_sha256),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a detector that `save` wrote.

        Raises:
            ContractError: the file is missing or is no detector.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            rest, unlike, foreign = arrays["limits"].tolist()
            return cls(
                **{name: arrays[name].astype(np.float32) for name in ("mean", "scale", "directions", "variances")},
                rest=rest,
                unlike=unlike,
                foreign=foreign,
                model_sha256=str(arrays["model_sha256"]),
            )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
            raise ContractError(f"{path}: not the gate's file: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gate:
    """What a model's films are judged by."""

    bounds: Bounds
    detector: Detector

    @classmethod
    def load(cls, folder: Path, contract: ModelContract) -> Self:
        """Load the gate of a model store or an unpacked archive, whose contract it belongs to.

        Raises:
            ContractError: it is missing, is no gate, or was written for another contract or model.
        """
        path, bounds = folder / FILE, contract.gate
        detector = Detector.load(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != bounds.detector_sha256:
            raise ContractError(f"gate: {path} is not the one that the contract was written for, run make gate")
        if detector.model_sha256 != contract.model_sha256:
            raise ContractError(f"gate: {path} was written for another model, run make gate")
        return cls(bounds=bounds, detector=detector)

    def reasons(self, films: Sequence[Film], statistics: npt.NDArray[np.float32]) -> list[tuple[Reason, ...]]:
        """Return what speaks against each film, in the order of REASONS; most often nothing.

        Args:
            films: B of them.
            statistics: Theirs, (B, D), as `Engine.screen` gives them.
        """
        return [
            tuple(reason for reason in REASONS if reason in found)
            for found in (
                self._by_facts(film.facts) | self._by_levels(film) | self._by_distance(distance)
                for film, distance in zip(films, self.detector.distances(statistics).tolist(), strict=True)
            )
        ]

    def _by_facts(self, facts: Facts) -> set[Reason]:
        found: set[Reason] = set()
        presented = facts.presentation
        if facts.colour > self.bounds.max_colour:
            found.add("colour_picture")
        if facts.contrast < self.bounds.min_contrast:
            found.add("low_contrast")
        if facts.shortest_px < self.bounds.min_side_px:
            found.add("too_small")
        if not presented.recognised:
            found.add("not_a_chest_film")
        elif presented.negative is not False:
            found.add("inverted")
        if presented.turned:
            found.add(_TURNED[presented.turned])
        return found

    def _by_levels(self, film: Film) -> set[Reason]:
        inside = self.bounds.min_level <= level(film.pixels) <= self.bounds.max_level
        return set() if inside else {"unusual_exposure"}

    def _by_distance(self, distance: float) -> set[Reason]:
        if distance > self.detector.foreign:
            return {"not_a_chest_film"}
        return {"unlike_training_films"} if distance > self.detector.unlike else set()


def level(pixels: npt.NDArray[np.uint8]) -> float:
    """Return the mean level of a film (224, 224), 0 to 255, after its levels were stretched."""
    # A column sums to 57120 at most; a third of the time of `mean`.
    return float(np.add.reduce(pixels, axis=0, dtype=np.uint16).sum(dtype=np.uint32)) / pixels.size


def policy_of(setting: object) -> Policy:
    """Return the policy that a setting names; YAML reads a bare `off` as false.

    Raises:
        ContractError: it names none.
    """
    name = "off" if setting is False else setting
    for policy in POLICIES:
        if name == policy:
            return policy
    raise ContractError(f"handler: gate: must be one of {', '.join(POLICIES)}, got {setting!r}")


def warnings(facts: Facts, reasons: Sequence[Reason], bounds: Bounds) -> list[str]:
    """Return what a film's note says: a sentence a reason, how it was presented, and what its file leaves open."""
    sentences: dict[Reason, str] = {
        "colour_picture": "Warning: a colour picture, not a radiograph.",
        "low_contrast": "Warning: lower contrast than the films the model was trained on.",
        "too_small": f"Warning: smaller than {bounds.min_side_px} pixels a side, detail is missing.",
    }
    said = [sentence for reason, sentence in sentences.items() if reason in reasons]
    said += facts.presentation.warnings()
    if "not_a_chest_film" in reasons and facts.presentation.recognised:
        lies_wrong = facts.presentation.turned in ("upside down", "on its side")  # which alone may be why
        how = "lying so, it" if lies_wrong else "the picture"
        said.append(f"Warning: {how} was not recognised as a chest film, positive or negative.")
    if "unlike_training_films" in reasons:
        said.append("Warning: unlike the films the model was trained on: an adult's, or another view?")
    if "unusual_exposure" in reasons:
        said.append("Warning: brighter or darker than the films the model was trained on.")
    return [*said, *facts.warnings]
