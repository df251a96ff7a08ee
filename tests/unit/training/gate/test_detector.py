import numpy as np
import pytest

from handler.engine import Outputs
from training.gate.detector import MARKED, fit, limited


def statistics(count: int) -> Outputs:
    """Return statistics (count, 8) that differ most in the first of them."""
    spread = np.array([10.0, *[1.0] * 7])
    return np.asarray(np.random.default_rng(0).normal(size=(count, 8)) * spread + 3, dtype=np.float32)


def test_films_that_are_fitted_on_lie_about_one_away() -> None:
    films = statistics(2000)
    distances = fit(films, model_sha256="").distances(films)
    assert np.sqrt((distances**2).mean()) == pytest.approx(1.0, abs=0.01)


def test_film_that_differs_where_others_do_not_is_farther() -> None:
    detector = fit(statistics(2000), model_sha256="")
    usual, unusual = np.full((2, 1, 8), 3.0, dtype=np.float32)
    usual[0, 0] += 5.0
    unusual[0, -1] += 5.0
    assert detector.distances(unusual)[0] > 3 * detector.distances(usual)[0]


def test_statistics_that_never_differ_are_fitted() -> None:
    films = statistics(100)
    films[:, -1] = 0.0
    assert np.isfinite(fit(films, model_sha256="").distances(films)).all()


def test_limits_mark_the_share_of_the_films_held_out_and_call_no_acquired_one_foreign() -> None:
    detector = fit(statistics(2000), model_sha256="")
    held_out = np.linspace(0, 1, 10_000, dtype=np.float32)
    found = limited(detector, held_out, np.array([2.5], dtype=np.float32))
    assert (held_out > found.unlike).mean() == pytest.approx(MARKED, abs=1e-4)
    assert found.foreign == 2.5
    assert limited(detector, held_out, np.array([0.1], dtype=np.float32)).foreign == found.unlike
