import numpy as np
import pytest
from PIL import Image

from training.changes.corruptions import CORRUPTIONS, SEVERITIES, corrupted, with_detail_swapped


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    """Return one film (1, 224, 224) with structure at several scales."""
    coarse = np.random.default_rng(0).integers(40, 200, (56, 56), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC))[None]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strong_changes_more_than_mild_and_both_keep_the_shape(film: np.ndarray, name: str) -> None:
    changes = []
    for corruption in CORRUPTIONS[name]:
        changed = corrupted(film, corruption)
        assert changed.shape == film.shape
        assert changed.dtype == np.uint8
        changes.append(np.abs(changed.astype(float) - film).mean())
    assert len(changes) == len(SEVERITIES)
    assert 0 < changes[0] < changes[1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_film_is_always_changed_alike(film: np.ndarray, name: str) -> None:
    for corruption in CORRUPTIONS[name]:
        assert np.array_equal(corrupted(film, corruption), corrupted(film, corruption))


def detail(films: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference between horizontal neighbours of each film."""
    return np.asarray(np.abs(np.diff(films.astype(np.int16), axis=2)).mean(axis=(1, 2)))


def test_swapping_takes_detail_from_normal_and_gives_it_to_pneumonia(film: np.ndarray) -> None:
    films = np.repeat(film, 4, axis=0)
    labels = np.array([1, 0, 1, 0])
    before, after = detail(films), detail(with_detail_swapped(films, labels))
    assert (after[labels == 0] < before[labels == 0]).all()
    assert (after[labels == 1] > before[labels == 1]).all()
    assert np.array_equal(films, np.repeat(film, 4, axis=0))


def test_films_of_one_class_can_be_swapped(film: np.ndarray) -> None:
    assert with_detail_swapped(film, np.array([0])).shape == film.shape
