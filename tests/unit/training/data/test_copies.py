from pathlib import Path

import numpy as np
import pytest

from tests.films import write_data_set
from training.data.copies import find_copies
from training.errors import DataError
from training.learn.run_folder import load_films


def test_copies_are_found_by_name_and_those_of_other_films_left_out(tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data"))
    write_data_set(tmp_path / "full", levels=(90, 200))
    learned = np.array([0, 3, 7])
    found = find_copies(films.subset(learned), tmp_path / "full")
    copies = load_films(tmp_path / "full")
    assert sorted(found.pixels) == [0, 1, 2]
    for i, film in enumerate(learned):
        assert (found.pixels[i] == copies.pixels[film]).all()
    assert found.sha256 != find_copies(films, tmp_path / "full").sha256


def test_folder_without_copies_is_refused(tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data"))
    other = write_data_set(tmp_path / "other")
    for film in other.rglob("*.jpeg"):
        film.rename(film.with_stem(f"other-{film.stem}"))
    with pytest.raises(DataError, match="has no copy of a film"):
        find_copies(films, other)


def test_copy_of_another_label_is_refused(tmp_path: Path) -> None:
    films = load_films(write_data_set(tmp_path / "data"))
    full = write_data_set(tmp_path / "full")
    moved = next((full / "NORMAL").iterdir())
    moved.rename(full / "PNEUMONIA" / moved.name)
    with pytest.raises(DataError, match="labelled otherwise"):
        find_copies(films, full)
