from collections.abc import Sequence

import pytest

from bench.agreement import SAME_ENGINE_MEAN_DIFFERENCE, TORCH_MEAN_DIFFERENCE, difference, p_pneumonia
from bench.errors import ContenderError
from handler.contract import Calibration

EXPECTED = [0.1, 0.15, 0.2, 0.45, *[0.99] * 12]
"""The fourth film is a borderline one."""

CALIBRATION = Calibration(temperature=2.0, bias=1.0)


def differs(found: Sequence[float], expected: Sequence[float] = EXPECTED, *, same_engine: bool = True) -> bool:
    tolerance = SAME_ENGINE_MEAN_DIFFERENCE if same_engine else TORCH_MEAN_DIFFERENCE
    return difference(found, expected, threshold=0.5, tolerance=tolerance) is not None


def test_one_borderline_film_drops_no_contender() -> None:
    found = list(EXPECTED)
    found[3] += 0.2
    assert not differs(found)


def test_two_changed_decisions_of_sixteen_drop_a_contender() -> None:
    expected = [*EXPECTED[:2], 0.49, 0.49, *EXPECTED[4:]]
    found = [*EXPECTED[:2], 0.51, 0.51, *EXPECTED[4:]]
    assert differs(found, expected)
    assert not differs(found * 3, [*expected, *found, *found])  # two of 48


@pytest.mark.parametrize(
    "found",
    [[1 - p for p in EXPECTED], [0.99] * 16, [0.5] * 16, EXPECTED[::-1], [p / 2 + 0.25 for p in EXPECTED]],
    ids=["inverted", "constant", "undecided", "reordered", "not calibrated"],
)
def test_wrong_model_drops_a_contender(found: Sequence[float]) -> None:
    assert differs(found)
    assert differs(found, same_engine=False)


def test_eager_torch_may_differ_more() -> None:
    found = [p - 0.04 for p in EXPECTED]
    assert differs(found)
    assert not differs(found, same_engine=False)


def test_calibrated_answer_is_taken_as_it_is() -> None:
    assert p_pneumonia({"p_pneumonia": 0.25}, CALIBRATION) == 0.25


@pytest.mark.parametrize("answer", [{"score": 0.5}, {"NORMAL": 0.5, "PNEUMONIA": 0.5}])
def test_softmax_is_calibrated_as_the_service_does(answer: dict[str, float]) -> None:
    assert p_pneumonia(answer, CALIBRATION) == pytest.approx(0.7310586)


@pytest.mark.parametrize(("score", "p_expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_certain_softmax_stays_finite(score: float, p_expected: float) -> None:
    assert p_pneumonia({"score": score}, CALIBRATION) == pytest.approx(p_expected, abs=0.01)


def test_answer_without_a_probability_is_refused() -> None:
    with pytest.raises(ContenderError, match="without a probability"):
        p_pneumonia({"prediction": "NORMAL"}, CALIBRATION)
