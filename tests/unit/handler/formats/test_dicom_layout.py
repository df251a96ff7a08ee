from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.errors import DamagedFilm, UnsupportedFormat, UnusableFilm
from handler.formats import dicom
from handler.formats.source import MAX_PIXELS
from tests.dicoms import dicom as dicom_of

WIDTH, HEIGHT = 120, 100
FILM = np.asarray(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))


def read(data: bytes, min_px: int = HEIGHT) -> npt.NDArray[np.float64]:
    """Return a film as it is read, in levels of 0 to 255."""
    pixels = dicom.open(data).read(min_px)
    return pixels / (257 if pixels.dtype == np.uint16 else 1)


def error_of(data: bytes) -> float:
    """Return how far a DICOM file is from the film it was made of, in levels."""
    return float(np.abs(read(data) - FILM).mean())


@pytest.mark.parametrize("name", ["explicit", "big endian", "RLE", "JPEG-LS"])
def test_deep_colour_is_kept(name: str) -> None:
    film = np.stack([FILM, FILM // 2, 255 - FILM], axis=-1).astype(np.uint16) * np.uint16(16)
    found = read(dicom_of(film, bits_stored=12, transfer_syntax=name))
    assert np.abs(found - film / 16).mean() < 1.1


def test_large_colour_film_is_reduced() -> None:
    film = np.zeros((500, 600, 3), np.uint8)
    assert read(dicom_of(film), 100).shape == (250, 300, 3)


def test_planes_of_colour_one_after_the_other_are_read() -> None:
    film = np.stack([FILM, FILM // 2, 255 - FILM], axis=-1)
    data = dicom_of(film, PlanarConfiguration=1, PixelData=np.moveaxis(film, -1, 0).tobytes())
    assert np.abs(read(data) - film).mean() < 1.1


@pytest.mark.parametrize("name", ["explicit", "RLE", "JPEG-LS", "lossless JPEG"])
def test_luminance_and_colour_differences_become_colours(name: str) -> None:
    rgb = np.stack([FILM, FILM // 2, FILM // 3], axis=-1)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    found = read(dicom_of(ybr, transfer_syntax=name, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found - rgb).mean() < 2


def test_luminance_is_taken_where_pixels_share_their_colours() -> None:
    pairs = np.full((HEIGHT, WIDTH // 2, 4), 128, np.uint8)
    pairs[..., :2] = FILM.reshape(HEIGHT, WIDTH // 2, 2)
    film = np.stack([FILM] * 3, axis=-1)
    data = dicom_of(film, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())
    assert error_of(data) < 1.1


@pytest.mark.parametrize(
    ("tags", "result"),
    [
        ({"BitsAllocated": 32, "PixelData": bytes(4 * WIDTH * HEIGHT)}, "8 or 16 bits"),
        ({"BitsAllocated": 1, "PixelData": bytes(WIDTH * HEIGHT // 8)}, "8 or 16 bits"),
        ({"BitsAllocated": None}, "8 or 16 bits"),
        ({"FloatPixelData": bytes(4 * WIDTH * HEIGHT), "PixelData": None}, "floating-point"),
        ({"DoubleFloatPixelData": bytes(8 * WIDTH * HEIGHT), "PixelData": None}, "floating-point"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours are not read"),
        ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3}, "colours are not read"),
        ({"SamplesPerPixel": 4}, "colours are not read"),
        ({"SamplesPerPixel": 3}, "colours are not read"),
    ],
    ids=str,
)
def test_other_pixels_are_refused(tags: dict[str, Any], result: str) -> None:
    with pytest.raises(UnsupportedFormat, match=result):
        dicom.open(dicom_of(FILM, **tags))


@pytest.mark.parametrize("tags", [{"Rows": None}, {"Columns": None}, {"Rows": 0}], ids=str)
def test_file_without_a_size_is_damaged(tags: dict[str, Any]) -> None:
    with pytest.raises(DamagedFilm, match="how large"):
        dicom.open(dicom_of(FILM, **tags))


def test_film_of_no_usable_size_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(UnusableFilm, match="too large") as result:
        dicom.open(dicom_of(FILM, Rows=65_000, Columns=65_000))
    assert f"{MAX_PIXELS:,}" in str(result.value)
    with pytest.raises(UnusableFilm, match="too small"):
        dicom.open(dicom_of(FILM[:50]))


@pytest.mark.parametrize(
    "tags",
    [
        {"BitsStored": None},
        {"BitsStored": 0},
        {"BitsStored": 99},
        {"HighBit": None},
        {"HighBit": 200},
        {"HighBit": 2},
        {"PixelRepresentation": None},
        {"PhotometricInterpretation": None},
        {"SamplesPerPixel": None},
        {"NumberOfFrames": ""},
        {"NumberOfFrames": 0},
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
    ids=str,
)
def test_missing_and_impossible_values_do_not_matter(tags: dict[str, Any]) -> None:
    assert error_of(dicom_of(FILM, **tags)) < 1.1
