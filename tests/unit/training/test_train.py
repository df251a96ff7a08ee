import dataclasses
from pathlib import Path

import pytest
import yaml

from tests.films import write_data_set
from training.errors import ArtefactError
from training.recipe import Recipe
from training.run_folder import load_films
from training.train import train


def test_start_from_a_run_that_held_out_other_films_is_refused(tmp_path: Path) -> None:
    recipe = dataclasses.replace(Recipe.load("robust"), folds=3)
    start = tmp_path / "start"
    start.mkdir()
    config = {"recipe": dataclasses.asdict(recipe), "data_sha256": "0" * 64}
    (start / "config.yaml").write_text(yaml.safe_dump(config))
    films = load_films(write_data_set(tmp_path / "data"))
    with pytest.raises(ArtefactError, match="held out other films than robust does"):
        train(films, recipe=recipe, run=tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()
