from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.formats import dicom
from tests.dicoms import dicom as dicom_of

WIDTH, HEIGHT = 400, 320


def shape_of_levels(low: int, high: int, noise: float) -> npt.NDArray[np.int32]:
    """Return a film with levels from low to high, smooth but for a detector's noise."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(low, high, (8, 8)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return np.clip(smooth + generator.normal(0, noise, smooth.shape), low, high).astype(np.int32)


def read(film: npt.NDArray[np.int32], *, bits: int, signed: bool, **tags: Any) -> tuple[tuple[str, ...], Any]:
    """Return the warnings and the pixels of a film, of which a DICOM file states bits and sign."""
    cells = film.astype(np.int16 if film.min() < 0 else np.uint16)
    stated: dict[str, Any] = {
        "PixelData": cells.tobytes(),
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
    }
    source = dicom.open(dicom_of(film.astype(np.uint16), **stated, **tags))
    return source.header.warnings, source.read(HEIGHT)


DEEP = shape_of_levels(200, 15_000, 20)
TWELVE = shape_of_levels(50, 4000, 10)
SIGNED = TWELVE - 2000


@pytest.mark.parametrize(
    ("film", "bits", "signed"),
    [
        pytest.param(DEEP, 12, False, id="14 bits, said to be 12"),
        pytest.param(SIGNED, 16, False, id="signed, said to be unsigned"),
        pytest.param(SIGNED, 12, False, id="signed of 12 bits, said to be unsigned"),
        pytest.param(TWELVE, 12, True, id="unsigned, said to be signed"),
        pytest.param(4 * DEEP, 16, True, id="unsigned of 16 bits, said to be signed"),
    ],
)
def test_film_is_read_rightly_where_the_file_misstates_its_samples(
    film: npt.NDArray[np.int32], bits: int, *, signed: bool
) -> None:
    warnings, pixels = read(film, bits=bits, signed=signed)
    assert warnings == ("Warning: the DICOM file misstates the bits or the sign of its pixels.",)
    assert np.corrcoef(pixels.ravel(), film.ravel())[0, 1] > 0.9999


def test_padding_of_a_misstated_sign_is_no_part_of_the_film() -> None:
    film = SIGNED.copy()
    film[:, :50] = -32_768
    padding: dict[str, Any] = {"PixelPaddingValue": 0x8000}
    _, pixels = read(film, bits=16, signed=False, **padding)
    assert np.array_equal(pixels, read(film, bits=16, signed=True, PixelPaddingValue=-0x8000)[1])
    assert pixels[:, :50].min() == pixels.min()


def with_letters(level: int) -> npt.NDArray[np.int32]:
    film = TWELVE // 8
    film[20:60:2, 20:300:3] = level
    return film


def with_overlay() -> npt.NDArray[np.int32]:
    film = TWELVE.copy()
    film[::3, ::5] |= 0x1000
    film[100:200, 100:150] |= 0x8000
    return film


@pytest.mark.parametrize(
    ("film", "bits", "signed"),
    [
        pytest.param(TWELVE, 12, False, id="12 bits"),
        pytest.param(4 * DEEP, 16, False, id="16 bits"),
        pytest.param(SIGNED, 16, True, id="signed"),
        pytest.param(SIGNED, 12, True, id="signed of 12 bits, its sign extended"),
        pytest.param(with_overlay(), 12, False, id="overlay in unused bits"),
        pytest.param(np.where(np.arange(WIDTH) < 90, 0xF000, TWELVE), 12, False, id="padding beyond the bits"),
        pytest.param(with_letters(4095), 12, False, id="white letters"),
        pytest.param(with_letters(4000), 12, False, id="bright letters"),
        pytest.param(np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH)), 12, False, id="noise"),
        pytest.param(np.random.default_rng(0).integers(0, 65_536, (HEIGHT, WIDTH)), 12, False, id="noise in all bits"),
    ],
)
def test_film_is_read_as_the_file_says_where_nothing_is_certain(
    film: npt.NDArray[Any], bits: int, *, signed: bool
) -> None:
    assert read(film.astype(np.int32), bits=bits, signed=signed)[0] == ()
