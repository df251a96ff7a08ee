"""Where the fuzzing starts: small films in every format and kind that is read, and what it found before."""

import io
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np

from tests.dicoms import SYNTAXES, dicom
from tests.films import grey, jpeg, png, png_of_16_bits

REGRESSIONS = Path(__file__).parent / "regressions"


def regressions() -> list[Path]:
    """Return the inputs that once broke the decoding."""
    return sorted(path for path in REGRESSIONS.iterdir() if path.suffix != ".md")


def seeds() -> Iterator[bytes]:
    """Yield a film of every kind, under 20 kB each."""
    yield from map(bytes, _seeds())


def _seeds() -> Iterator[bytes | bytearray]:
    film = grey(72, 64)
    levels = np.asarray(film)
    deep = levels.astype(np.uint16) * 16
    colour = film.convert("RGB")
    yield from (jpeg(film), jpeg(colour), jpeg(film, orientation=6), jpeg(colour.convert("CMYK")))
    for options in ({"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}):
        file = io.BytesIO()
        colour.save(file, "JPEG", quality=75, **options)
        yield file.getvalue()
    yield imagecodecs.jpeg8_encode(deep, bitspersample=12)
    yield imagecodecs.jpeg8_encode(levels, lossless=True)
    yield imagecodecs.jpegls_encode(levels)
    yield imagecodecs.jpegls_encode(deep)
    yield imagecodecs.jpeg2k_encode(levels, level=0, codecformat="jp2")
    yield imagecodecs.jpeg2k_encode(deep, level=0, codecformat="j2k")
    yield from (png(film), png(colour), png(colour.convert("RGBA")), png(film.convert("LA")), png_of_16_bits(deep))
    yield from (png(film.quantize(16)), png(film.convert("1")))
    yield imagecodecs.png_encode(np.repeat(deep[:, :, None], 3, axis=2))
    yield from (dicom(deep, transfer_syntax=syntax) for syntax in SYNTAXES)
