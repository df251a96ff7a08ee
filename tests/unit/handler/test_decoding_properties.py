"""What holds of the decoding whatever the film: tried on films and files that hypothesis makes up."""

import contextlib
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from handler.errors import FilmError
from handler.imaging import Film, decode
from tests.dicoms import SYNTAXES, dicom
from tests.films import grey, jpeg, png, png_of_16_bits
from tests.fuzz.seeds import seeds

SEEDS = list(seeds())
REFERENCE = sorted(Path("reference").glob("*.jpeg"))
FEW = settings(max_examples=40, deadline=None)
MANY = settings(max_examples=300, deadline=None)

films = st.builds(grey, st.integers(80, 500), st.integers(80, 400), seed=st.integers(0, 99)).filter(
    lambda film: max(film.size) < 3 * min(film.size)
)
widths = st.integers(0, 200)


def difference(one: Film, other: Film) -> float:
    """Return the mean difference of two films, in levels."""
    return float(np.abs(one.pixels.astype(int) - other.pixels).mean())


@MANY
@given(st.binary(max_size=300))
def test_any_bytes_are_a_film_or_refused(data: bytes) -> None:
    with contextlib.suppress(FilmError):
        decode(data)


@MANY
@given(st.data())
def test_any_film_with_bytes_exchanged_is_a_film_or_refused(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    with contextlib.suppress(FilmError):
        decode(bytes(changed))


@FEW
@given(films, st.tuples(widths, widths), st.tuples(widths, widths), st.sampled_from((0, 255, 128)))
def test_bars_change_nothing(film: Image.Image, rows: tuple[int, int], columns: tuple[int, int], level: int) -> None:
    padded = np.pad(np.asarray(film), (rows, columns), constant_values=level)
    height, width = padded.shape
    # Otherwise it is beyond what is trimmed, or no film's shape.
    assume(min(film.height / height, film.width / width) >= 0.25 and max(height, width) < 4 * min(height, width))
    assert difference(decode(png(Image.fromarray(padded))), decode(png(film))) < 1.0


@FEW
@given(films, st.integers(9, 16), st.floats(0.4, 1.0))
def test_depth_and_brightness_change_nothing(film: Image.Image, bits: int, brightness: float) -> None:
    levels = np.asarray(film) * (brightness * ((1 << bits) - 1) / 255)
    assert difference(decode(png_of_16_bits(levels.astype(np.uint16))), decode(png(film))) < 2.0


@FEW
@given(st.sampled_from(REFERENCE), st.integers(256, 700), st.integers(256, 700), st.floats(0.5, 1.0))
def test_negative_becomes_the_same_film(path: Path, width: int, height: int, brightness: float) -> None:
    film = Image.open(path).convert("L").resize((width, height)).point(lambda level: round(level * brightness))
    plain, negative = decode(png(film)), decode(png(Image.fromarray(255 - np.asarray(film))))
    assert (plain.facts.presentation.negative, negative.facts.presentation.negative) == (False, True)
    assert difference(negative, plain) < 1.5


@FEW
@given(films, st.sampled_from(sorted(SYNTAXES)))
def test_dicom_becomes_the_same_in_every_transfer_syntax(film: Image.Image, syntax: str) -> None:
    result = decode(dicom(np.asarray(film), transfer_syntax=syntax))
    assert difference(result, decode(png(film))) < 4.0
    assert difference(result, decode(jpeg(film))) < 4.0
