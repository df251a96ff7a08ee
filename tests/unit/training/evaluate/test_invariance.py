import json
from pathlib import Path

import numpy as np
import pytest

from tests.films import grey, jpeg, write_data_set
from training.data.films import FilmFile, find_films
from training.errors import DataError
from training.evaluate.evaluate import Shipped
from training.evaluate.invariance import CHANGES, LIMIT, LOSSLESS_LIMIT, deep, invariance, main, measured, table


def test_changes_are_reported_as_a_distribution() -> None:
    plain = np.full(200, 0.5)
    changed = plain + np.repeat([0.0, 0.015, 0.1], [190, 7, 3])
    changed[0] = np.nan
    result = measured(plain, changed, tolerance=LOSSLESS_LIMIT)
    assert (result.films, result.refused) == (199, 1)
    assert result.mean == pytest.approx((7 * 0.015 + 3 * 0.1) / 199, abs=1e-6)
    assert result.p99 == pytest.approx(0.1, abs=1e-6)
    assert result.largest == pytest.approx(0.1)
    assert (result.over_limit, result.tolerance, result.over_tolerance) == (3, 0.01, 10)


def test_films_that_are_all_refused_are_counted() -> None:
    result = measured(np.array([0.1, 0.2]), np.full(2, np.nan), tolerance=LIMIT)
    assert (result.films, result.refused, result.largest) == (0, 2, 0.0)


def test_lossless_dicom_is_held_to_the_smaller_tolerance(store: Path, tmp_path: Path) -> None:
    files = find_films(write_data_set(tmp_path / "data", of_each=1))
    moved = invariance(Shipped.load(store), files)
    exact = {name for name, one in moved.items() if one.tolerance == LOSSLESS_LIMIT}
    assert exact == {
        "DICOM, 12 bits",
        "DICOM, lossless JPEG",
        "DICOM, JPEG-LS",
        "DICOM, JPEG 2000, lossless",
        "DICOM, RLE",
    }
    assert all(moved[name].over_tolerance == 0 for name in exact)
    assert all((one.films, one.refused) == (2, 0) for one in moved.values())


def test_command_writes_what_each_change_does(
    monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data, figures = write_data_set(tmp_path / "data"), tmp_path / "invariance.json"
    options = {"--data": data, "--model-store": store, "--films": 3, "--json": figures}
    monkeypatch.setattr("sys.argv", ["invariance", *(str(part) for option in options.items() for part in option)])
    main()
    result = json.loads(figures.read_text())
    assert result.keys() == CHANGES.keys()
    assert result["12 bits"].keys() >= {"mean", "p99", "largest", "over_limit"}
    assert "99th pct." in caplog.text


def test_what_is_no_film_is_left_out(store: Path, tmp_path: Path) -> None:
    for name, data in (("a.jpeg", jpeg(grey())), ("b.jpeg", b"no film")):
        (tmp_path / name).write_bytes(data)
    film, other = (FilmFile(path=tmp_path / name, label=0, patient=name, subgroup="") for name in ("a.jpeg", "b.jpeg"))
    shipped = Shipped.load(store)
    assert "DICOM, RLE" in table(moved := invariance(shipped, [film, other]))
    assert {one.films for one in moved.values()} == {1}
    with pytest.raises(DataError, match="no film"):
        invariance(shipped, [other])


def test_double_brightness_takes_a_bit_more() -> None:
    film = np.array([[0, 128, 255]], dtype=np.uint8)
    assert deep(film, 12, 2.0).tolist() == [[0, 4111, 8190]]
