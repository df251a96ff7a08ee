"""Films in memory as a torch data set, and the two loaders of a run."""

import random

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.data.copies import NO_COPIES, Copies
from training.data.films import DecodedFilms
from training.learn.augment import Transform, augmentation
from training.learn.recipe import Recipe

LOADER_WORKERS = 2
"""Processes that augment: about 2 ms a film, against 25 ms for the step on two cores."""


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a film (views, 224, 224), uint8, changed at random as often, and its label.

    Of a film that has a copy, each view shows either of them.
    """

    def __init__(
        self, films: DecodedFilms, transform: Transform, *, views: int = 1, copies: Copies = NO_COPIES
    ) -> None:
        self._pixels: npt.NDArray[np.uint8] = films.pixels
        self._labels: npt.NDArray[np.int64] = films.labels
        self._transform = transform
        self._views = views
        self._copies = copies.pixels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        kept = [self._pixels[index]]
        if index in self._copies:
            kept.append(self._copies[index])
        films = [torch.from_numpy(random.choice(kept)).unsqueeze(0) for _ in range(self._views)]  # noqa: S311
        seen = torch.cat([self._transform(film) for film in films])
        return seen, torch.tensor(self._labels[index])


def train_loader(films: DecodedFilms, recipe: Recipe, copies: Copies = NO_COPIES) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return shuffled, augmented batches; the last, partial one of an epoch is dropped.

    Args:
        films: the part that is learned from; a film borrows from these only.
        recipe: how they are changed.
        copies: of some of them.
    """
    changed = augmentation(recipe.augmentation, films.pixels)
    return DataLoader(
        FilmDataset(films, changed, views=2 if recipe.consistency else 1, copies=copies),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=LOADER_WORKERS,
    )


def validation_loader(films: DecodedFilms, recipe: Recipe) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return the films as the server sees them, in order."""
    return DataLoader(FilmDataset(films, augmentation("none")), batch_size=2 * recipe.batch_size)
