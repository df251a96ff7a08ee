"""A training recipe: what `config/training/*.yaml` may say, and what each word means."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from training.errors import RecipeError

RECIPES = Path("config/training")

Augmentation = Literal[
    "none", "light", "strong", "processing", "acquisition", "framing", "look", "shading", "marks", "others", "scanners"
]
"""How films are changed while learning, see `training.learn.augment`; the last five mix other films in."""

Split = Literal["patients", "ends", "series"]
"""Which films are held out: of patients drawn at random, of the first and the last of every series, or of one series
of each class."""

Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything that decides a training run but the films and the pretrained weights."""

    name: str
    description: str
    start: str
    """Name of the recipe whose run it goes on from; empty: it begins with ImageNet's weights."""
    resolution_px: Annotated[int, Field(ge=64, le=224, multiple_of=32)]
    """Side to which the graph resamples a film before the first convolution."""
    trainable_blocks: Annotated[int, Field(ge=0, le=19)]
    """How many of MobileNetV2's 19 feature blocks learn, counted from the last; 0 freezes the backbone."""
    dropout: Share
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["adam", "adamw"]
    learning_rate: Annotated[float, Field(gt=0)]
    """After the warm-up."""
    final_learning_rate: Annotated[float, Field(gt=0)]
    """Where the cosine ends."""
    warmup_epochs: NotNegative
    weight_decay: NotNegative
    class_weights: bool
    """Weigh each class by the inverse of how often it occurs."""
    label_smoothing: Share
    consistency: NotNegative
    """Weight of the Jensen-Shannon divergence between the answers to two augmentations of a film; 0 looks at one."""
    ema_decay: Share
    """Of the exponential moving average of the weights, a step; 0 keeps none."""
    augmentation: Augmentation
    split: Split
    folds: Annotated[int, Field(ge=2)]
    """One of so many parts of the films validates; `series` has as many as a class has series."""
    fold: Annotated[int, Field(ge=0)]
    """Which one; `ends` has only one, 0."""
    seed: int

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        """Check the fields that bound each other."""
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(f"final_learning_rate: must not exceed learning_rate, got {self.final_learning_rate}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: must be below epochs, got {self.warmup_epochs}")
        if self.fold >= (folds := 1 if self.split == "ends" else self.folds):
            raise ValueError(f"fold: must be below {folds}, got {self.fold}")
        return self

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
        try:
            return TypeAdapter(cls).validate_python(fields)
        except ValidationError as exc:
            raise RecipeError(f"{source}: {'; '.join(map(_line, exc.errors()))}") from exc


def _line(error: ErrorDetails) -> str:
    """Return what is wrong with a field, "epochs: input should be greater than or equal to 1, got 0"."""
    field, message = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    if not field:
        return message
    got = "" if error["type"] in ("missing", "unexpected_keyword_argument") else f", got {error['input']!r}"
    return f"{field}: {message[0].lower()}{message[1:]}{got}"
