"""What a site's own films say of the shipped model: nothing here is judged on what it was chosen on.

A calibration and thresholds that are chosen on all films of a site are what the site gets. What they are worth is
cross-fitted: the patients are split into parts, each part is judged with a calibration and thresholds chosen on the
others, and the judgements are pooled.
"""

import bisect
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.contract import Interval, ModelContract
from handler.screening import decide, log_odds, logistic, probabilities
from training.calibrate import Choice, Logits, balanced_threshold, fit_calibration, rule_out_threshold, share
from training.errors import DataError
from training.evaluate import Served
from training.films import LABELS, DecodedFilms, split_by_patient
from training.metrics import Decisions, Floats, Labels, bootstrap_ci, log_loss, wilson

FOLDS = 5
"""Parts that the patients are split into, where there are as many of each class."""

PREVALENCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""From screening to a ward of suspected cases."""


Chooser = Callable[[Logits, Labels], Choice]
Indices = npt.NDArray[np.int64]


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
    """Of PNEUMONIA."""
    needed: int
    """The fewest films of PNEUMONIA, all of them caught, that could show it."""

    @property
    def holds(self) -> bool:
        """Whether the wanted sensitivity is shown."""
        return self.sensitivity.low >= self.wanted


def choose(logits: Logits, labels: Labels, *, sensitivity: float) -> Choice:
    """Choose calibration and thresholds on films of logits (N, 2) and labels (N,).

    The targets of the calibration are drawn in from 0 and 1, as by one film more of each class: a site may have few
    films that the model tells apart, and would be served certainties.

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999.
    """
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    calibration = fit_calibration(logits, targets)
    p_pneumonia = probabilities(logits, calibration)
    thresholds = {
        "rule_out": sensitive_threshold(p_pneumonia, labels, sensitivity=sensitivity),
        "balanced": balanced_threshold(p_pneumonia, labels),
    }
    return Choice(calibration=calibration, thresholds=thresholds)


def sensitive_threshold(p_pneumonia: Floats, labels: Labels, *, sensitivity: float) -> float:
    """Return the highest threshold that these films show the sensitivity for, else the one that shows the most.

    That it is chosen on the films that show it does no harm to this one claim: the k-th lowest film of PNEUMONIA is a
    tolerance limit, under which only so many of the films to come can lie, however they are distributed.

    Source: Wilks, Determination of Sample Sizes for Setting Tolerance Limits, Annals of Mathematical Statistics 12
    (1941) 91-96.
    """
    positives = int((labels == 1).sum())
    return rule_out_threshold(p_pneumonia, labels, low=min(sensitivity, wilson(positives, positives)[0]))


def recommend(p_pneumonia: Floats, films: DecodedFilms, *, sensitivity: float) -> Recommendation:
    """Return the threshold on p_pneumonia (N,) for a wanted sensitivity, and whether the films show it."""
    threshold = sensitive_threshold(p_pneumonia, films.labels, sensitivity=sensitivity)
    caught = decide(p_pneumonia[films.labels == 1], threshold)
    return Recommendation(
        wanted=sensitivity,
        threshold=threshold,
        sensitivity=share(caught),
        films=len(caught),
        patients=len({file.patient for file in films.files if file.label == 1}),
        needed=films_needed(sensitivity),
    )


def films_needed(sensitivity: float) -> int:
    """Return the fewest films of PNEUMONIA, all of them caught, whose 95 % interval begins at `sensitivity`."""
    most = math.ceil(4 * sensitivity / (1 - sensitivity)) + 1  # the interval begins at n / (n + 1.96^2)
    return 1 + bisect.bisect_left(range(1, most + 1), sensitivity, key=lambda n: round(wilson(n, n)[0], 6))


def folds_for(films: DecodedFilms) -> int:
    """Return how many parts the films can be split into by patient, FOLDS at most.

    Raises:
        DataError: a class has films of one patient only.
    """
    patients = [{file.patient for file in films.files if file.label == label} for label in range(len(LABELS))]
    for name, of_class in zip(LABELS, patients, strict=True):
        if len(of_class) < 2:  # noqa: PLR2004 - one to choose on, one to judge
            raise DataError(f"films of at least two patients of each class are wanted, {name} has one")
    return min(FOLDS, *map(len, patients))


def cross_fit(films: DecodedFilms, logits: Logits, *, chooser: Chooser, folds: int) -> Served:
    """Return what clients would be told of films (N,) of logits (N, 2), each by a choice made without its patient.

    The arguments, and what is raised, are those of `choices_without`.
    """
    return judged(films, logits, choices_without(films, logits, chooser=chooser, folds=folds))


def choices_without(
    films: DecodedFilms, logits: Logits, *, chooser: Chooser, folds: int
) -> list[tuple[Indices, Choice]]:
    """Return which films each part of the patients has, and a choice made without them.

    Args:
        films: the films to judge.
        logits: theirs, (N, 2), or as many as the chooser takes, (N, A, 2).
        chooser: makes a choice from logits and labels of some films; every choice has the same operating points.
        folds: how many parts the patients are split into.

    Raises:
        DataError: a class has fewer patients than folds, or all its films are of so few that a part has none.
    """
    labels, choices = films.labels, []
    for fold in range(folds):
        chosen_on, judged_on = split_by_patient(films, folds=folds, fold=fold, seed=0)
        if len(set(labels[chosen_on].tolist())) < len(LABELS):
            raise DataError("the films of a class are of too few patients to choose on some and judge on others")
        choices.append((judged_on, chooser(logits[chosen_on], labels[chosen_on])))
    return choices


def judged(films: DecodedFilms, logits: Logits, choices: Sequence[tuple[Indices, Choice]]) -> Served:
    """Return what clients would be told of films (N,) of logits (N, 2), each by the choice made without it."""
    odds = np.zeros(len(films.labels))
    decisions: dict[str, Decisions] = defaultdict(lambda: np.zeros(len(films.labels), dtype=bool))
    for judged_on, choice in choices:
        odds[judged_on] = log_odds(logits[judged_on], choice.calibration)
        p_pneumonia = logistic(odds[judged_on])
        for name, threshold in choice.thresholds.items():
            decisions[name][judged_on] = decide(p_pneumonia, threshold)
    return Served(
        labels=films.labels,
        log_odds=odds,
        decisions=dict(decisions),
        patients=tuple(file.patient for file in films.files),
    )


def log_losses(before: Served, after: Served) -> dict[str, Any]:
    """Return the log loss of the same films before and after, and the decrease, with 95 % intervals by patient."""

    def losses(weights: Floats | None = None) -> Floats:
        pair = [log_loss(served.labels, served.p_pneumonia, weights) for served in (before, after)]
        return np.array([*pair, pair[0] - pair[1]])

    names = ("before", "after", "decrease")
    intervals = bootstrap_ci(losses, before.patients).round(6).tolist()
    told: dict[str, Any] = dict(zip(names, losses().round(6).tolist(), strict=True))
    return told | {"ci95": dict(zip(names, intervals, strict=True))}


def predictive_values(
    told: Mapping[str, Any], *, prevalences: Sequence[float] = PREVALENCES
) -> dict[str, list[dict[str, Any]]]:
    """Return PPV and NPV over prevalences at each operating point of measures shaped as `metrics.json`.

    An interval's ends are those of sensitivity and specificity together, and so a little wide.
    """
    return {
        name: [_predictive(point, told["ci95"]["operating_points"][name], prevalence) for prevalence in prevalences]
        for name, point in told["operating_points"].items()
    }


def _predictive(point: Mapping[str, float], intervals: Mapping[str, list[float]], prevalence: float) -> dict[str, Any]:
    ppv, npv = _bayes(point["sensitivity"], point["specificity"], prevalence)
    (ppv_low, npv_low), (ppv_high, npv_high) = (
        _bayes(sensitivity, specificity, prevalence)
        for sensitivity, specificity in zip(intervals["sensitivity"], intervals["specificity"], strict=True)
    )
    ci95 = {"ppv": [ppv_low, ppv_high], "npv": [npv_low, npv_high]}
    return {"prevalence": prevalence, "ppv": ppv, "npv": npv, "ci95": ci95}


def _bayes(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Return PPV and NPV, each 0 where nothing is answered so."""
    ill, well = prevalence, 1.0 - prevalence
    true_positives, false_positives = sensitivity * ill, (1.0 - specificity) * well
    true_negatives, false_negatives = specificity * well, (1.0 - sensitivity) * ill
    ppv = true_positives / (true_positives + false_positives) if true_positives else 0.0
    npv = true_negatives / (true_negatives + false_negatives) if true_negatives else 0.0
    return round(ppv, 6), round(npv, 6)


def auc_at_least(contract: ModelContract) -> float:
    """Return the least AUC, 0 to 1, that a contract's operating points allow on the films it was calibrated on.

    The ROC curve runs through them and never falls: the least area under it is that of the steps.
    """
    points = sorted((1.0 - point.specificity.value, point.sensitivity.value) for point in contract.operating_points)
    ends = [x for x, _ in points[1:]] + [1.0]
    return sum((end - x) * y for (x, y), end in zip(points, ends, strict=True))
