import numpy as np
import pytest

from handler.exposure import Window, find_window, stretch
from tests.films import grey

FILM = np.asarray(grey(224, 224))
PLAIN = stretch(FILM, find_window(FILM))


def stretched(film: np.ndarray) -> np.ndarray:
    return stretch(film, find_window(film))


def test_bulk_of_a_film_fills_all_levels() -> None:
    assert np.percentile(PLAIN, (1, 99)) == pytest.approx((0, 255), abs=2)
    assert PLAIN.dtype == np.uint8


@pytest.mark.parametrize("gain", [0.5, 1.7, 16.0, 257.0])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_film_of_any_brightness_and_depth_becomes_the_same(gain: float, offset: float) -> None:
    deep = (FILM * gain + offset).astype(np.float32)
    assert np.abs(stretched(deep).astype(int) - PLAIN).max() <= 1


def test_film_of_eight_bits_at_half_its_brightness_becomes_the_same() -> None:
    assert np.abs(stretched(FILM // 2).astype(int) - PLAIN).mean() < 1.5


@pytest.mark.parametrize("share", [0.0001, 0.005, 0.03])
@pytest.mark.parametrize("level", [4096.0, 65535.0])
def test_stray_pixels_and_letters_leave_the_film_readable(share: float, level: float) -> None:
    film = FILM.astype(np.float32) * 16
    letters = np.random.default_rng(0).random(film.shape) < share
    film[letters] = level
    changed = np.abs(stretched(film).astype(int) - PLAIN)[~letters]
    assert changed.mean() < (6 if share < 0.01 else 50)


def test_negative_is_stretched_to_the_negative() -> None:
    assert np.abs(stretched(255 - FILM).astype(int) - (255 - PLAIN)).max() <= 2


def test_film_of_one_level_does_not_fail() -> None:
    flat = np.full((224, 224), 7, dtype=np.uint8)
    assert find_window(flat) == Window(low=7.0, high=7.0)
    assert len(np.unique(stretched(flat))) == 1


def test_most_of_one_level_keeps_what_little_differs() -> None:
    film = np.zeros((224, 224), dtype=np.uint8)
    film[:5] = 200
    assert find_window(film) == Window(low=0.0, high=200.0)


def test_window_is_in_the_films_levels() -> None:
    assert stretch(np.array([[10, 60, 110]], dtype=np.uint8), Window(low=10, high=110)).tolist() == [[0, 128, 255]]
