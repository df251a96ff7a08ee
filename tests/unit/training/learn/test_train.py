import dataclasses
from pathlib import Path

import pytest
import yaml

from tests.films import write_data_set
from training.errors import ArtefactError
from training.learn.recipe import Recipe
from training.learn.run_folder import load_films
from training.learn.train import train


def start_run(folder: Path, recipe: Recipe) -> Path:
    folder.mkdir()
    config = {"recipe": dataclasses.asdict(recipe), "data_sha256": "0" * 64}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_start_from_a_run_that_held_out_other_films_is_refused(tmp_path: Path) -> None:
    start = start_run(tmp_path / "start", dataclasses.replace(Recipe.load("robust"), folds=3))
    recipe = dataclasses.replace(Recipe.load("robust_finish"), folds=3)
    films = load_films(write_data_set(tmp_path / "data"))
    with pytest.raises(ArtefactError, match="held out other films than robust_finish does"):
        train(films, recipe=recipe, run=tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def test_start_from_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    start = start_run(tmp_path / "start", Recipe.load("champion"))
    films = load_films(write_data_set(tmp_path / "data"))
    recipe = dataclasses.replace(Recipe.load("robust_finish"), folds=3)
    with pytest.raises(ArtefactError, match="is a run of champion, robust_finish begins with a run of robust"):
        train(films, recipe=recipe, run=tmp_path / "run", start=start)


def test_recipe_that_goes_on_wants_a_run_to_go_on_from(tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data"))
    recipe = dataclasses.replace(Recipe.load("robust_finish"), folds=3)
    with pytest.raises(ArtefactError, match="goes on from a run of robust"):
        train(films, recipe=recipe, run=tmp_path / "run", start=None)
