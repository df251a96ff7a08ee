import dataclasses

import numpy as np
import pytest

from handler.contract import Calibration, Uncertainty
from handler.screening import Result, decide, prediction_set, probabilities, uncertain
from handler.screening import result as result_of
from tests.models import NOTE, contract


def result(p_pneumonia: float, *warnings: str, name: str = "rule_out") -> Result:
    return result_of(p_pneumonia, contract=contract(), point=contract().operating_point(name), warnings=warnings)


def test_probability_without_bias_is_the_softmax_of_the_scaled_logits() -> None:
    logits = np.array([[0.3, 1.1], [2.0, -1.0]], dtype=np.float32)
    scaled = np.exp(logits.astype(np.float64) / 1.7)
    expected = scaled[:, 1] / scaled.sum(axis=1)
    assert probabilities(logits, Calibration(temperature=1.7, bias=0.0)) == pytest.approx(expected, abs=1e-7)


def test_bias_moves_the_log_odds() -> None:
    p = probabilities(np.array([[0.5, 1.5]], dtype=np.float32), Calibration(temperature=2.0, bias=-1.5))
    assert np.log(p / (1 - p)) == pytest.approx(1.0 / 2.0 - 1.5)


def test_extreme_logits_do_not_overflow() -> None:
    logits = np.array([[-1e30, 1e30], [1e30, -1e30]], dtype=np.float32)
    assert probabilities(logits, Calibration(temperature=0.01, bias=0.0)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("p", "prediction", "served"),
    [
        (0.2, "PNEUMONIA", 0.2),
        (0.19996, "PNEUMONIA", 0.2),  # what is served reaches the threshold
        (0.19994, "NORMAL", 0.1999),
        (0.0, "NORMAL", 0.0),
        (1.0, "PNEUMONIA", 1.0),
    ],
)
def test_decision_follows_the_four_decimals_that_are_served(p: float, prediction: str, served: float) -> None:
    found = result(p)
    assert (found.prediction, found.p_pneumonia) == (prediction, served)
    assert decide(np.array([p]), 0.2).tolist() == [prediction == "PNEUMONIA"]


def test_operating_point_decides() -> None:
    found = [result(0.3, name=point.name).prediction for point in contract().operating_points]
    assert found == ["PNEUMONIA", "NORMAL"]


RULE = Uncertainty(coverage=0.95, pneumonia_from=0.4, normal_to=0.7)


def test_between_the_bounds_a_film_may_have_either_label() -> None:
    p = np.array([0.3999, 0.4, 0.7, 0.7001])
    assert prediction_set(p, RULE).tolist() == [[True, False], [True, True], [True, True], [False, True]]
    crossed = Uncertainty(coverage=0.9, pneumonia_from=0.7, normal_to=0.4)
    assert prediction_set(np.array([0.5]), crossed).tolist() == [[False, False]]


def test_decision_is_uncertain_unless_it_is_the_one_possible_label() -> None:
    p = np.array([0.1, 0.3, 0.5, 0.8])
    assert uncertain(p, 0.2, RULE).tolist() == [False, True, True, False]  # at 0.3, PNEUMONIA is out of the question
    assert uncertain(p, 0.9, RULE).tolist() == [False, False, True, True]


def test_answer_has_the_public_keys_in_order() -> None:
    found = result(0.3)
    assert list(dataclasses.asdict(found)) == ["prediction", "p_pneumonia", "note"]


def test_plain_film_has_the_plain_note() -> None:
    assert result(0.3).note == NOTE


def test_warnings_follow_the_note() -> None:
    assert result(0.3, "Warning: one.", "Warning: two.").note == f"{NOTE} Warning: one. Warning: two."
