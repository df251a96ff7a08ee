import dataclasses
from pathlib import Path

import numpy as np
import pytest

from training.data.copies import Copies
from training.data.films import DecodedFilms, FilmFile
from training.learn import dataset
from training.learn.augment import Transform
from training.learn.dataset import train_loader, validation_loader
from training.learn.recipe import Augmentation, Recipe


def films(level: int, *, count: int = 4) -> DecodedFilms:
    """Return films of one level each, alternately labelled."""
    labels = np.arange(count) % 2
    return DecodedFilms(
        files=tuple(FilmFile(path=Path("film"), label=int(x), patient=str(x), subgroup="") for x in labels),
        pixels=np.full((count, 224, 224), level, dtype=np.uint8),
        labels=labels,
        facts=(),
        digests=(),
        skipped=(),
    )


def test_films_that_are_learned_from_are_the_only_ones_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    lent = []

    def spy(strength: Augmentation, others: np.ndarray | None = None) -> Transform:
        lent.append((strength, others))
        return lambda film: film

    monkeypatch.setattr(dataset, "augmentation", spy)
    recipe = Recipe.load("robust")
    learned, held_out = films(10), films(200)
    train_loader(learned, recipe)
    validation_loader(held_out, recipe)
    assert lent[0][0] == "others"
    assert lent[0][1] is learned.pixels
    assert lent[1] == ("none", None)


def test_consistency_gives_two_views_of_each_film() -> None:
    recipe = dataclasses.replace(Recipe.load("robust"), batch_size=2)
    learned = films(10)
    shown = {
        weight: dataset.FilmDataset(learned, lambda film: film + 1, views=weight + 1)[0][0].shape for weight in (0, 1)
    }
    assert shown == {0: (1, 224, 224), 1: (2, 224, 224)}
    assert train_loader(learned, recipe).dataset[0][0].shape == (2, 224, 224)
    assert next(iter(validation_loader(learned, recipe)))[0].shape == (4, 1, 224, 224)


def test_views_of_a_film_show_either_of_its_copies() -> None:
    copies = Copies(pixels={1: np.full((224, 224), 99, dtype=np.uint8)}, sha256="")
    shown = dataset.FilmDataset(films(10), lambda film: film, views=20, copies=copies)
    assert {int(view[0, 0]) for view in shown[1][0]} == {10, 99}
    assert {int(view[0, 0]) for view in shown[0][0]} == {10}
