import numpy as np
import pytest
from scipy.special import logit

from handler.screening import probabilities
from tests.models import contract
from tests.unit.training.labelled import labelled
from training.evaluate.evaluate import Served
from training.figures.metrics import wilson
from training.site.recommend import auc_at_least, choose, films_needed, log_losses, recommend, sensitive_threshold


@pytest.mark.parametrize(("sensitivity", "needed"), [(0.5, 4), (0.9, 35), (0.95, 73), (0.99, 381)])
def test_films_needed_are_the_fewest_that_show_it(sensitivity: float, needed: int) -> None:
    assert films_needed(sensitivity) == needed
    assert wilson(needed, needed)[0] >= sensitivity > wilson(needed - 1, needed - 1)[0]


def test_recommended_threshold_is_the_highest_that_is_shown() -> None:
    p = np.linspace(0.01, 0.99, 400)
    site = labelled([1] * 300 + [0] * 100, [str(index) for index in range(400)])
    found = recommend(p, site, sensitivity=0.95)
    assert found.holds
    missed = int((p[:300] < found.threshold).sum())
    assert wilson(300 - missed, 300)[0] >= 0.95 > wilson(300 - missed - 1, 300)[0]
    assert (found.films, found.patients, found.needed) == (300, 300, 73)


def test_too_few_films_show_what_they_can_and_nothing_is_recommended() -> None:
    site = labelled([1] * 20 + [0] * 20, ["a"] * 20 + ["b"] * 20)
    found = recommend(np.linspace(0.9, 0.1, 40), site, sensitivity=0.95)
    assert not found.holds
    assert found.sensitivity.low == pytest.approx(wilson(20, 20)[0], abs=1e-6)
    assert 0.49 < found.threshold < 0.51  # between the classes: none is missed
    assert found.patients == 1


def test_films_that_are_served_as_zero_cannot_be_caught() -> None:
    site = labelled([1] * 100 + [0] * 100, [str(index) for index in range(200)])
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
    result = log_losses(served(labels, [0.4, 0.6] * 20), served(labels, [0.1, 0.9] * 20))
    assert result["before"] == pytest.approx(-np.log(0.6), abs=1e-6)
    assert result["decrease"] == pytest.approx(result["before"] - result["after"], abs=1e-6)
    low, high = result["ci95"]["decrease"]
    assert low == pytest.approx(high)  # every film gains the same


def test_auc_is_at_least_that_of_the_steps() -> None:
    # Both points of this contract have a sensitivity and a specificity of 0.9.
    assert auc_at_least(contract()) == pytest.approx(0.9 * 0.9)
