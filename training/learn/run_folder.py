"""What a run folder says of itself, and which films its run learned from and which it held out."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from training.data.films import (
    DecodedFilms,
    data_digest,
    decode_films,
    find_films,
    split_by_patient,
    split_ends,
    split_series,
    without_copies,
)
from training.errors import ArtefactError, DataError
from training.learn.recipe import Recipe


def read_run(run: Path) -> tuple[Recipe, str]:
    """Return the recipe and the data digest of a run folder.

    Raises:
        ArtefactError: it is not a run folder.
    """
    config = _config(run)
    return Recipe.from_fields(config["recipe"], source=str(run / "config.yaml")), str(config["data_sha256"])


def copies_digest(run: Path) -> str:
    """Return the digest of the second copies that a run learned from, empty where there were none.

    Raises:
        ArtefactError: it is not a run folder.
    """
    return str(_config(run).get("copies_sha256", ""))


def average_of(run: Path) -> list[str]:
    """Return the recipes whose runs a run folder is the average of; empty where it was trained.

    Raises:
        ArtefactError: it is not a run folder.
    """
    return list(_config(run).get("average_of", ()))


def _config(run: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return {"recipe": config["recipe"], "data_sha256": config["data_sha256"], **config}
    except (OSError, yaml.YAMLError, TypeError, KeyError) as exc:
        raise ArtefactError(f"{run}: not a run folder: {exc}") from exc


def load_films(data: Path) -> DecodedFilms:
    """Return the films of a folder or CSV that a run learns from: decoded as the server does, without copies.

    Raises:
        DataError: they cannot be learned from.
    """
    return without_copies(decode_films(find_films(data)))


def divide(films: DecodedFilms, recipe: Recipe) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the films that a recipe learns from, and of those that it holds out.

    The seed of a recipe is for the training only: runs that differ in it hold the same films out.

    Raises:
        DataError: a class has too few patients, no other series, or no numbers to order them by.
    """
    if recipe.split == "ends":
        return split_ends(films, folds=recipe.folds)
    if recipe.split == "series":
        return split_series(films, fold=recipe.fold)
    return split_by_patient(films, folds=recipe.folds, fold=recipe.fold, seed=0)


def parts(films: DecodedFilms, run: Path) -> tuple[DecodedFilms, DecodedFilms]:
    """Make a run's split again: return the films that it learned from, and those that it held out.

    Args:
        films: what `load_films` returns.
        run: the run folder.

    Raises:
        ArtefactError: it is not a run folder.
        DataError: these are not the films that the run learned from.
    """
    recipe, digest = read_run(run)
    learned, held_out = divide(films, recipe)
    if data_digest(films, held_out.tolist()) != digest:
        raise DataError(f"{run}: learned from other films than these")
    return films.subset(learned), films.subset(held_out)
