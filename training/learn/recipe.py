"""A training recipe: what `config/training/*.yaml` may say, and what each word means."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import yaml

from training.errors import RecipeError

RECIPES = Path("config/training")

Augmentation = Literal[
    "none", "light", "strong", "processing", "acquisition", "framing", "look", "shading", "marks", "others", "scanners"
]
"""How films are changed while learning, see `training.learn.augment`; the last five mix other films in."""

Split = Literal["patients", "ends", "series"]
"""Which films are held out: of patients drawn at random, of the first and the last of every series, or of one series
of each class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run but the films and the pretrained weights."""

    name: str
    description: str
    start: str
    """Name of the recipe whose run it goes on from; empty: it begins with ImageNet's weights."""
    resolution_px: int
    """Side to which the graph resamples a film before the first convolution."""
    trainable_blocks: int
    """How many of MobileNetV2's 19 feature blocks learn, counted from the last; 0 freezes the backbone."""
    dropout: float
    epochs: int
    batch_size: int
    optimizer: Literal["adam", "adamw"]
    learning_rate: float
    """After the warm-up."""
    final_learning_rate: float
    """Where the cosine ends."""
    warmup_epochs: float
    weight_decay: float
    class_weights: bool
    """Weigh each class by the inverse of how often it occurs."""
    label_smoothing: float
    consistency: float
    """Weight of the Jensen-Shannon divergence between the answers to two augmentations of a film; 0 looks at one."""
    ema_decay: float
    """Of the exponential moving average of the weights, a step; 0 keeps none."""
    augmentation: Augmentation
    split: Split
    folds: int
    """One of so many parts of the films validates; `series` has as many as a class has series."""
    fold: int
    """Which one; `ends` has only one, 0."""
    seed: int

    def __post_init__(self) -> None:
        _require(self, "resolution_px", self.resolution_px in range(64, 225, 32), "64 to 224, in steps of 32")
        _require(self, "trainable_blocks", 0 <= self.trainable_blocks <= 19, "0 to 19")
        _require(self, "dropout", 0 <= self.dropout < 1, "0 to below 1")
        _require(self, "epochs", self.epochs >= 1, "at least 1")
        _require(self, "batch_size", self.batch_size >= 2, "at least 2")
        _require(self, "optimizer", self.optimizer in ("adam", "adamw"), "adam or adamw")
        _require(self, "learning_rate", self.learning_rate > 0, "positive")
        _require(self, "final_learning_rate", 0 < self.final_learning_rate <= self.learning_rate, "up to learning_rate")
        _require(self, "warmup_epochs", 0 <= self.warmup_epochs < self.epochs, "0 to below epochs")
        _require(self, "weight_decay", self.weight_decay >= 0, "not negative")
        _require(self, "label_smoothing", 0 <= self.label_smoothing < 1, "0 to below 1")
        _require(self, "consistency", self.consistency >= 0, "not negative")
        _require(self, "ema_decay", 0 <= self.ema_decay < 1, "0 to below 1")
        _require(self, "augmentation", self.augmentation in get_args(Augmentation), " or ".join(get_args(Augmentation)))
        _require(self, "split", self.split in get_args(Split), " or ".join(get_args(Split)))
        _require(self, "folds", self.folds >= 2, "at least 2")
        _require(self, "fold", 0 <= self.fold < (1 if self.split == "ends" else self.folds), "0 to below folds")

    @classmethod
    def load(cls, name: str) -> Self:
        """Read the recipe called `name` from `config/training/`, or from a file if `name` is the path of one.

        Raises:
            RecipeError: it does not exist, is not YAML, or has an unknown, missing or invalid field.
        """
        path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
        try:
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as exc:
            known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
            raise RecipeError(f"recipe {name!r}: unknown, there are {known}") from exc
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise RecipeError(f"{path}: cannot be read: {exc}") from exc
        return cls.from_fields(fields, source=str(path))

    @classmethod
    def from_fields(cls, fields: object, *, source: str) -> Self:
        """Make a recipe of parsed fields; `source` is named in errors.

        Raises:
            RecipeError: a field is unknown, missing or invalid.
        """
        if not isinstance(fields, dict):
            raise RecipeError(f"{source}: wants fields, got {type(fields).__name__}")
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(map(str, fields.keys() - names)):
            raise RecipeError(f"{source}: unknown field {', '.join(unknown)}")
        if missing := sorted(names - fields.keys()):
            raise RecipeError(f"{source}: missing field {', '.join(missing)}")
        try:
            return cls(**fields)
        except RecipeError as exc:
            raise RecipeError(f"{source}: {exc}") from exc
        except TypeError as exc:
            raise RecipeError(f"{source}: a field has the wrong type: {exc}") from exc


def _require(recipe: Recipe, field: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise RecipeError(f"{field}: must be {wanted}, got {getattr(recipe, field)!r}")
