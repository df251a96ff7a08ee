"""The models that are audited, and the films that they have not learned from: model stores and run folders alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from handler.contract import ModelContract
from handler.engine import Engine
from handler.imaging import INPUT_SIZE, VERSION
from training.audit.measures import Judged
from training.compare.compare import as_shipped
from training.data.films import DecodedFilms, data_digest
from training.errors import DataError
from training.evaluate.evaluate import logits_of, open_engine
from training.figures.metrics import Indices, Logits, Pixels
from training.learn.recipe import RECIPES, Recipe
from training.learn.run_folder import divide, read_run

STRETCHED = 3
"""The preprocessing version since which bars are trimmed, exposure is stretched and negatives are turned round."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audited:
    """A model under audit."""

    name: str
    engine: Engine
    contract: ModelContract | None
    """None for a run that was not exported yet."""
    preprocessing_version: int
    held_out: Indices | None
    """Which of the films it has not learned from; None where these are not the films that it learned from."""

    def score(self, pixels: Pixels) -> Logits:
        """Return the logits (N, 2) of films (N, 224, 224)."""
        return logits_of(self.engine, pixels)

    def judged(self, films: DecodedFilms) -> Judged:
        """Return films as this model wants them."""
        stretched = self.preprocessing_version >= STRETCHED
        return Judged(
            pixels=films.pixels if stretched else _plain([file.path for file in films.files]),
            labels=films.labels,
            patients=tuple(file.patient for file in films.files),
            stretched=stretched,
        )


def open_model(folder: Path, films: DecodedFilms) -> Audited:
    """Open a model store or a run folder.

    Args:
        folder: has `contract.json` and `pneumonia.onnx`, or `config.yaml` and `last.ckpt`.
        films: what `run_folder.load_films` returns of the films that are to be split as they were for it.

    Raises:
        ArtefactError: it is neither, or the model is missing, corrupt or not the contract's.
        ContractError: the contract is missing or not one that this code understands.
    """
    if (folder / "config.yaml").is_file():
        recipe, digest = read_run(folder)
        return Audited(
            name=folder.name,
            engine=as_shipped(folder / "last.ckpt"),
            contract=None,
            preprocessing_version=VERSION,
            held_out=_held_out(films, [recipe], digest),
        )
    contract = ModelContract.load(folder / "contract.json")
    return Audited(
        name=contract.model_version,
        # In float32: an audit must not depend on the processor.
        engine=open_engine(folder / "pneumonia.onnx", contract, exact=True),
        contract=contract,
        preprocessing_version=contract.preprocessing_version,
        held_out=_held_out(
            films, [Recipe.load(path.stem) for path in sorted(RECIPES.glob("*.yaml"))], contract.data_sha256
        ),
    )


def held_out_by_all(models: Sequence[Audited]) -> Indices:
    """Return which films none of the models has learned from.

    Raises:
        DataError: a model learned from other films than these, or there are none.
    """
    common: set[int] | None = None
    for model in models:
        if model.held_out is None:
            raise DataError(f"{model.name}: learned from other films than these, or split them in a way not known here")
        its = set(model.held_out.tolist())
        common = its if common is None else common & its
    if not common:
        raise DataError("every film was learned from by one of the models")
    return np.array(sorted(common), dtype=np.int64)


def _held_out(films: DecodedFilms, recipes: Sequence[Recipe], digest: str) -> Indices | None:
    """Return the films that were held out, by the split of one of the recipes that gives the digest."""
    for recipe in {(one.split, one.folds, one.fold): one for one in recipes}.values():
        try:
            _, held_out = divide(films, recipe)
        except DataError:  # too few patients, or no series: not the films of this recipe
            continue
        if data_digest(films, held_out.tolist()) == digest:
            return held_out
    return None


def _plain(paths: Sequence[Path]) -> Pixels:
    """Return films (N, 224, 224) as preprocessing versions 1 and 2 had them: grey, squashed, nothing else."""
    films = []
    for path in paths:
        with Image.open(path) as image:
            grey = image.convert("L")
        films.append(np.asarray(grey if grey.size == INPUT_SIZE else grey.resize(INPUT_SIZE, Image.Resampling.BICUBIC)))
    return np.stack(films)
