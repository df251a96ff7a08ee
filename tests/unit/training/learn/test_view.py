import random

import pytest
import torch

from training.learn.view import RandomFraming, RandomView


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)


def ramp() -> torch.Tensor:
    """Return a film (1, 224, 224) that brightens to the right."""
    return torch.arange(224, dtype=torch.uint8).expand(1, 224, 224).contiguous()


def view(*, inwards: float = 0.0, outwards: float = 0.0, degrees: float = 0.0, shear: float = 0.0) -> RandomView:
    return RandomView(inwards=inwards, outwards=outwards, degrees=degrees, shear=shear, framed=1.0)


def test_frame_that_moves_outwards_shows_black() -> None:
    white = torch.full((1, 224, 224), 255, dtype=torch.uint8)
    shown = [RandomFraming(0.2)(white) for _ in range(20)]
    assert any((one == 0).any() for one in shown)
    assert all((one[:, 100:124, 100:124] == 255).all() for one in shown)


def test_view_without_limits_is_the_film_or_its_mirror_image() -> None:
    film = ramp()
    seen = [view()(film) for _ in range(20)]
    assert any(torch.equal(one, film) for one in seen)
    assert any(torch.equal(one, film.flip(2)) for one in seen)
    assert all(torch.equal(one, film) or torch.equal(one, film.flip(2)) for one in seen)


def test_each_side_moves_inwards_on_its_own_and_no_further_than_its_limit() -> None:
    sides = [
        sorted((int(one[0, 112, 0]), int(one[0, 112, -1]))) for one in (view(inwards=0.25)(ramp()) for _ in range(60))
    ]
    assert all(low <= 57 and high >= 166 for low, high in sides)
    assert max(low for low, _ in sides) > 40
    assert min(high for _, high in sides) < 183
    assert any(low < 15 and high < 190 for low, high in sides)


def test_outside_is_even_or_repeats_the_edge() -> None:
    film = torch.full((1, 224, 224), 90, dtype=torch.uint8)
    seen = [view(outwards=0.08, degrees=10)(film) for _ in range(40)]
    assert any((one == 90).all() for one in seen)
    assert any((one == 0).any() for one in seen)
    assert all((one[:, 60:164, 60:164] == 90).all() for one in seen)


def test_turned_and_sheared_film_keeps_its_middle() -> None:
    film = torch.zeros((1, 224, 224), dtype=torch.uint8)
    film[:, 102:122, 102:122] = 255
    assert all(view(degrees=10, shear=6)(film)[0, 112, 112] == 255 for _ in range(20))
