from pathlib import Path

import numpy as np
import pytest

from handler.contract import ModelContract
from handler.engine import STATISTICS, Engine
from handler.gate import Gate
from handler.imaging import Facts, Film
from tests.films import grey, png
from tests.models import contract, detector
from training.errors import DataError
from training.gate.measures import Sets, alternatives, measures, table
from training.gate.pictures import Pictures, read_pictures
from training.gate.views import Views, seen_of

FACTS = Facts(kind="JPEG", width_px=1500, height_px=1200, colour=0.0, contrast=50.0)


def views(distances: list[float], *, facts: Facts = FACTS) -> Views:
    """Return views of films at distances of the detector of `tests.models`, two of each patient."""
    statistics = np.zeros((len(distances), STATISTICS), dtype=np.float32)
    statistics[:, -1] = np.array(distances) * np.sqrt(STATISTICS)
    return Views(
        films=[Film(pixels=np.full((224, 224), 120, dtype=np.uint8), facts=facts) for _ in distances],
        patients=[str(number // 2) for number in range(len(distances))],
        statistics=statistics,
        features=statistics,
    )


@pytest.fixture
def sets() -> Sets:
    children = [0.5 + 0.001 * number for number in range(100)]
    picture = views([20.0, 0.5])
    return Sets(
        as_they_are=views(children),
        fitted=views(children),
        held_out=views(children),
        copies=views([0.5, 1.5]),
        acquired={"close framing": views([0.5, 0.5, 0.5, 1.5])},
        adults=views([1.5, 1.5, 0.5, 20.0]),
        pictures={"icons": Pictures(as_they_are=picture, grey=picture, refused=1)},
    )


def test_shares_are_counted(sets: Sets) -> None:
    report = measures(Gate(bounds=contract().gate, detector=detector(unlike=1.0)), sets)
    assert report["children"]["held_out"]["anything"]["value"] == 0.0
    assert report["children"]["copies"]["anything"]["value"] == 0.5
    assert report["children"]["acquisitions"]["close framing"]["value"] == 0.25
    assert report["adults"]["reasons"]["unlike_training_films"]["value"] == 0.5
    assert report["adults"]["reasons"]["not_a_chest_film"]["value"] == 0.25
    assert report["adults"]["anything"]["value"] == 0.75
    assert report["pictures"]["icons"]["grey"]["value"] == 0.5
    assert (report["pictures"]["icons"]["n"], report["pictures"]["icons"]["refused"]) == (2, 1)
    assert "icons: caught, in grey" in table(report)


def test_cross_fitted_share_is_of_limits_chosen_without_the_patient(sets: Sets) -> None:
    report = measures(Gate(bounds=contract().gate, detector=detector(unlike=1.0)), sets)
    # The farthest film is beyond what all others choose; of the shipped limit, none of those held out is.
    assert report["children"]["cross_fitted"]["value"] >= 1 / 102


def test_other_statistics_are_compared_at_the_same_share(sets: Sets) -> None:
    found = alternatives(sets)
    assert {"the last features", "stage 4", "all three stages, as shipped"} <= found.keys()
    assert all(one.keys() == {"acquisitions", "adults", "pictures"} for one in found.values())


def test_pictures_are_read_as_they_are_and_in_grey(tmp_path: Path, store: Path) -> None:
    (tmp_path / "pictures" / "icons").mkdir(parents=True)
    (tmp_path / "pictures" / "icons" / "a.png").write_bytes(png(grey().convert("RGB")))
    (tmp_path / "pictures" / "icons" / "b.txt").write_bytes(b"no picture")
    engine = Engine(store / "pneumonia.onnx")
    (icons,) = read_pictures(tmp_path / "pictures", engine).values()
    assert (len(icons.as_they_are.films), len(icons.grey.films), icons.refused) == (1, 1, 1)
    with pytest.raises(DataError, match="wants folders of pictures"):
        read_pictures(tmp_path / "none", engine)


def test_views_are_what_the_gate_judges(store: Path) -> None:
    films = [Film(pixels=np.full((224, 224), level, dtype=np.uint8), facts=FACTS) for level in (10, 200)]
    found = seen_of(Engine(store / "pneumonia.onnx"), films)
    gate = Gate.load(store, ModelContract.load(store / "contract.json"))
    assert found.reasons(gate) == [(), ()]
    assert Views.together([found, found]).of(np.array([False, True, True, False])).statistics.shape == (2, STATISTICS)
