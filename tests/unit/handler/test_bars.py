import io
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from handler.bars import MAX_ROUNDS, Bars, find_bars
from tests.films import grey

Pixels = npt.NDArray[np.uint8]

FILM = np.asarray(grey(320, 280))
PADDINGS = {
    "letterbox": ((60, 50), (0, 0)),
    "pillarbox": ((0, 0), (33, 70)),
    "square": ((20, 20), (5, 5)),
    "one side": ((0, 0), (0, 120)),
    "wide on all sides": ((160, 150), (150, 190)),
    "a pixel": ((1, 0), (0, 1)),
}


def recoded(film: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(film).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def bars_of(padding: tuple[tuple[int, int], tuple[int, int]]) -> Bars:
    (top, bottom), (left, right) = padding
    return Bars(left=left, top=top, right=right, bottom=bottom)


@pytest.mark.parametrize("seed", range(5))
def test_film_without_bars_has_none(seed: int) -> None:
    assert not find_bars(np.asarray(grey(320, 280, seed=seed)))


@pytest.mark.parametrize("level", [0, 255, 128])
@pytest.mark.parametrize("name", PADDINGS)
def test_bars_of_any_level_are_found_to_the_pixel(name: str, level: int) -> None:
    padded = np.pad(FILM, PADDINGS[name], constant_values=level)
    assert find_bars(padded) == bars_of(PADDINGS[name])
    assert np.array_equal(find_bars(padded).inside(padded), FILM)


@pytest.mark.parametrize("levels", [0, 4095, 65535])
def test_bars_of_a_deep_film_are_found_whatever_their_level(levels: int) -> None:
    deep = FILM.astype(np.uint16) * 16
    padded = np.pad(deep, PADDINGS["square"], constant_values=levels)
    assert find_bars(padded) == bars_of(PADDINGS["square"])


@pytest.mark.parametrize("quality", [75, 85, 95])
@pytest.mark.parametrize("level", [0, 255, 128])
def test_bars_are_found_through_the_noise_of_compression(level: int, quality: int) -> None:
    padding = PADDINGS["wide on all sides"]
    found = find_bars(recoded(np.pad(FILM, padding, constant_values=level), quality), block_px=8)
    for side in ("left", "top", "right", "bottom"):
        assert abs(getattr(found, side) - getattr(bars_of(padding), side)) <= 2


def test_bars_inside_of_bars_are_found() -> None:
    letterboxed = np.pad(FILM, ((40, 40), (0, 0)), constant_values=0)
    on_a_page = np.pad(letterboxed, 30, constant_values=255)
    assert find_bars(on_a_page) == Bars(left=30, top=70, right=30, bottom=70)


def test_bars_inside_of_bars_are_found_through_the_noise_of_compression() -> None:
    letterboxed = np.pad(FILM, ((43, 40), (0, 0)), constant_values=0)
    found = find_bars(recoded(np.pad(letterboxed, 30, constant_values=255), 75), block_px=8)
    assert abs(found.top - 73) <= 2
    assert abs(found.bottom - 70) <= 2


def test_noise_and_a_hot_pixel_do_not_hide_a_bar() -> None:
    padded = np.pad(FILM, PADDINGS["letterbox"], constant_values=6)
    padded[:60] += np.random.default_rng(0).integers(0, 4, (60, 320), dtype=np.uint8)
    padded[3, 100] = 255
    assert find_bars(padded).top == 60


@pytest.mark.parametrize(("level", "sigma"), [(4, 2.0), (30, 1.5), (60, 2.0)])
def test_noise_all_over_a_bar_does_not_hide_it(level: int, sigma: float) -> None:
    noisy = np.random.default_rng(0).normal(level, sigma, (500, 320)).clip(0, 255).astype(np.uint8)
    noisy[100:380] = FILM
    assert find_bars(noisy) == Bars(top=100, bottom=120)


def test_a_line_of_text_in_a_bar_does_not_hide_it() -> None:
    picture = Image.fromarray(np.pad(FILM, PADDINGS["letterbox"]))
    ImageDraw.Draw(picture).text((5, 5), "DOE", fill=255)
    assert find_bars(np.asarray(picture)) == bars_of(PADDINGS["letterbox"])


def test_picture_of_nothing_but_rings_is_looked_at_a_few_times() -> None:
    distance = np.minimum(np.arange(600), np.arange(600)[::-1])
    rings = (np.minimum(distance[:, None], distance) * 97 % 256).astype(np.uint8)
    assert find_bars(rings).left <= 2 * MAX_ROUNDS


def test_dark_background_with_anatomy_in_it_is_kept() -> None:
    film = np.zeros((280, 320), dtype=np.uint8)
    film[:, 120:200] = FILM[:, 120:200]  # a neck, as high as the film
    assert find_bars(film) == Bars(left=120, top=0, right=120, bottom=0)


def with_arm(*, slope: float = 0.0, level: int = 160) -> Pixels:
    """Return a film with black on its left, 200 columns wide, that an arm crosses in a tenth of its 400 rows."""
    film = np.pad(np.asarray(grey(320, 400)), ((0, 0), (200, 0)))
    for column in range(200):
        first = 180 + round(slope * column)
        film[first : first + 40, column] = level
    return film


@pytest.mark.parametrize("slope", [0.0, 0.4, -0.7])
@pytest.mark.parametrize("turns", range(4))
def test_arm_that_crosses_a_black_side_is_kept(slope: float, turns: int) -> None:
    assert not find_bars(np.ascontiguousarray(np.rot90(with_arm(slope=slope), turns)))


def test_arm_that_ends_in_a_black_side_is_kept_and_the_rest_is_trimmed() -> None:
    film = with_arm()
    film[:, :80] = 0
    assert find_bars(film) == Bars(left=80)


def test_letterbox_around_an_arm_is_trimmed() -> None:
    assert find_bars(np.pad(with_arm(), 60)) == Bars(left=60, top=60, right=60, bottom=60)


def test_arm_in_a_picture_of_rings_is_looked_at_in_little_time() -> None:
    film = np.random.default_rng(0).integers(0, 256, (2800, 2800), dtype=np.uint8)
    film[:, :2100] = 0
    film[1300:1500, :2100] = 128
    for ring in range(20):
        film[[ring, -1 - ring]] = 97 * ring % 256
    begun = time.process_time()
    assert find_bars(film).left == 0
    assert time.process_time() - begun < 1.0


def test_text_beside_a_film_does_not_hide_the_bar() -> None:
    picture = Image.fromarray(np.pad(FILM, PADDINGS["one side"]))
    ImageDraw.Draw(picture).text((325, 100), "DOE, JANE\n1949-02-11", fill=255)
    assert find_bars(np.asarray(picture)) == bars_of(PADDINGS["one side"])


def test_text_that_a_small_film_blurs_to_a_blot_does_not_hide_a_bar() -> None:
    padded = np.pad(FILM, PADDINGS["one side"])
    padded[10:18, 340:420] = 200
    assert find_bars(padded) == bars_of(PADDINGS["one side"])


def test_marker_and_a_thin_line_do_not_hide_a_bar() -> None:
    padded = np.pad(FILM, PADDINGS["one side"])
    padded[20:32, 380:392] = 255
    padded[150:152, 320:] = 255
    assert find_bars(padded) == bars_of(PADDINGS["one side"])


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_film_of_one_level_is_left_whole(make: Callable[..., Pixels]) -> None:
    assert not find_bars(make((100, 100), dtype=np.uint8))


def test_little_film_in_large_bars_is_left_whole() -> None:
    assert not find_bars(np.pad(FILM, 800))


def test_trimmed_film_has_no_bars() -> None:
    padded = np.pad(FILM, PADDINGS["square"])
    assert not find_bars(find_bars(padded).inside(padded))


def test_widths_follow_the_scale() -> None:
    assert Bars(left=10, top=20, right=0, bottom=5).scaled(2.0, 0.5) == Bars(left=20, top=10, right=0, bottom=2)


def test_only_bars_are_widened() -> None:
    assert Bars(left=10, top=0, right=1, bottom=0).widened() == Bars(left=11, top=0, right=2, bottom=0)
