import numpy as np
import pytest

from handler.screening import prediction_set
from training.evaluate.uncertainty import conformal
from training.figures.metrics import Floats, Labels


def drawn(rng: np.random.Generator, films: int, *shifts: float) -> tuple[Floats, Labels]:
    """Return p (A, N) and labels (N,): each acquisition moves every film's log odds by its shift."""
    labels = np.arange(films) % 2
    odds = rng.normal(np.where(labels, 2.0, -2.0), 1.5) + np.array(shifts)[:, None]
    return 1 / (1 + np.exp(-odds)), labels


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_films_drawn_alike_are_covered(coverage: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        rule = conformal(*drawn(rng, 200, 0.0), coverage=coverage)
        p, labels = drawn(rng, 400, 0.0)
        sets = prediction_set(p[0], rule)
        covered.append([sets[labels == label, label].mean() for label in (0, 1)])
    for found in np.mean(covered, axis=0):
        assert coverage - 0.005 < found < coverage + 0.02


def test_most_cautious_acquisition_sets_the_bounds() -> None:
    p, labels = drawn(np.random.default_rng(0), 400, 0.0, -1.0, 1.0)
    each = [conformal(one[None], labels) for one in p]
    together = conformal(p, labels)
    assert together.pneumonia_from == min(one.pneumonia_from for one in each) == each[1].pneumonia_from
    assert together.normal_to == max(one.normal_to for one in each) == each[2].normal_to


def test_too_few_films_leave_every_label_possible() -> None:
    p, labels = drawn(np.random.default_rng(0), 20, 0.0)
    rule = conformal(p, labels)
    assert (rule.pneumonia_from, rule.normal_to) == (0.0, 1.0)
