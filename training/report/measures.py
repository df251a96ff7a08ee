"""The measures of the report on the films that a run held out, in the shapes that its JSON files hold."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.screening import log_odds
from training.audit.measures import CLEAN
from training.changes.corruptions import CORRUPTIONS, SEVERITIES, corrupted, with_detail_swapped
from training.changes.counterfactuals import ACQUISITIONS
from training.data.films import FOLDS, DecodedFilms
from training.evaluate.calibrate import acquired_logits, chosen
from training.evaluate.cross_fit import choices_without, judged, prediction_sets, predictive_values
from training.evaluate.evaluate import Served, Shipped, answered, measure, serve
from training.figures.metrics import LABELS, Floats, Labels, ece, rates, roc_auc, share, shares, with_ends

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.62, 0.74)
"""From screening to a ward; 62 and 74 % are the public data set's official test and training parts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Films that were held out, and what is answered of them."""

    films: DecodedFilms
    fitted: Served
    """By the shipped contract, which was chosen on these very films."""
    crossfitted: Served
    """By calibrations and thresholds that were chosen in the same way without the patient."""
    acquired: Mapping[str, Served]
    """The same under each acquisition."""
    sets: Mapping[str, npt.NDArray[np.bool_]]
    """Which labels they may have by the conformal rule, (N, 2), cross-fitted; the films as they are come first."""


def answer_all(shipped: Shipped, films: DecodedFilms) -> Answers:
    """Answer films by the shipped contract, and cross-fitted.

    Raises:
        DataError: they are too few.
    """
    logits = acquired_logits(shipped.engine, films)
    choices = choices_without(films, logits, chooser=chosen, folds=FOLDS)
    by_acquisition = logits.transpose(1, 0, 2)
    crossfitted = [judged(films, one, choices) for one in by_acquisition]
    sets = [prediction_sets(one, choices) for one in by_acquisition]
    return Answers(
        films=films,
        fitted=answered(shipped.contract, films, log_odds(logits[:, 0], shipped.contract.calibration)),
        crossfitted=crossfitted[0],
        acquired=dict(zip(ACQUISITIONS, crossfitted[1:], strict=True)),
        sets=dict(zip((CLEAN, *ACQUISITIONS), sets, strict=True)),
    )


def measures(shipped: Shipped, answers: Answers) -> dict[str, Any]:
    """Return every measure, by the name of the JSON file that holds it."""
    thresholds = {point.name: point.threshold for point in shipped.contract.operating_points}
    crossfitted = measure(answers.crossfitted, thresholds)
    return {
        "validation": measure(answers.fitted, thresholds),
        "crossfit": crossfit(answers.crossfitted, crossfitted),
        "acquisitions": acquisitions(answers),
        "uncertainty": uncertainty(answers),
        "subgroups": subgroups(answers),
        "robustness": robustness(shipped, answers),
        "prevalence": predictive_values(crossfitted, prevalences=PREVALENCES),
    }


def crossfit(served: Served, measured: dict[str, Any]) -> dict[str, Any]:
    """Return what cross-fitted answers are worth: proportions with Wilson intervals, by films.

    Args:
        served: the cross-fitted answers.
        measured: the same, as `evaluate.measure` returns them: ROC-AUC and ECE have their intervals from there.
    """
    return {
        "n": len(served.labels),
        "patients": len(set(served.patients)),
        "folds": FOLDS,
        **{name: with_ends(measured[name], measured["ci95"][name]) for name in ("roc_auc", "ece")},
        "operating_points": _decided(served),
    }


def acquisitions(answers: Answers) -> list[dict[str, Any]]:
    """Return what cross-fitted answers are worth as the films are and under each acquisition: a row each."""
    return [
        {
            "films": name,
            "roc_auc": round(roc_auc(served.labels, served.log_odds), 6),
            "ece": round(ece(served.labels, served.p_pneumonia), 6),
            "operating_points": _decided(served),
        }
        for name, served in {CLEAN: answers.crossfitted, **answers.acquired}.items()
    ]


