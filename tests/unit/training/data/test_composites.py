from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.imaging import decode
from tests.films import grey, write_data_set
from training.data.composites import composites, enlarge, likeness, main, typical


@pytest.fixture
def films() -> npt.NDArray[np.uint8]:
    return np.stack([np.asarray(grey(224, 224, seed=seed)) for seed in range(12)])


def test_composites_are_films_of_the_same_kind(films: npt.NDArray[np.uint8]) -> None:
    made = composites(films, np.random.default_rng(0), count=3, components=5)
    assert made.shape == (3, 224, 224)
    assert made.dtype == np.uint8
    assert made.mean() == pytest.approx(films.mean(), abs=10)


def test_composites_are_the_same_for_the_same_seed(films: npt.NDArray[np.uint8]) -> None:
    first, second, other = (composites(films, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_composite_is_none_of_the_films(films: npt.NDArray[np.uint8]) -> None:
    (made,) = composites(films, np.random.default_rng(0), count=1)
    assert likeness(made, films) < 0.95
    assert likeness(films[3], films) == pytest.approx(1.0)


def test_typical_films_are_those_nearest_to_the_mean() -> None:
    alike = [np.asarray(grey(224, 224, level=100 + seed)) for seed in range(5)]
    films = np.stack([255 - alike[0], *alike])
    assert np.array_equal(np.sort(typical(films, count=5).mean(axis=(1, 2))), np.sort(np.mean(alike, axis=(1, 2))))


def test_enlarged_film_decodes_to_the_small_one() -> None:
    small = np.asarray(grey(224, 224))
    large = enlarge(small, np.random.default_rng(0))
    height, width = large.shape
    assert 1400 <= width < 1700
    assert 1.14 < width / height < 1.46
    again = np.asarray(Image.fromarray(large).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.abs(again.astype(int) - small).mean() < 1.0


def test_command_writes_two_sizes_of_each_composite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data, out = write_data_set(tmp_path / "data"), tmp_path / "reference"
    monkeypatch.setattr("sys.argv", ["composites", "--data", str(data), "--out", str(out)])
    main()
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(
        f"{name}-{number}-{size}.jpeg" for name in ("normal", "pneumonia") for number in (1, 2) for size in (224, 1500)
    )
    for stem in ("normal-1", "pneumonia-2"):
        small, large = (decode((out / f"{stem}-{size}.jpeg").read_bytes()) for size in (224, 1500))
        assert small.facts.width_px == 224
        assert np.abs(small.pixels.astype(int) - large.pixels).mean() < 2.0
