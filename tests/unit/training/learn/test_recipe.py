from pathlib import Path

import pytest
import yaml

from training.errors import RecipeError
from training.learn.recipe import RECIPES, Recipe


def fields() -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((RECIPES / "finetune_all.yaml").read_text())
    return loaded


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_under_its_own_name(path: Path) -> None:
    assert Recipe.load(path.stem).name == path.stem


def test_a_recipe_is_also_read_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields() | {"name": "mine"}))
    assert Recipe.load(str(path)).name == "mine"


def test_unknown_recipe_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(RecipeError, match=r"'nonesuch': unknown, there are .*finetune_last3"):
        Recipe.load("nonesuch")


def test_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("epochs: [")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "here: epoch: unexpected keyword argument"),
        ({"epochs": 0}, "here: epochs: input should be greater than or equal to 1, got 0"),
        ({"trainable_blocks": 20}, "trainable_blocks: input should be less than or equal to 19, got 20"),
        ({"optimizer": "sgd"}, "optimizer: input should be 'adam' or 'adamw', got 'sgd'"),
        ({"augmentation": "wild"}, "augmentation: input should be 'none', 'light', 'strong'"),
        ({"resolution_px": 100}, "resolution_px: input should be a multiple of 32, got 100"),
        ({"consistency": -1}, "consistency: input should be greater than or equal to 0, got -1"),
        ({"split": "months"}, "split: input should be 'patients', 'ends' or 'series', got 'months'"),
        ({"split": "ends", "fold": 1}, "here: fold: must be below 1, got 1"),
        ({"fold": 7}, r"here: fold: must be below \d, got 7"),
        ({"final_learning_rate": 1.0}, "final_learning_rate: must not exceed learning_rate, got 1.0"),
        ({"warmup_epochs": 999}, "warmup_epochs: must be below epochs, got 999"),
        ({"dropout": "much"}, "dropout: input should be a valid number, .* got 'much'"),
    ],
)
def test_wrong_field_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_fields(fields() | change, source="here")


def test_missing_field_is_named() -> None:
    without = fields()
    del without["dropout"]
    with pytest.raises(RecipeError, match="here: dropout: field required"):
        Recipe.from_fields(without, source="here")


def test_recipe_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(RecipeError, match="here: "):
        Recipe.from_fields([], source="here")
