import numpy as np
import pytest
from PIL import Image

from training.corruptions import CORRUPTIONS, SEVERITIES, corrupted


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
