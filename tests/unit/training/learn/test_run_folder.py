import dataclasses
from pathlib import Path

import pytest
import yaml

from tests.films import grey, jpeg, write_data_set
from training.data.films import data_digest
from training.errors import ArtefactError, DataError
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films, parts, read_run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data")


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    """Return the folder of a run that learned from the films."""
    recipe = dataclasses.replace(Recipe.load("baseline"), folds=3, fold=1)
    films = load_films(data)
    digest = data_digest(films, divide(films, recipe)[1].tolist())
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"recipe": dataclasses.asdict(recipe), "data_sha256": digest}, sort_keys=False)
    )
    return folder


def test_run_tells_its_recipe_and_its_films(run: Path) -> None:
    recipe, digest = read_run(run)
    assert (recipe.name, recipe.fold) == ("baseline", 1)
    assert len(digest) == 64


def test_split_is_made_again_with_no_patient_in_both_parts(run: Path, data: Path) -> None:
    films = load_films(data)
    learned, held_out = parts(films, run)
    assert len(learned.files) + len(held_out.files) == len(films.files)
    assert not {file.patient for file in learned.files} & {file.patient for file in held_out.files}


def test_seed_of_the_training_does_not_move_the_split(data: Path) -> None:
    films = load_films(data)
    recipes = [dataclasses.replace(Recipe.load("baseline"), folds=3, seed=seed) for seed in (0, 7)]
    first, second = (divide(films, recipe)[1].tolist() for recipe in recipes)
    assert first == second


def test_recipe_may_hold_out_the_ends_of_series(data: Path) -> None:
    films = load_films(data)
    recipe = dataclasses.replace(Recipe.load("baseline"), folds=3, split="ends")
    learned, held_out = (part.tolist() for part in divide(films, recipe))
    assert sorted(learned + held_out) == list(range(len(films.files)))
    assert held_out != divide(films, dataclasses.replace(recipe, split="patients"))[1].tolist()


def test_other_films_are_refused(run: Path, data: Path) -> None:
    (data / "NORMAL" / "IM-0009-0001.jpeg").write_bytes(jpeg(grey(seed=99)))
    with pytest.raises(DataError, match="run: learned from other films than these"):
        parts(load_films(data), run)


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a run folder"):
        read_run(tmp_path)


def test_full_size_copy_of_a_film_is_on_the_side_of_its_squashed_one(tmp_path: Path) -> None:
    names = [(f"person{n}_virus_{n}.jpeg", "PNEUMONIA") for n in range(9)] + [
        (f"IM-{n:04}-0001.jpeg", "NORMAL") for n in range(9)
    ]
    rows = ["path,label,patient"]
    for size_px in (224, 480):  # squashed, and full size
        for seed, (name, label) in enumerate(names):
            path = tmp_path / str(size_px) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(jpeg(grey(size_px, size_px, seed=seed)))
            rows.append(f"{path.relative_to(tmp_path)},{label},")
    (tmp_path / "films.csv").write_text("\n".join(rows) + "\n")
    films = load_films(tmp_path / "films.csv")
    for fold in range(3):
        recipe = dataclasses.replace(Recipe.load("robust"), folds=3, fold=fold)
        learned, held_out = ({films.files[index].path.name for index in part} for part in divide(films, recipe))
        assert len(films.files) == 36
        assert not learned & held_out
