import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.films import write_data_set
from training.audit import nuisance
from training.audit.nuisance import (
    CLUES,
    blanked,
    border,
    cross_fitted,
    detail,
    file_facts,
    levels,
    shown_without_lungs,
)
from training.data.films import DecodedFilms, decode_films, find_films
from training.figures.metrics import roc_auc


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> DecodedFilms:
    folder = write_data_set(tmp_path_factory.mktemp("films") / "data", of_each=30, per_patient=1)
    return decode_films(find_films(folder))


def painted(films: DecodedFilms, where: tuple[slice, slice]) -> DecodedFilms:
    """Return noise films alike in all but a place that is bright in PNEUMONIA."""
    pixels = np.random.default_rng(0).integers(60, 120, films.pixels.shape, dtype=np.uint8)
    pixels[(films.labels == 1, *where)] += 100
    return dataclasses.replace(films, pixels=pixels)


def auc(films: DecodedFilms, seen: npt.NDArray[np.float64]) -> float:
    return roc_auc(films.labels, cross_fitted(films, seen))


def test_a_mark_at_the_edge_is_recognised_by_the_border(films: DecodedFilms) -> None:
    marked = painted(films, (slice(0, 20), slice(0, 40)))
    assert auc(marked, border(marked)) > 0.95


def test_what_is_in_the_lungs_is_not_recognised_without_them(films: DecodedFilms) -> None:
    ill = painted(films, (slice(80, 140), slice(80, 140)))
    for clue in (border, blanked):
        assert 0.2 < auc(ill, clue(ill)) < 0.8


def test_levels_tell_a_brighter_class(films: DecodedFilms) -> None:
    assert auc(films, levels(films)) > 0.9


def test_finer_grain_has_more_power_at_high_frequencies(films: DecodedFilms) -> None:
    pixels = films.pixels.copy()
    pixels[0] = np.random.default_rng(0).integers(0, 256, pixels[0].shape, dtype=np.uint8)
    spectra = detail(dataclasses.replace(films, pixels=pixels))
    assert (spectra[0] > spectra[1]).all()


def test_file_facts_are_those_of_the_files(films: DecodedFilms) -> None:
    result = file_facts(films)[0]
    size = Path(films.files[0].path).stat().st_size
    assert result.tolist() == [size, 96, 80, 1.2, 0]


def test_every_clue_is_reported_with_its_interval(films: DecodedFilms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuisance, "ROUNDS", 20)
    rows = shown_without_lungs(films)
    assert [row["clue"] for row in rows] == list(CLUES)
    for row in rows:
        assert 0 <= row["roc_auc"]["low"] <= row["roc_auc"]["value"] <= row["roc_auc"]["high"] <= 1
