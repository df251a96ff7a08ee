import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from handler.bars import Bars
from handler.explanation import Area, explanation, picture
from handler.imaging import Facts, Film, upright

FACTS = Facts(kind="JPEG", width_px=400, height_px=300, colour=0.0, contrast=50.0)
BARS = Bars(left=10, top=20, right=30, bottom=40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_area_is_where_the_film_without_its_bars_is_seen(orientation: int) -> None:
    stored = np.zeros((400, 400), dtype=np.uint8)  # square, as `upright` wants it
    stored[20:360, 10:370] = 1
    seen = upright(stored, orientation)
    area = Area.of(replace(FACTS, width_px=400, height_px=400, bars=BARS, orientation=orientation))
    inside = seen[area.top_px : area.bottom_px, area.left_px : area.right_px]
    assert inside.all()
    assert inside.sum() == seen.sum()


def test_turned_film_has_its_sides_exchanged() -> None:
    area = Area.of(replace(FACTS, orientation=6))
    assert (area.width_px, area.height_px, area.right_px, area.bottom_px) == (300, 400, 300, 400)


def film(facts: Facts = FACTS) -> Film:
    return Film(pixels=np.full((224, 224), 128, dtype=np.uint8), facts=facts)


def drawn(activation_map: np.ndarray, *, opacity: float, facts: Facts = FACTS) -> np.ndarray:
    png = picture(film(facts), activation_map.astype(np.float32), opacity=opacity)
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def test_picture_has_the_films_own_sides() -> None:
    assert drawn(np.zeros((5, 5)), opacity=0.0).shape == (240, 320, 3)
    assert drawn(np.zeros((5, 5)), opacity=0.0, facts=replace(FACTS, height_px=4 * 400)).shape == (320, 80, 3)


def test_what_speaks_for_pneumonia_is_orange_and_against_it_blue() -> None:
    speaks = np.zeros((5, 5))
    speaks[:, 0], speaks[:, 4] = 9.0, -9.0
    pixels = drawn(speaks, opacity=0.8)
    for_it, neutral, against = pixels[120, 10], pixels[120, 160], pixels[120, 310]
    assert for_it[0] > for_it[2] + 50
    assert against[2] > against[0] + 50
    assert np.ptp(neutral) < 10


def test_without_opacity_the_film_is_drawn_alone() -> None:
    assert np.ptp(drawn(np.ones((5, 5)), opacity=0.0)) == 0


def test_legend_has_room_below_a_narrow_film() -> None:
    narrow = replace(FACTS, height_px=4 * 400)
    assert drawn(np.ones((5, 5)), opacity=0.5, facts=narrow).shape[1] == 320


def test_bars_stay_black() -> None:
    facts = replace(FACTS, bars=Bars(left=100))
    assert drawn(np.ones((5, 5)), opacity=1.0, facts=facts)[:230, :70].max() == 0


def test_map_is_given_with_its_place() -> None:
    found = explanation(np.full((2, 2), 8.0, dtype=np.float32), replace(FACTS, bars=BARS))
    assert found["map"] == [[2.0, 2.0], [2.0, 2.0]]
    assert [found[name] for name in ("left_px", "top_px", "right_px", "bottom_px")] == [10, 20, 370, 260]
