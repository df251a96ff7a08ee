import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from training.changes.framing import OUTWARDS, find_frames, framed, window_as

SIDE = 224
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


def scene() -> npt.NDArray[np.uint8]:
    """Return a smooth picture (448, 448) unlike itself anywhere else, whose middle half is a film."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(448, 448)), 16)
    picture: npt.NDArray[np.uint8] = np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    return picture


def film(*, x: float = 0.0, y: float = 0.0, scale: float = 1.0) -> npt.NDArray[np.uint8]:
    """Return a film of the scene, its contents moved by shares of the side and scaled about the middle."""
    half = SIDE / scale / 2
    box = (SIDE - x * SIDE / scale - half, SIDE - y * SIDE / scale - half)
    end = (box[0] + 2 * half, box[1] + 2 * half)
    return np.asarray(Image.fromarray(scene()).resize((SIDE, SIDE), Image.Resampling.BICUBIC, (*box, *end)))


def test_what_lies_elsewhere_is_found_there() -> None:
    films = np.stack([film()] * 6 + [film(x=0.12), film(y=-0.12), film(scale=1.3)])
    frames = find_frames(films, np.arange(9) % 2)
    centre = (frames.boxes[:, :2] + frames.boxes[:, 2:]) / 2
    width = frames.boxes[:, 2] - frames.boxes[:, 0]
    assert frames.found.all()
    assert centre[6, 0] - centre[0, 0] == pytest.approx(0.12, abs=0.04)
    assert centre[7, 1] - centre[0, 1] == pytest.approx(-0.12, abs=0.04)
    assert width[8] / width[0] == pytest.approx(1.3, abs=0.15)


def test_exposure_does_not_move_what_is_found() -> None:
    films = np.stack([film(), film(x=0.1), (film(x=0.1) // 3 + 90).astype(np.uint8), film()])
    boxes = find_frames(films, np.array([0, 1, 0, 1])).boxes
    assert np.abs(boxes[1] - boxes[2]).max() <= 1 / 32


def test_noise_is_not_taken_for_a_chest() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    films = np.concatenate([np.stack([film()] * 8), noise])
    assert find_frames(films, np.arange(10) % 2).found.tolist() == [True] * 8 + [False] * 2


def test_films_of_an_odd_side_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 7"):
        find_frames(np.zeros((2, 100, 100), np.uint8), np.array([0, 1]))


def test_the_whole_window_shows_the_film_itself() -> None:
    assert np.array_equal(framed(film(), WHOLE), film())


def test_a_window_within_shows_what_is_there() -> None:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[56:168, 56:168] = 200
    assert (framed(picture, np.array([0.3, 0.3, 0.7, 0.7])) == 200).all()


def test_a_window_far_beyond_ends_where_the_edge_has_gone_on_a_little() -> None:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[:, 0] = 255
    bright = (framed(picture, np.array([-0.5, 0.0, 1.0, 1.0])) > 128).mean()
    assert bright == pytest.approx(OUTWARDS / (1 + OUTWARDS), abs=0.01)


def test_the_same_frame_wants_the_whole_film() -> None:
    mine = np.array([0.2, 0.3, 0.7, 0.8])
    assert np.allclose(window_as(mine, mine), WHOLE)


def test_a_larger_chest_wants_a_narrower_window() -> None:
    mine, larger = np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0])
    assert np.allclose(window_as(mine, larger), mine)
