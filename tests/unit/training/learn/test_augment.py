import random
from functools import partial

import numpy as np
import pytest
import torch

from handler.exposure import find_window, stretch
from training.learn.augment import (
    Transform,
    augmentation,
    compressed,
    resampled,
    with_detail,
    with_gamma,
    with_letters,
    with_noise,
)
from training.learn.recipe import Augmentation
from training.learn.view import RandomFraming

MIXING: tuple[Augmentation, ...] = ("look", "shading", "marks", "others")


@pytest.fixture
def film() -> torch.Tensor:
    """A smooth film (1, 224, 224), uint8."""
    ramp = torch.linspace(0, 255, 224)
    return ((ramp[:, None] + ramp[None, :]) / 2).to(torch.uint8).unsqueeze(0)


def test_none_leaves_the_film_as_it_is(film: torch.Tensor) -> None:
    assert torch.equal(augmentation("none")(film), film)


@pytest.mark.parametrize("strength", ["light", "strong", "processing", "acquisition", "framing"])
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
        partial(with_gamma, limit=1.5),
        partial(with_detail, low=0.5, high=2.0),
        partial(resampled, low_px=90),
        partial(compressed, low=40, high=95),
        partial(with_noise, limit=10),
        RandomFraming(0.1),
        with_letters,
    ],
    ids=["gamma", "detail", "resampling", "jpeg", "noise", "framing", "letters"],
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
    marked = [with_letters(film) for _ in range(20)]
    assert any(not torch.equal(one, film) for one in marked)
    assert all(torch.equal(one[:, middle, middle], film[:, middle, middle]) for one in marked)


@pytest.mark.parametrize("strength", MIXING)
def test_mixing_takes_from_the_films_it_was_given(strength: Augmentation) -> None:
    random.seed(0)
    torch.manual_seed(0)
    film = torch.randint(0, 60, (1, 224, 224), dtype=torch.uint8)
    others = np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    transform = augmentation(strength, others)
    changed = [transform(film) for _ in range(10)]
    assert all(one.shape == (1, 224, 224) and one.dtype == torch.uint8 for one in changed)
    assert not torch.equal(changed[0], changed[1])


@pytest.mark.parametrize("strength", MIXING)
def test_mixing_without_other_films_is_refused(strength: Augmentation) -> None:
    with pytest.raises(ValueError, match="none to mix in"):
        augmentation(strength)
    with pytest.raises(ValueError, match="none to mix in"):
        augmentation(strength, np.zeros((0, 224, 224), dtype=np.uint8))


@pytest.mark.parametrize("strength", ["framing", *MIXING])
def test_film_is_seen_exposed_as_the_server_exposes_it(film: torch.Tensor, strength: Augmentation) -> None:
    random.seed(0)
    torch.manual_seed(0)
    transform = augmentation(strength, np.stack([film[0].numpy() // 4 + 90] * 2))
    for seen in (transform(film // 3 + 40)[0].numpy() for _ in range(10)):
        again = stretch(seen, find_window(seen))
        assert np.abs(again.astype(int) - seen).mean() < 3
