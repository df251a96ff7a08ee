"""The recogniser that ships, on the reference films and on pictures of nothing."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.imaging import Film, decode
from handler.presentation import recognise

Picture = npt.NDArray[np.uint8]

REFERENCE = sorted(Path("reference").glob("*.jpeg"))


def decoded(image: Image.Image) -> Film:
    file = io.BytesIO()
    image.save(file, "PNG")
    return decode(file.getvalue())


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_upright_positive_is_recognised(path: Path) -> None:
    presented = decode(path.read_bytes()).facts.presentation
    assert (presented.negative, presented.turned) == (False, None)


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_negative_is_turned_into_its_positive(path: Path) -> None:
    image = Image.open(path).convert("L")
    positive, negative = decoded(image), decoded(image.point(range(255, -1, -1)))
    assert negative.facts.presentation.negative is True
    assert np.abs(negative.pixels.astype(np.int16) - positive.pixels).max() <= 3


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("way", "turned"),
    [
        (Image.Transpose.ROTATE_90, "on its side"),
        (Image.Transpose.ROTATE_180, "upside down"),
        (Image.Transpose.ROTATE_270, "on its side"),
        (Image.Transpose.FLIP_TOP_BOTTOM, "upside down"),
    ],
)
def test_turned_film_is_reported_and_left_as_it_lies(path: Path, way: Image.Transpose, turned: str) -> None:
    image = Image.open(path).convert("L").resize((224, 224))
    film = decoded(image.transpose(way))
    assert (film.facts.presentation.negative, film.facts.presentation.turned) == (False, turned)
    upright = Image.fromarray(decoded(image).pixels)
    assert np.abs(film.pixels.astype(np.int16) - np.asarray(upright.transpose(way))).max() <= 3


def noise() -> Picture:
    return np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8)


def slope() -> Picture:
    return np.tile(np.linspace(0, 255, 224).astype(np.uint8), (224, 1))


def grey() -> Picture:
    return np.full((224, 224), 128, dtype=np.uint8)


@pytest.mark.parametrize("picture", [noise(), slope(), grey()], ids=["noise", "slope", "grey"])
def test_picture_of_nothing_is_not_inverted(picture: Picture) -> None:
    assert recognise(picture).negative is None
    assert recognise(255 - picture).negative is None
