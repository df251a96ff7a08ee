import dataclasses

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from training.figures.metrics import Floats, Labels, bootstrap_ci, ece, log_loss, rates, roc_auc, wilson


@pytest.fixture
def labels() -> Labels:
    return (np.random.default_rng(0).random(400) < 0.6).astype(np.int64)


@pytest.fixture
def p(labels: Labels) -> Floats:
    """Probabilities of two decimals, so that many are tied."""
    noise = np.random.default_rng(1).normal(size=len(labels))
    return np.round(1 / (1 + np.exp(-(2.0 * labels - 1.0 + noise))), 2)


@pytest.fixture
def weights(labels: Labels) -> Floats:
    return np.random.default_rng(2).integers(0, 4, size=len(labels)).astype(np.float64)


def test_rates_agree_with_scikit_learn(labels: Labels, p: Floats, weights: Floats) -> None:
    decisions = p >= 0.4
    for given in (None, weights):
        result = rates(labels, decisions, given)
        assert result.sensitivity == pytest.approx(recall_score(labels, decisions, sample_weight=given))
        assert result.specificity == pytest.approx(recall_score(labels, decisions, pos_label=0, sample_weight=given))
        assert result.precision == pytest.approx(precision_score(labels, decisions, sample_weight=given))
        assert result.f1 == pytest.approx(f1_score(labels, decisions, sample_weight=given))
        assert result.accuracy == pytest.approx(np.average(labels == decisions, weights=given))


def test_precision_is_zero_where_nothing_is_called() -> None:
    result = rates(np.array([0, 1]), np.array([False, False]))
    assert dataclasses.astuple(result) == (0.0, 1.0, 0.0, 0.0, 0.5)


def test_rates_of_an_absent_class_are_nan() -> None:
    assert np.isnan(rates(np.array([0, 0]), np.array([True, False])).sensitivity)
    assert np.isnan(rates(np.array([1, 1]), np.array([True, False])).specificity)


def test_roc_auc_agrees_with_scikit_learn(labels: Labels, p: Floats, weights: Floats) -> None:
    assert roc_auc(labels, p) == pytest.approx(roc_auc_score(labels, p))
    assert roc_auc(labels, p, weights) == pytest.approx(roc_auc_score(labels, p, sample_weight=weights))


def test_roc_auc_of_ties_alone_is_a_half() -> None:
    assert roc_auc(np.array([0, 1, 1]), np.array([0.3, 0.3, 0.3])) == 0.5


def test_roc_auc_of_one_class_is_nan() -> None:
    assert np.isnan(roc_auc(np.array([1, 1]), np.array([0.2, 0.3])))


def test_log_loss_agrees_with_scikit_learn(labels: Labels, p: Floats, weights: Floats) -> None:
    inside = np.clip(p, 0.01, 0.99)
    assert log_loss(labels, inside) == pytest.approx(sklearn.metrics.log_loss(labels, inside))
    assert log_loss(labels, inside, weights) == pytest.approx(
        sklearn.metrics.log_loss(labels, inside, sample_weight=weights)
    )


def test_log_loss_of_a_wrong_certainty_is_finite() -> None:
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(0.00005))
    assert log_loss(np.array([1]), np.array([1.0])) == 0.0


def test_ece_is_the_weighted_gap_of_the_bins() -> None:
    labels = np.array([0, 1, 1, 1])
    p = np.array([0.1, 0.1, 0.9, 1.0])  # two bins: |0.1 - 0.5| and |0.95 - 1|
    assert ece(labels, p, bins=2) == pytest.approx(0.5 * 0.4 + 0.5 * 0.05)


def test_ece_of_certain_and_right_answers_is_zero() -> None:
    assert ece(np.array([0, 1]), np.array([0.0, 1.0])) == 0.0


def test_ece_counts_a_film_as_often_as_it_is_drawn(labels: Labels, p: Floats, weights: Floats) -> None:
    times = weights.astype(np.int64)
    assert ece(labels, p, weights) == pytest.approx(ece(np.repeat(labels, times), np.repeat(p, times)))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 20), (389, 390)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    low, high = wilson(successes, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0.0 <= low <= successes / n <= high <= 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=rf"got {successes} of {n}"):
        wilson(successes, n)


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(size=400)
    patients = [str(i) for i in range(400)]
    ((low, high),) = bootstrap_ci(lambda w: np.array([np.average(values, weights=w)]), patients)
    standard_error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.02)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.02)


def test_films_of_one_patient_count_as_one() -> None:
    values = np.repeat(np.random.default_rng(3).normal(size=40), 10)

    def width(patients: list[str]) -> float:
        ((low, high),) = bootstrap_ci(lambda w: np.array([np.average(values, weights=w)]), patients)
        return float(high - low)

    by_film, by_patient = width([str(i) for i in range(400)]), width([str(i // 10) for i in range(400)])
    assert by_patient == pytest.approx(np.sqrt(10) * by_film, rel=0.15)


def test_bootstrap_is_the_same_for_the_same_seed(labels: Labels, p: Floats) -> None:
    patients = [str(i) for i in range(len(labels))]

    def interval(seed: int) -> list[list[float]]:
        limits = bootstrap_ci(lambda w: np.array([roc_auc(labels, p, w)]), patients, rounds=50, seed=seed)
        return limits.tolist()  # type: ignore[no-any-return]

    assert interval(1) == interval(1) != interval(2)


def test_resamples_of_one_class_are_left_out() -> None:
    labels, p = np.array([0, 1]), np.array([0.2, 0.7])
    ((low, high),) = bootstrap_ci(lambda w: np.array([roc_auc(labels, p, w)]), ["a", "b"], rounds=100)
    assert (low, high) == (1.0, 1.0)


def test_measure_that_is_never_defined_has_no_interval() -> None:
    assert np.isnan(bootstrap_ci(lambda _: np.array([np.nan]), ["a", "b"], rounds=10)).all()
