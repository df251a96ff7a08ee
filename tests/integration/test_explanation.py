"""That the shipped model's activation map shows where the film speaks for pneumonia: what is covered there counts."""

import os
from pathlib import Path

import numpy as np
import pytest

from handler.engine import Engine, Films
from handler.imaging import decode
from proxy.settings import ROOT

pytestmark = pytest.mark.integration

REAL_FILMS = Path(os.environ.get("PNEUMONIA_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ROOT / "model_store" / "pneumonia.onnx", exact=True)


def log_odds(engine: Engine, film: Films) -> float:
    (normal, pneumonia) = engine.logits(film[None])[0]
    return float(pneumonia - normal)


def covered(film: Films, place: int, places: int) -> Films:
    """Return a film (224, 224) with one of places x places squares, counted by rows, at the film's median level."""
    row, column = divmod(place, places)
    edges = np.rint(np.linspace(0, len(film), places + 1)).astype(int)
    result = film.copy()
    result[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = np.median(film)
    return result


def hottest_matters_more(engine: Engine, path: Path) -> bool:
    """Return whether covering the hottest place lowers the log odds more than covering the coldest."""
    film = decode(path.read_bytes()).pixels
    (activation_map,) = engine.explain(film[None]).activation_map
    hot, cold = (
        log_odds(engine, covered(film, int(place), len(activation_map)))
        for place in (activation_map.argmax(), activation_map.argmin())
    )
    return hot < cold


@pytest.mark.parametrize("path", sorted((ROOT / "reference").glob("pneumonia-*-1500.jpeg")), ids=lambda path: path.stem)
def test_reference_film_owes_more_to_its_hottest_place(engine: Engine, path: Path) -> None:
    assert hottest_matters_more(engine, path)


def test_real_films_of_pneumonia_owe_more_to_their_hottest_place(engine: Engine) -> None:
    films = sorted((REAL_FILMS / "originals_train" / "PNEUMONIA").glob("*"))[::8]
    if not films:
        pytest.skip("there are no real films: set PNEUMONIA_DATA")
    matters = [hottest_matters_more(engine, film) for film in films]
    assert np.mean(matters) >= 0.9, f"{sum(matters)} of {len(matters)} films"
