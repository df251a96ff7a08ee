from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from training.changes.counterfactuals import (
    CLOSE,
    CONTROLS,
    COUNTERFACTUALS,
    close,
    histogram,
    marks,
    normal_close,
    of_other_class,
    of_same_class,
    served,
    shading,
)

Pixels = npt.NDArray[np.uint8]
LABELS = np.array([0, 0, 0, 1, 1, 1])


def films() -> Pixels:
    """Return six smooth films, PNEUMONIA brighter."""
    noise = np.random.default_rng(0).normal(size=(6, 224, 224))
    smooth = ndimage.gaussian_filter(noise, (0, 6, 6))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    pixels: Pixels = np.rint(smooth * 120 + 110 * LABELS[:, None, None]).astype(np.uint8)
    return pixels


def flat() -> Pixels:
    return np.broadcast_to((40 + 150 * LABELS[:, None, None]), (6, 224, 224)).astype(np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", COUNTERFACTUALS)
def test_films_stay_films_and_the_given_ones_as_they_were(name: str) -> None:
    given = films()
    changed = COUNTERFACTUALS[name](given, LABELS, rng())
    assert changed.shape == given.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(given, films())


@pytest.mark.parametrize("name", COUNTERFACTUALS)
def test_the_same_seed_gives_the_same_films(name: str) -> None:
    once, again = (COUNTERFACTUALS[name](films(), LABELS, rng()) for _ in range(2))
    assert np.array_equal(once, again)


def test_every_control_belongs_to_a_counterfactual() -> None:
    assert set(CONTROLS) <= set(COUNTERFACTUALS)


def test_partners_are_of_the_other_class() -> None:
    assert (LABELS[of_other_class(LABELS, rng())] == 1 - LABELS).all()


def test_partners_of_a_control_are_of_the_same_class() -> None:
    assert (LABELS[of_same_class(LABELS, rng())] == LABELS).all()


def test_films_of_one_class_are_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        marks(films(), np.zeros(6, np.int64), rng())


def test_close_framing_leaves_nothing_of_the_edges() -> None:
    given = np.full((6, 224, 224), 100, np.uint8)
    edge = int(CLOSE[0] * 224) - 3  # the cubic kernel reaches over three pixels
    given[:, :edge] = given[:, -edge:] = given[:, :, :edge] = given[:, :, -edge:] = 255
    assert (close(given, LABELS, rng()) == 100).all()


def test_close_framing_of_normal_leaves_pneumonia_alone() -> None:
    changed = normal_close(films(), LABELS, rng())
    assert np.array_equal(changed[3:], films()[3:])
    assert not np.array_equal(changed[:3], films()[:3])


def test_marks_are_the_other_class_at_the_edges_and_the_films_own_in_the_middle() -> None:
    changed = marks(flat(), LABELS, rng())
    middle = slice(70, 154)
    assert (changed[:3, 0] == 190).all()
    assert (changed[3:, :, -1] == 40).all()
    assert np.array_equal(changed[:, middle, middle], flat()[:, middle, middle])


def test_histograms_change_places_and_order_stays() -> None:
    changed = histogram(films(), LABELS, rng()).astype(float)
    assert changed[:3].mean() == pytest.approx(films()[3:].mean(), abs=12)
    assert changed[3:].mean() == pytest.approx(films()[:3].mean(), abs=12)
    assert np.corrcoef(changed[0].ravel(), films()[0].ravel())[0, 1] > 0.98


def test_shading_takes_the_mean_level_of_the_other_class() -> None:
    changed = shading(films(), LABELS, rng()).astype(float)
    assert changed[:3].mean() == pytest.approx(films()[3:].mean(), abs=5)


def test_shading_keeps_the_detail() -> None:
    def fine(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        levels = pixels.astype(float)
        smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(levels, (0, 8, 8))
        return levels - smooth

    changed, given = fine(shading(films(), LABELS, rng())), fine(films())
    assert np.corrcoef(changed.ravel(), given.ravel())[0, 1] > 0.9


def test_framing_leaves_films_in_which_no_chest_is_found() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6, 224, 224), dtype=np.uint8)
    assert np.array_equal(COUNTERFACTUALS["framing of the other class"](noise, LABELS, rng()), noise)


def test_served_films_span_all_levels() -> None:
    result = served(films())
    assert (result.min(axis=(1, 2)) == 0).all()
    assert (result.max(axis=(1, 2)) == 255).all()