def uncertainty(answers: Answers) -> list[dict[str, Any]]:
    """Return what the conformal rule is worth, cross-fitted, as the films are and under each acquisition: a row each.

    Covered are the films of a label whose prediction set has it; uncertain, those whose set is not the decision alone.
    """
    labels = answers.films.labels
    rows = []
    for name, possible in answers.sets.items():
        served = answers.acquired.get(name, answers.crossfitted)
        decided = {point: np.stack([~yes, yes], axis=1) for point, yes in served.decisions.items()}
        rows.append(
            {
                "films": name,
                "covered": {
                    label: dataclasses.asdict(share(possible[labels == index, index]))
                    for index, label in enumerate(LABELS)
                },
                "uncertain": {
                    point: dataclasses.asdict(share((possible != only).any(axis=1))) for point, only in decided.items()
                },
            }
        )
    return rows


def subgroups(answers: Answers) -> dict[str, Any]:
    """Return the cross-fitted sensitivity of each kind of PNEUMONIA film, and specificity of each series of NORMAL."""
    files, served = answers.films.files, answers.crossfitted
    result = {}
    for label, name in sorted({(file.label, file.subgroup) for file in files}, reverse=True):
        inside = np.array([(file.label, file.subgroup) == (label, name) for file in files])
        result[name] = {
            "label": LABELS[label],
            "measure": ("specificity", "sensitivity")[label],
            "films": int(inside.sum()),
            "patients": len({file.patient for file, its in zip(files, inside, strict=True) if its}),
            "operating_points": {
                point: dataclasses.asdict(share(decided[inside] == bool(label)))
                for point, decided in served.decisions.items()
            },
        }
    return result


def robustness(shipped: Shipped, answers: Answers) -> list[dict[str, Any]]:
    """Return what is left when films are changed, at the shipped thresholds: a row a corruption and severity.

    The first row is the films as they are; the last, the fine detail of the classes swapped.
    """
    films, before = answers.films, answers.fitted
    rows = [_robustness_row("none", "", before, before)]
    for name, pair in CORRUPTIONS.items():
        for severity, corruption in zip(SEVERITIES, pair, strict=True):
            after = _served_as(shipped, films, corrupted(films.pixels, corruption))
            rows.append(_robustness_row(name, severity, before, after))
    after = _served_as(shipped, films, with_detail_swapped(films.pixels, films.labels))
    return [*rows, _robustness_row("detail swapped", "", before, after)]


def confounders(films: DecodedFilms) -> dict[str, Any]:
    """Return how far the classes differ in what is not of the lungs: fine detail, and the size of the files.

    An AUC is the larger of the two directions. Detail is in mean absolute grey levels between horizontal neighbours.
    """
    swapped = detail(with_detail_swapped(films.pixels, films.labels))
    plain = detail(films.pixels)
    sizes = np.array([file.path.stat().st_size for file in films.files], dtype=np.float64)
    return {
        "detail": _by_label(plain, films.labels),
        "detail_auc": _either_way(films.labels, plain),
        "detail_swapped": _by_label(swapped, films.labels),
        "file_size_auc": _either_way(films.labels, sizes),
    }


def detail(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return the mean absolute difference between horizontal neighbours of each film (N, 224, 224), in grey levels."""
    return np.array([np.abs(np.diff(film.astype(np.int16))).mean() for film in pixels])


def _by_label(values: Floats, labels: Labels) -> dict[str, float]:
    return {name: round(float(values[labels == label].mean()), 4) for label, name in enumerate(LABELS)}


def _either_way(labels: Labels, values: Floats) -> float:
    area = roc_auc(labels, values)
    return round(max(area, 1.0 - area), 4)


def _served_as(shipped: Shipped, films: DecodedFilms, pixels: npt.NDArray[np.uint8]) -> Served:
    return serve(shipped, replace(films, pixels=pixels))


def _robustness_row(corruption: str, severity: str, before: Served, after: Served) -> dict[str, Any]:
    points = {}
    for name, decided in after.decisions.items():
        both = dataclasses.asdict(rates(after.labels, decided))
        points[name] = {rate: round(both[rate], 6) for rate in ("sensitivity", "specificity")}
    return {
        "corruption": corruption,
        "severity": severity,
        "roc_auc": round(roc_auc(after.labels, after.log_odds), 6),
        "mean_change": round(float(np.abs(after.p_pneumonia - before.p_pneumonia).mean()), 6),
        "operating_points": points,
    }


def _decided(served: Served) -> dict[str, Any]:
    """Return the rates at each operating point."""
    return {name: shares(served.labels, decided) for name, decided in served.decisions.items()}
