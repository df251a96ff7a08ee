import random

import pytest
import torch

from training.augment import (
    RandomDetail,
    RandomFraming,
    RandomGamma,
    RandomJpeg,
    RandomLetters,
    RandomNoise,
    RandomResampling,
    Transform,
    augmentation,
)


@pytest.fixture
def film() -> torch.Tensor:
    """A smooth film (1, 224, 224), uint8."""
    ramp = torch.linspace(0, 255, 224)
    return ((ramp[:, None] + ramp[None, :]) / 2).to(torch.uint8).unsqueeze(0)


def test_none_leaves_the_film_as_it_is(film: torch.Tensor) -> None:
    assert torch.equal(augmentation("none")(film), film)


@pytest.mark.parametrize("strength", ["light", "strong", "processing", "acquisition"])
def test_augmented_film_keeps_shape_and_type_and_varies(film: torch.Tensor, strength: str) -> None:
    torch.manual_seed(0)
    random.seed(0)
    transform = augmentation(strength)  # type: ignore[arg-type]
    changed = [transform(film) for _ in range(40)]
    assert all(one.shape == (1, 224, 224) and one.dtype == torch.uint8 for one in changed)
    assert not torch.equal(changed[0], changed[1])


def test_same_seeds_give_the_same_films(film: torch.Tensor) -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        random.seed(3)
        drawn.append(augmentation("strong")(film))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    "transform",
    [
        RandomGamma(1.5),
        RandomDetail(0.5, 2.0),
        RandomResampling(90),
        RandomJpeg(40, 95),
        RandomNoise(10),
        RandomFraming(0.1),
        RandomLetters(),
    ],
    ids=lambda t: repr(t)[:-2],
)
def test_each_change_keeps_the_film_recognisable(film: torch.Tensor, transform: Transform) -> None:
    random.seed(1)
    torch.manual_seed(1)
    changed = transform(film)
    assert changed.dtype == torch.uint8
    assert (changed.float() - film.float()).abs().mean() < 40


def test_letters_change_the_edges_and_nothing_else(film: torch.Tensor) -> None:
    random.seed(0)
    middle = slice(80, 144)
    marked = [RandomLetters()(film) for _ in range(20)]
    assert any(not torch.equal(one, film) for one in marked)
    assert all(torch.equal(one[:, middle, middle], film[:, middle, middle]) for one in marked)


def test_frame_that_moves_outwards_shows_black() -> None:
    white = torch.full((1, 224, 224), 255, dtype=torch.uint8)
    random.seed(0)
    shown = [RandomFraming(0.2)(white) for _ in range(20)]
    assert any((one == 0).any() for one in shown)
    assert all((one[:, 100:124, 100:124] == 255).all() for one in shown)
