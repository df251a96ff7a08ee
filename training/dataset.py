"""Films in memory as a torch data set, and the two loaders of a run."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.augment import Transform, augmentation
from training.films import DecodedFilms
from training.recipe import Recipe

LOADER_WORKERS = 2
"""Processes that augment: about 2 ms a film, against 25 ms for the step on two cores."""


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a film (views, 224, 224), uint8, changed at random as often, and its label."""

    def __init__(self, films: DecodedFilms, transform: Transform, *, views: int = 1) -> None:
        self._pixels: npt.NDArray[np.uint8] = films.pixels
        self._labels: npt.NDArray[np.int64] = films.labels
        self._transform = transform
        self._views = views

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        film = torch.from_numpy(self._pixels[index]).unsqueeze(0)  # (1, 224, 224)
        seen = torch.cat([self._transform(film) for _ in range(self._views)])
        return seen, torch.tensor(self._labels[index])


def train_loader(films: DecodedFilms, recipe: Recipe) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return shuffled, augmented batches; the last, partial one of an epoch is dropped.

    Args:
        films: the part that is learned from; what other films lend to one is of these alone.
        recipe: how they are changed.
    """
    return DataLoader(
        FilmDataset(films, augmentation(recipe.augmentation, films.pixels), views=2 if recipe.consistency else 1),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=LOADER_WORKERS,
        persistent_workers=True,
    )


def validation_loader(films: DecodedFilms, recipe: Recipe) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return the films as the server sees them, in order."""
    return DataLoader(FilmDataset(films, augmentation("none")), batch_size=2 * recipe.batch_size)
