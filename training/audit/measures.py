"""What a model is worth on films taken otherwise: a row for each counterfactual, with intervals, and its control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.contract import ModelContract
from handler.screening import decide, probabilities
from training.changes.counterfactuals import CONTROLS, COUNTERFACTUALS, Counterfactual, served, taken_otherwise
from training.figures.metrics import Labels, Logits, Pixels, margins, ranked, rates, shares

Scorer = Callable[[Pixels], Logits]
"""From films (N, 224, 224) to logits (N, 2)."""

CLEAN = "as they are"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Films that a model has not learned from, as it wants them."""

    pixels: Pixels
    """(N, 224, 224)."""
    labels: Labels
    patients: tuple[str, ...]
    stretched: bool = True
    """Whether exposure is stretched before the model sees a film: from preprocessing version 3 on."""

    def changed(self, name: str) -> Pixels:
        """Return the films as the model would see them under a counterfactual of this name, or as they are."""
        return self.pixels if name == CLEAN else self._seen(COUNTERFACTUALS[name])

    def control(self, name: str) -> Pixels:
        """Return the films as the model would see them under the control of a counterfactual of this name."""
        return self._seen(CONTROLS[name])

    def _seen(self, change: Counterfactual) -> Pixels:
        pixels = taken_otherwise(change, self.pixels, self.labels)
        return served(pixels) if self.stretched else pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """The logits (N, 2) of the films of one row."""

    logits: Logits
    control: Logits | None
    """Of the control, where there is one."""


def score_rows(scorer: Scorer, films: Judged) -> dict[str, Scored]:
    """Score films as they are and under each counterfactual and its control."""
    return {
        name: Scored(
            logits=scorer(films.changed(name)), control=scorer(films.control(name)) if name in CONTROLS else None
        )
        for name in (CLEAN, *COUNTERFACTUALS)
    }


def audit_rows(scored: Mapping[str, Scored], films: Judged, contract: ModelContract | None) -> list[dict[str, Any]]:
    """Return the measures of films as they are and under each counterfactual, a row each.

    Args:
        scored: what `score_rows` returns of the films.
        films: what the model is judged on.
        contract: its calibration and thresholds; None for a run that has none yet.
    """
    return [
        {
            "films": name,
            **ranked(margins(one.logits), films.labels, films.patients),
            "control": None if one.control is None else ranked(margins(one.control), films.labels, films.patients),
            "operating_points": _decided(one.logits, films.labels, contract),
        }
        for name, one in scored.items()
    ]


def worst(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row of the lowest ROC-AUC: what recipes are chosen by."""
    return min(rows, key=lambda row: float(row["roc_auc"]["value"]))


def _decided(logits: Logits, labels: Labels, contract: ModelContract | None) -> dict[str, Any]:
    """Return sensitivity and specificity at the shipped thresholds, Wilson intervals by films."""
    if contract is None:
        return {}
    p_pneumonia = probabilities(logits, contract.calibration)
    return {
        point.name: shares(labels, decided) | {"accuracy": round(rates(labels, decided).accuracy, 6)}
        for point in contract.operating_points
        for decided in [decide(p_pneumonia, point.threshold)]
    }
