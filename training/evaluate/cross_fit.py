"""What calibrations and thresholds are worth on patients that they were not chosen on.

The patients are split into parts, each part is judged with a calibration and thresholds chosen on the others, and the
judgements are pooled.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.screening import decide, log_odds, logistic, prediction_set, probabilities
from training.data.films import DecodedFilms, split_by_patient
from training.errors import DataError
from training.evaluate.calibrate import Choice
from training.evaluate.evaluate import Served
from training.figures.metrics import LABELS, Decisions, Indices, Labels, Logits

PREVALENCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""From screening to a ward of suspected cases."""

Chooser = Callable[[Logits, Labels], Choice]


def cross_fit(films: DecodedFilms, logits: Logits, *, chooser: Chooser, folds: int) -> Served:
    """Return the answers for films (N,) of logits (N, 2), each by a choice made without its patient.

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
    """Return the answers for films (N,) of logits (N, 2), each by the choice made without it."""
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


def prediction_sets(logits: Logits, choices: Sequence[tuple[Indices, Choice]]) -> npt.NDArray[np.bool_]:
    """Return which labels films of logits (N, 2) may have, (N, 2), each by the choice made without it."""
    possible = np.zeros(logits.shape, dtype=bool)
    for judged_on, choice in choices:
        p_pneumonia = probabilities(logits[judged_on], choice.calibration)
        possible[judged_on] = prediction_set(p_pneumonia, choice.uncertainty)
    return possible


def predictive_values(
    result: Mapping[str, Any], *, prevalences: Sequence[float] = PREVALENCES
) -> dict[str, list[dict[str, Any]]]:
    """Return PPV and NPV over prevalences at each operating point of measures shaped as `metrics.json`.

    An interval's ends are those of sensitivity and specificity together, and so a little wide.
    """
    return {
        name: [_predictive(point, result["ci95"]["operating_points"][name], prevalence) for prevalence in prevalences]
        for name, point in result["operating_points"].items()
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
