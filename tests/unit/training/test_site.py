from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from handler.contract import Calibration
from handler.imaging import Facts
from handler.screening import probabilities
from tests.models import contract
from training.calibrate import Choice, Logits
from training.errors import DataError
from training.evaluate import Served
from training.films import DecodedFilms, FilmFile
from training.metrics import Labels, wilson
from training.site import (
    PREVALENCES,
    auc_at_least,
    choose,
    cross_fit,
    films_needed,
    folds_for,
    log_losses,
    predictive_values,
    recommend,
    sensitive_threshold,
)

FACTS = Facts(kind="PNG", width_px=224, height_px=224, colour=0.0, contrast=50.0)


def films(labels: list[int], patients: list[str]) -> DecodedFilms:
    files = tuple(
        FilmFile(path=Path(f"{index}.png"), label=label, patient=patient, subgroup="unknown")
        for index, (label, patient) in enumerate(zip(labels, patients, strict=True))
    )
    return DecodedFilms(
        files=files,
        pixels=np.zeros((len(files), 1, 1), np.uint8),
        labels=np.array(labels),
        facts=(FACTS,) * len(files),
        digests=tuple(str(index) for index in range(len(files))),
        skipped=(),
    )


def drawn(count: int, *, bias: float = 0.0, seed: int = 0) -> tuple[DecodedFilms, Logits]:
    """Return films, two a patient, and logits that are calibrated but for a bias."""
    rng = np.random.default_rng(seed)
    log_odds = np.repeat(rng.normal(0.0, 2.5, count // 2), 2) + rng.normal(0.0, 0.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-log_odds))).astype(int).tolist()
    logits = np.stack([np.zeros(count), log_odds + bias], axis=1).astype(np.float32)
    return films(labels, [f"patient{index // 2}" for index in range(count)]), logits


@pytest.mark.parametrize(("sensitivity", "needed"), [(0.5, 4), (0.9, 35), (0.95, 73), (0.99, 381)])
def test_films_needed_are_the_fewest_that_show_it(sensitivity: float, needed: int) -> None:
    assert films_needed(sensitivity) == needed
    assert wilson(needed, needed)[0] >= sensitivity > wilson(needed - 1, needed - 1)[0]


def test_recommended_threshold_is_the_highest_that_is_shown() -> None:
    p = np.linspace(0.01, 0.99, 400)
    site = films([1] * 300 + [0] * 100, [str(index) for index in range(400)])
    found = recommend(p, site, sensitivity=0.95)
    assert found.holds
    missed = int((p[:300] < found.threshold).sum())
    assert wilson(300 - missed, 300)[0] >= 0.95 > wilson(300 - missed - 1, 300)[0]
    assert (found.films, found.patients, found.needed) == (300, 300, 73)


def test_too_few_films_show_what_they_can_and_nothing_is_recommended() -> None:
    site = films([1] * 20 + [0] * 20, ["a"] * 20 + ["b"] * 20)
    found = recommend(np.linspace(0.9, 0.1, 40), site, sensitivity=0.95)
    assert not found.holds
    assert found.sensitivity.low == pytest.approx(wilson(20, 20)[0], abs=1e-6)
    assert 0.49 < found.threshold < 0.51  # between the classes: none is missed
    assert found.patients == 1


def test_films_that_are_served_as_zero_cannot_be_caught() -> None:
    site = films([1] * 100 + [0] * 100, [str(index) for index in range(200)])
    assert not recommend(np.full(200, 0.00001), site, sensitivity=0.95).holds


def test_threshold_keeps_its_confidence_on_films_to_come() -> None:
    """The sensitivity at the threshold is wanted or more in about 97.5 % of sites: one side of a 95 % interval."""
    rng = np.random.default_rng(0)
    labels = np.ones(150, dtype=np.int64)
    thresholds = [sensitive_threshold(rng.uniform(0.1, 0.9, 150), labels, sensitivity=0.9) for _ in range(400)]
    true_sensitivities = (0.9 - np.array(thresholds)) / 0.8
    assert 0.95 <= (true_sensitivities >= 0.9).mean() <= 1.0


def test_separable_films_are_not_served_certainties() -> None:
    logits = np.array([[0, -5], [0, -4], [0, 4], [0, 5]] * 5, dtype=np.float32)
    labels = np.array([0, 0, 1, 1] * 5)
    p = probabilities(logits, choose(logits, labels, sensitivity=0.95).calibration)
    assert p.min() > 0.01
    assert p.max() < 0.99


def test_cross_fitting_removes_a_shift_and_judges_every_film() -> None:
    site, logits = drawn(600, bias=3.0)
    served = cross_fit(site, logits, chooser=partial(choose, sensitivity=0.95), folds=5)
    assert abs(served.p_pneumonia.mean() - site.labels.mean()) < 0.02
    assert served.decisions["rule_out"][site.labels == 1].mean() > 0.93
    assert list(served.decisions) == ["rule_out", "balanced"]


def test_no_film_is_judged_by_a_choice_made_with_its_patient() -> None:
    site, logits = drawn(120)
    owner = dict(zip(logits[:, 1].tolist(), (file.patient for file in site.files), strict=True))
    seen: list[set[str]] = []

    def remembered(chosen_on: Logits, _: Labels) -> Choice:
        seen.append({owner[logit] for logit in chosen_on[:, 1].tolist()})
        fixed = Calibration(temperature=1e6, bias=float(len(seen)))  # so that p tells which choice judged a film
        return Choice(calibration=fixed, thresholds={"rule_out": 0.5})

    p = cross_fit(site, logits, chooser=remembered, folds=5).p_pneumonia
    judge = np.round(np.log(p / (1 - p))).astype(int) - 1
    assert set(judge.tolist()) == set(range(5))
    assert not any(file.patient in seen[by] for file, by in zip(site.files, judge.tolist(), strict=True))


def test_cross_fitting_is_repeatable() -> None:
    site, logits = drawn(120)
    first, second = (cross_fit(site, logits, chooser=partial(choose, sensitivity=0.9), folds=5) for _ in range(2))
    assert np.array_equal(first.p_pneumonia, second.p_pneumonia)


def test_folds_follow_the_patients_of_the_rarer_class() -> None:
    assert folds_for(films([0, 0, 0, 1, 1, 1, 1], ["a", "b", "b", "c", "d", "e", "f"])) == 2
    assert folds_for(films([0, 1] * 9, [str(index) for index in range(18)])) == 5


def test_one_patient_of_a_class_is_refused() -> None:
    with pytest.raises(DataError, match="PNEUMONIA has one"):
        folds_for(films([0, 0, 1, 1], ["a", "b", "c", "c"]))


def served(labels: list[int], p: list[float]) -> Served:
    probability = np.array(p)
    return Served(
        labels=np.array(labels),
        log_odds=logit(probability),
        decisions={"rule_out": probability >= 0.2},
        patients=tuple(str(index) for index in range(len(p))),
    )


def test_decrease_of_log_loss_is_paired() -> None:
    labels = [0, 1] * 20
    told = log_losses(served(labels, [0.4, 0.6] * 20), served(labels, [0.1, 0.9] * 20))
    assert told["before"] == pytest.approx(-np.log(0.6), abs=1e-6)
    assert told["decrease"] == pytest.approx(told["before"] - told["after"], abs=1e-6)
    low, high = told["ci95"]["decrease"]
    assert low == pytest.approx(high)  # every film gains the same


def test_predictive_values_follow_bayes() -> None:
    point = {"sensitivity": 0.9, "specificity": 0.8}
    ends = {"sensitivity": [0.85, 1.0], "specificity": [0.7, 1.0]}
    told = {"operating_points": {"rule_out": point}, "ci95": {"operating_points": {"rule_out": ends}}}
    rows = predictive_values(told)["rule_out"]
    assert [row["prevalence"] for row in rows] == list(PREVALENCES)
    at_10 = next(row for row in rows if row["prevalence"] == 0.1)
    assert at_10["ppv"] == pytest.approx(0.09 / (0.09 + 0.18), abs=1e-6)
    assert at_10["npv"] == pytest.approx(0.72 / (0.72 + 0.01), abs=1e-6)
    assert at_10["ci95"]["ppv"] == pytest.approx([0.085 / (0.085 + 0.27), 1.0], abs=1e-6)
    assert all(row["ci95"][key][0] <= row[key] <= row["ci95"][key][1] for row in rows for key in ("ppv", "npv"))


def test_predictive_value_of_an_answer_that_is_never_given_is_zero() -> None:
    point = {"sensitivity": 0.0, "specificity": 1.0}
    ends = {"sensitivity": [0.0, 0.1], "specificity": [0.9, 1.0]}
    told = {"operating_points": {"none": point}, "ci95": {"operating_points": {"none": ends}}}
    assert all(row["ppv"] == 0.0 for row in predictive_values(told)["none"])


def test_auc_is_at_least_that_of_the_steps() -> None:
    # Both points of this contract have a sensitivity and a specificity of 0.9.
    assert auc_at_least(contract()) == pytest.approx(0.9 * 0.9)
