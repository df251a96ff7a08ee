import dataclasses
from pathlib import Path

import numpy as np
import pytest

from handler.contract import ModelContract
from handler.errors import ContractError
from tests.films import write_data_set
from training.audit.models import Audited, held_out_by_all, open_model
from training.data.films import DecodedFilms, data_digest
from training.errors import ArtefactError, DataError
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> DecodedFilms:
    return load_films(write_data_set(tmp_path_factory.mktemp("films") / "data", of_each=14))


def with_contract(store: Path, **changes: object) -> Path:
    path = store / "contract.json"
    dataclasses.replace(ModelContract.load(path), **changes).save(path)  # type: ignore[arg-type]
    return store


def test_a_store_that_learned_from_the_films_is_judged_on_those_it_held_out(store: Path, films: DecodedFilms) -> None:
    _, held_out = divide(films, Recipe.load("champion"))
    model = open_model(with_contract(store, data_sha256=data_digest(films, held_out.tolist())), films)
    assert model.held_out is not None
    assert np.array_equal(model.held_out, held_out)


def test_a_store_that_learned_from_others_has_held_none_of_them_out(store: Path, films: DecodedFilms) -> None:
    assert open_model(store, films).held_out is None


def test_films_are_stretched_from_preprocessing_version_3_on(store: Path, films: DecodedFilms) -> None:
    now = open_model(store, films).judged(films)
    before = open_model(with_contract(store, preprocessing_version=2), films).judged(films)
    assert now.stretched
    assert now.pixels is films.pixels
    assert not before.stretched
    assert before.pixels.shape == films.pixels.shape


def test_a_model_of_another_contract_is_refused(store: Path, films: DecodedFilms) -> None:
    with pytest.raises(ArtefactError, match="the contract was written for 1111"):
        open_model(with_contract(store, model_sha256="1" * 64), films)


def test_a_store_without_its_model_is_refused(store: Path, films: DecodedFilms) -> None:
    (store / "pneumonia.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"pneumonia\.onnx"):
        open_model(store, films)


def test_a_folder_that_is_neither_store_nor_run_is_refused(tmp_path: Path, films: DecodedFilms) -> None:
    with pytest.raises(ContractError):
        open_model(tmp_path, films)


def models(store: Path, films: DecodedFilms, *held_out: list[int] | None) -> list[Audited]:
    model = open_model(store, films)
    return [dataclasses.replace(model, held_out=None if one is None else np.array(one)) for one in held_out]


def test_models_are_compared_on_the_films_that_all_held_out(store: Path, films: DecodedFilms) -> None:
    assert held_out_by_all(models(store, films, [5, 1, 3], [3, 5, 9])).tolist() == [3, 5]


def test_models_without_a_common_film_are_refused(store: Path, films: DecodedFilms) -> None:
    with pytest.raises(DataError, match="every film"):
        held_out_by_all(models(store, films, [1], [2]))


def test_a_model_that_learned_from_other_films_is_not_compared(store: Path, films: DecodedFilms) -> None:
    with pytest.raises(DataError, match=r"0\.0\.0-test: learned from other films"):
        held_out_by_all(models(store, films, [1], None))
