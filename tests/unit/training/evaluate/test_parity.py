import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.films import write_data_set
from tests.models import contract
from training.data.films import find_films
from training.errors import ArtefactError, DataError
from training.evaluate.parity import Change, change, check, decoded, main, table


def run(monkeypatch: pytest.MonkeyPatch, data: Path, store: Path) -> None:
    monkeypatch.setattr("sys.argv", ["parity", "--data", str(data), "--model-store", str(store)])
    main()


def test_films_that_the_shortcuts_leave_alone_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(monkeypatch, write_data_set(tmp_path / "data", levels=(90, 160)), store)
    assert "12 films" in caplog.text
    assert "flipped at rule_out" in caplog.text


def test_film_is_decoded_in_full_and_as_served(tmp_path: Path) -> None:
    (tmp_path / "data" / "PNEUMONIA").mkdir(parents=True)
    (tmp_path / "data" / "PNEUMONIA" / "person2_bacteria_2.jpeg").write_bytes(b"no film")
    (tmp_path / "data" / "PNEUMONIA" / "person3_bacteria_3.jpeg").symlink_to("nowhere")
    folder = tmp_path / "data" / "NORMAL"
    folder.mkdir()
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (2000, 1000))
    stripes[:, :1000] //= 2
    picture = io.BytesIO()
    Image.fromarray(stripes).save(picture, "JPEG", quality=90)
    (folder / "IM-0001-0001.jpeg").write_bytes(picture.getvalue())
    plain, scaled = decoded(find_films(tmp_path / "data"))
    assert plain.shape == scaled.shape == (1, 224, 224)
    assert 0 < np.abs(plain.astype(int) - scaled).max() < 64


def test_folder_without_a_film_is_a_mistake(tmp_path: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.jpeg").write_bytes(b"no film")
    with pytest.raises(DataError, match="no film"):
        decoded(find_films(tmp_path / "data"))


def test_change_counts_films_that_change_sides() -> None:
    result = change(contract(), np.array([0.1, 0.3, 0.45, 0.9]), np.array([0.25, 0.3, 0.55, 0.9]))
    assert result.mean == pytest.approx(0.0625)
    assert result.largest == pytest.approx(0.15)
    assert result.flipped == {"rule_out": 1, "balanced": 1}


def test_sides_are_recognised_by_four_decimals() -> None:
    assert change(contract(), np.array([0.2]), np.array([0.19999])).flipped["rule_out"] == 0


@pytest.mark.parametrize(("mean", "flips", "said"), [(0.02, 0, "on average"), (0.0, 1, "1 films change sides")])
def test_broken_limit_is_an_error(mean: float, flips: int, said: str) -> None:
    served = Change(mean=mean, largest=0.5, flipped={"rule_out": flips, "balanced": 3})
    assert "0.5000" in table({"both": served})
    with pytest.raises(ArtefactError, match=said):
        check(served, "rule_out")
