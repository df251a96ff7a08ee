"""What a site's own films say of the shipped model: nothing here is judged on what it was chosen on.

A calibration and thresholds that are chosen on all films of a site are what the site gets. What they are worth is
cross-fitted: the patients are split into parts, each part is judged with a calibration and thresholds chosen on the
others, and the judgements are pooled.
"""

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from handler.contract import Interval, ModelContract
from handler.screening import decide, probabilities
from training.data.films import DecodedFilms, count_patients
from training.evaluate.calibrate import Choice, fit_calibration
from training.evaluate.evaluate import Served
from training.evaluate.operating_points import DEFAULT, OPERATING_POINTS, choose_thresholds
from training.evaluate.uncertainty import conformal
from training.figures.metrics import Floats, Labels, Logits, bootstrap_ci, log_loss, share, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The highest threshold that a site's films show a wanted sensitivity for, or the best that they can show."""

    wanted: float
    threshold: float
    """On p_pneumonia as the shipped contract calibrates it."""
    sensitivity: Interval
    """By films, Wilson: of the films the threshold was chosen on, so that only its lower end says something."""
    films: int
    patients: int
    films_without_patient_id: int
    """Of PNEUMONIA, as the two before."""
    needed: int
    """The fewest films of PNEUMONIA, all of them caught, that could show it."""

    @property
    def holds(self) -> bool:
        """Whether the wanted sensitivity is shown."""
        return self.sensitivity.low >= self.wanted


def choose(logits: Logits, labels: Labels, *, sensitivity: float) -> Choice:
    """Choose calibration and thresholds on films of logits (N, 2) and labels (N,).

    The targets of the calibration are drawn in from 0 and 1, as by one film more of each class: a site may have few
    films that the model separates, and would be served certainties.

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999.
    """
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    calibration = fit_calibration(logits, targets)
    p_pneumonia = probabilities(logits, calibration)
    thresholds = choose_thresholds(p_pneumonia[None], labels, low=_shown(labels, sensitivity))
    return Choice(calibration=calibration, thresholds=thresholds, uncertainty=conformal(p_pneumonia[None], labels))


def sensitive_threshold(p_pneumonia: Floats, labels: Labels, *, sensitivity: float) -> float:
    """Return the highest threshold that these films show the sensitivity for, else the one that shows the most.

    That it is chosen on the films that show it does no harm to this one claim: the k-th lowest film of PNEUMONIA is a
    tolerance limit, under which only so many of the films to come can lie, however they are distributed.

    Source: Wilks, Determination of Sample Sizes for Setting Tolerance Limits, Annals of Mathematical Statistics 12
    (1941) 91-96.
    """
    return OPERATING_POINTS[DEFAULT].choose(p_pneumonia[None], labels, _shown(labels, sensitivity))


def _shown(labels: Labels, sensitivity: float) -> float:
    """Return the sensitivity, or the highest that so few films can show."""
    positives = int((labels == 1).sum())
    return min(sensitivity, wilson(positives, positives)[0])


def recommend(p_pneumonia: Floats, films: DecodedFilms, *, sensitivity: float) -> Recommendation:
    """Return the threshold on p_pneumonia (N,) for a wanted sensitivity, and whether the films show it."""
    threshold = sensitive_threshold(p_pneumonia, films.labels, sensitivity=sensitivity)
    caught = decide(p_pneumonia[films.labels == 1], threshold)
    patients, without_id = count_patients(file for file in films.files if file.label == 1)
    return Recommendation(
        wanted=sensitivity,
        threshold=threshold,
        sensitivity=share(caught),
        films=len(caught),
        patients=patients,
        films_without_patient_id=without_id,
        needed=films_needed(sensitivity),
    )


def films_needed(sensitivity: float) -> int:
    """Return the fewest films of PNEUMONIA, all of them caught, whose 95 % interval begins at `sensitivity`."""
    most = math.ceil(4 * sensitivity / (1 - sensitivity)) + 1  # the interval begins at n / (n + 1.96^2)
    return 1 + bisect.bisect_left(range(1, most + 1), sensitivity, key=lambda n: round(wilson(n, n)[0], 6))


def log_losses(before: Served, after: Served) -> dict[str, Any]:
    """Return the log loss of the same films before and after, and the decrease, with 95 % intervals by patient."""

    def losses(weights: Floats | None = None) -> Floats:
        pair = [log_loss(served.labels, served.p_pneumonia, weights) for served in (before, after)]
        return np.array([*pair, pair[0] - pair[1]])

    names = ("before", "after", "decrease")
    intervals = bootstrap_ci(losses, before.patients).round(6).tolist()
    result: dict[str, Any] = dict(zip(names, losses().round(6).tolist(), strict=True))
    return result | {"ci95": dict(zip(names, intervals, strict=True))}


def auc_at_least(contract: ModelContract) -> float:
    """Return the least AUC, 0 to 1, that a contract's operating points allow on the films it was calibrated on.

    The ROC curve runs through them and never falls: the least area under it is that of the steps.
    """
    points = sorted((1.0 - point.specificity.value, point.sensitivity.value) for point in contract.operating_points)
    ends = [x for x, _ in points[1:]] + [1.0]
    return sum((end - x) * y for (x, y), end in zip(points, ends, strict=True))
