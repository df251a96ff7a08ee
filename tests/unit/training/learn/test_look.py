import random

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.learn.look import OtherLook, OtherMarks, OtherShading


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)


def noise(low: int, high: int, *, count: int = 1, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return films (N, 64, 64) of levels from `low` to `high`."""
    return np.random.default_rng(seed).integers(low, high, (count, 64, 64), dtype=np.uint8)


def tensor(film: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(film).unsqueeze(0)


def test_levels_move_between_those_of_the_film_and_of_the_other() -> None:
    dark, bright = noise(0, 100), noise(150, 250)
    looks = [OtherLook(bright)(tensor(dark[0])) for _ in range(40)]
    means = [look.float().mean().item() for look in looks]
    assert min(means) < 70
    assert max(means) > 180
    assert all(dark.mean() - 1 <= mean <= bright.mean() + 1 for mean in means)


def test_look_keeps_the_order_of_levels() -> None:
    film = np.arange(256, dtype=np.uint8).reshape(16, 16)
    changed = OtherLook(noise(0, 256, count=3))(tensor(film)).flatten().int()
    assert (changed.diff() >= 0).all()


def test_own_look_leaves_the_film_as_it_is() -> None:
    film = noise(20, 220)
    changed = OtherLook(film)(tensor(film[0]))
    assert (changed.int() - tensor(film[0]).int()).abs().max() <= 1


def test_shading_changes_the_mean_but_not_the_detail() -> None:
    dark, bright = noise(0, 100), noise(100, 200, seed=1)
    changed = [OtherShading(bright, waves=2)(tensor(dark[0]))[0].numpy() for _ in range(20)]
    assert max(one.mean() for one in changed) > 100
    unclipped = max(changed, key=lambda one: float(one.min()))
    detail = [np.diff(film.astype(float), axis=1).ravel() for film in (dark[0], unclipped)]
    assert np.corrcoef(detail)[0, 1] > 0.95


def test_marks_come_from_the_other_film_and_only_at_the_border() -> None:
    black, white = np.zeros((1, 64, 64), dtype=np.uint8), np.full((1, 64, 64), 255, dtype=np.uint8)
    marked = [OtherMarks(white, corner=0.3, edge=0.1, corners=0.5, edges=0.25)(tensor(black[0])) for _ in range(40)]
    assert all((one[:, 20:44, 20:44] == 0).all() for one in marked)
    seen = torch.stack(marked).amax(dim=0)[0]
    assert all(seen[row, column] == 255 for row in (0, -1) for column in (0, -1))
    assert not black.any()


def test_mixing_leaves_its_argument_and_the_others_as_they_are() -> None:
    others = noise(0, 256, count=4)
    film = tensor(noise(0, 256, seed=2)[0])
    before, kept = film.clone(), others.copy()
    for mix in (
        OtherLook(others),
        OtherShading(others, waves=4),
        OtherMarks(others, corner=0.3, edge=0.1, corners=0.5, edges=0.25),
    ):
        changed = mix(film)
        assert changed.shape == film.shape
        assert changed.dtype == torch.uint8
    assert torch.equal(film, before)
    np.testing.assert_array_equal(others, kept)
