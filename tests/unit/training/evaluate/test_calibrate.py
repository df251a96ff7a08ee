from pathlib import Path

import numpy as np
import pytest

from handler.contract import Calibration, ModelContract, OperatingPoint
from handler.screening import decide, probabilities
from training.errors import DataError
from training.evaluate.calibrate import chosen, fit_calibration, kept_version
from training.evaluate.operating_points import (
    SENSITIVITY_LOW,
    balanced_threshold,
    operating_point,
    rule_out_threshold,
)
from training.figures.metrics import Floats, Labels, ece


def evidence(name: str, threshold: float, p: Floats, labels: Labels) -> OperatingPoint:
    return operating_point(name, threshold, decide(p, threshold), labels)


def test_overconfident_and_shifted_logits_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0.0, 2.0, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
    logits = np.stack([np.zeros_like(log_odds), 3.0 * (log_odds - 1.0)], axis=1).astype(np.float32)
    fitted = fit_calibration(logits, labels)
    assert fitted.temperature == pytest.approx(3.0, rel=0.05)
    assert fitted.bias == pytest.approx(1.0, abs=0.1)
    assert ece(labels, probabilities(logits, fitted)) < 0.01


def test_calibration_leaves_the_ranking() -> None:
    logits = np.array([[0, -2], [0, 1], [0, 3]], dtype=np.float32)
    assert (np.diff(probabilities(logits, Calibration(temperature=2.5, bias=-1.0))) > 0).all()


def test_rule_out_misses_only_what_the_interval_allows() -> None:
    positives = np.linspace(0.05, 0.99, 500)
    p = np.concatenate([positives, np.linspace(0.001, 0.04, 200)])
    labels = np.array([1] * 500 + [0] * 200)
    threshold = rule_out_threshold(p, labels)
    point = evidence("rule_out", threshold, p, labels)
    assert point.sensitivity.low >= SENSITIVITY_LOW
    higher = evidence("higher", positives[int((positives < threshold).sum()) + 2], p, labels)
    assert higher.sensitivity.low < SENSITIVITY_LOW


def test_rule_out_needs_enough_films_to_be_shown() -> None:
    with pytest.raises(DataError, match="20 films of PNEUMONIA are too few"):
        rule_out_threshold(np.linspace(0.1, 0.9, 40), np.array([0] * 20 + [1] * 20))


def test_rule_out_for_a_lower_sensitivity_is_higher() -> None:
    p = np.concatenate([np.linspace(0.05, 0.99, 500), np.linspace(0.001, 0.04, 200)])
    labels = np.array([1] * 500 + [0] * 200)
    point = evidence("rule_out", rule_out_threshold(p, labels, low=0.9), p, labels)
    assert 0.9 <= point.sensitivity.low < 0.91


def under_acquisitions(*shifts: float, films: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, A, 2) and labels (N,): each acquisition moves every film's log odds by its shift."""
    rng = np.random.default_rng(0)
    labels = np.arange(films) % 2
    difference = rng.normal(np.where(labels, 4.0, -4.0), 2.0)[:, None] + np.array(shifts)
    return np.stack([np.zeros_like(difference), difference], axis=2).astype(np.float32), labels


def test_rule_out_reaches_its_sensitivity_under_every_acquisition() -> None:
    logits, labels = under_acquisitions(0.0, -2.0, 1.0)
    choice = chosen(logits, labels)
    sensitivities = []
    for one in logits.transpose(1, 0, 2):
        p = probabilities(one, choice.calibration)
        point = evidence("rule_out", choice.thresholds["rule_out"], p, labels)
        assert point.sensitivity.low >= SENSITIVITY_LOW
        sensitivities.append(point.sensitivity.value)
    single = chosen(logits[:, :1], labels)
    p = probabilities(logits[:, 1], single.calibration)
    assert evidence("rule_out", single.thresholds["rule_out"], p, labels).sensitivity.low < SENSITIVITY_LOW
    assert sensitivities[1] == min(sensitivities)


def test_calibration_is_of_all_acquisitions_together() -> None:
    logits, labels = under_acquisitions(0.0, 3.0)
    both, first = chosen(logits, labels).calibration, chosen(logits[:, :1], labels).calibration
    assert both.bias < first.bias - 0.3


def test_targets_inside_0_and_1_keep_separable_films_uncertain() -> None:
    logits = np.array([[0, -4], [0, -3], [0, 3], [0, 4]], dtype=np.float32)
    p = probabilities(logits, fit_calibration(logits, np.array([0.25, 0.25, 0.75, 0.75])))
    assert p == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.1)


def test_balanced_lies_between_classes_that_are_apart() -> None:
    p = np.array([0.01, 0.02, 0.10, 0.90, 0.95, 0.99])
    threshold = balanced_threshold(p, np.array([0, 0, 0, 1, 1, 1]))
    assert threshold == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.00001], [0.99999, 1.0]])
def test_threshold_of_saturated_probabilities_stays_inside_0_and_1(values: list[float]) -> None:
    assert 0.0 < balanced_threshold(np.array(values), np.array([0, 1])) < 1.0


def test_version_is_kept_unless_another_is_named(store: Path) -> None:
    kept = ModelContract.load(store / "contract.json").model_version
    assert kept_version(store / "contract.json") == kept
    assert kept_version(store / "none.json") == "1.0.0"
