from functools import partial

import numpy as np
import pytest

from handler.contract import Calibration, Uncertainty
from tests.unit.training.labelled import labelled
from training.data.films import DecodedFilms
from training.evaluate.calibrate import Choice
from training.evaluate.cross_fit import PREVALENCES, cross_fit, predictive_values
from training.figures.metrics import Labels, Logits
from training.site.recommend import choose


def drawn(count: int, *, bias: float = 0.0, seed: int = 0) -> tuple[DecodedFilms, Logits]:
    """Return films, two a patient, and logits that are calibrated but for a bias."""
    rng = np.random.default_rng(seed)
    log_odds = np.repeat(rng.normal(0.0, 2.5, count // 2), 2) + rng.normal(0.0, 0.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-log_odds))).astype(int).tolist()
    logits = np.stack([np.zeros(count), log_odds + bias], axis=1).astype(np.float32)
    return labelled(labels, [f"patient{index // 2}" for index in range(count)]), logits


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
        rule = Uncertainty(coverage=0.95, pneumonia_from=0.0, normal_to=1.0)
        return Choice(calibration=fixed, thresholds={"rule_out": 0.5}, uncertainty=rule)

    p = cross_fit(site, logits, chooser=remembered, folds=5).p_pneumonia
    judge = np.round(np.log(p / (1 - p))).astype(int) - 1
    assert set(judge.tolist()) == set(range(5))
    assert not any(file.patient in seen[by] for file, by in zip(site.files, judge.tolist(), strict=True))


def test_cross_fitting_is_repeatable() -> None:
    site, logits = drawn(120)
    first, second = (cross_fit(site, logits, chooser=partial(choose, sensitivity=0.9), folds=5) for _ in range(2))
    assert np.array_equal(first.p_pneumonia, second.p_pneumonia)


def test_predictive_values_follow_bayes() -> None:
    point = {"sensitivity": 0.9, "specificity": 0.8}
    ends = {"sensitivity": [0.85, 1.0], "specificity": [0.7, 1.0]}
    result = {"operating_points": {"rule_out": point}, "ci95": {"operating_points": {"rule_out": ends}}}
    rows = predictive_values(result)["rule_out"]
    assert [row["prevalence"] for row in rows] == list(PREVALENCES)
    at_10 = next(row for row in rows if row["prevalence"] == 0.1)
    assert at_10["ppv"] == pytest.approx(0.09 / (0.09 + 0.18), abs=1e-6)
    assert at_10["npv"] == pytest.approx(0.72 / (0.72 + 0.01), abs=1e-6)
    assert at_10["ci95"]["ppv"] == pytest.approx([0.085 / (0.085 + 0.27), 1.0], abs=1e-6)
    assert all(row["ci95"][key][0] <= row[key] <= row["ci95"][key][1] for row in rows for key in ("ppv", "npv"))


def test_predictive_value_of_an_answer_that_is_never_given_is_zero() -> None:
    point = {"sensitivity": 0.0, "specificity": 1.0}
    ends = {"sensitivity": [0.0, 0.1], "specificity": [0.9, 1.0]}
    result = {"operating_points": {"none": point}, "ci95": {"operating_points": {"none": ends}}}
    assert all(row["ppv"] == 0.0 for row in predictive_values(result)["none"])
