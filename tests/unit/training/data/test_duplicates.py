from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.films import grey, jpeg, png, write_data_set
from training.data.duplicates import MAX_DISTANCE, dhash, exact_copies, near_copies
from training.data.films import DecodedFilms, decode_films, find_films

ORIGINAL = grey(300, 240, seed=77)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_data_set(tmp_path / "data")
    (folder / "NORMAL" / "original.png").write_bytes(png(ORIGINAL))
    return folder


def decoded(data: Path) -> DecodedFilms:
    return decode_films(find_films(data))


def names(films: DecodedFilms, *indices: int) -> set[str]:
    return {films.files[index].path.name for index in indices}


def test_unrelated_films_are_no_copies(data: Path) -> None:
    assert exact_copies(decoded(data)) == []
    assert near_copies(decoded(data)) == []


def test_same_bytes_are_an_exact_and_no_near_copy(data: Path) -> None:
    (data / "PNEUMONIA" / "copy.png").write_bytes(png(ORIGINAL))
    films = decoded(data)
    (group,) = exact_copies(films)
    assert names(films, *group) == {"original.png", "copy.png"}
    assert near_copies(films) == []


@pytest.mark.parametrize(
    "copy",
    [
        jpeg(ORIGINAL),
        png(ORIGINAL.resize((500, 300), Image.Resampling.BICUBIC)),
        png(ORIGINAL.point(lambda level: 0.9 * level + 15)),
        png(ORIGINAL.convert("RGB")),
    ],
    ids=["format", "size", "contrast", "colour"],
)
def test_same_picture_in_other_bytes_is_a_near_copy(data: Path, copy: bytes) -> None:
    (data / "PNEUMONIA" / "person9_virus_1.png").write_bytes(copy)
    films = decoded(data)
    assert exact_copies(films) == []
    (pair,) = near_copies(films)
    assert names(films, pair.first, pair.second) == {"original.png", "person9_virus_1.png"}
    assert pair.first < pair.second
    assert 0 <= pair.distance <= MAX_DISTANCE


def test_hash_is_of_256_bits() -> None:
    rising = np.tile(np.arange(224, dtype=np.uint8), (224, 1))
    assert int(np.bitwise_count(dhash(rising)).sum()) == 256
    assert int(np.bitwise_count(dhash(rising[:, ::-1].copy())).sum()) == 0
