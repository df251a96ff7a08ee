"""Bytes of a JPEG or PNG to one grey film: the only decoding, shared by the server and the training.

The film is squashed to 224x224 without a crop and without keeping its aspect ratio: it is what the training films
had, and nothing of the lungs is cut off.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from handler.errors import DamagedFilm, MissingFilm, UnsupportedFormat, UnusableFilm

VERSION = 2
"""Raised whenever the same bytes would give other pixels: a model is only valid with the version it learned from."""

INPUT_PX = 224
MAX_PIXELS = 40_000_000
"""The largest film that is decoded. A 43x43 cm detector at 0.1 mm a pixel has 18 million."""
MIN_SIDE_PX = 64
MAX_ASPECT = 4.0
"""Longest over shortest side."""
MIN_CONTRAST = 2.0
"""Standard deviation in grey levels under which a film is blank."""

INPUT_SIZE = (INPUT_PX, INPUT_PX)
"""What a film is squashed to, and the least that a JPEG is decoded to, DCT-scaled: that costs a fraction of the full
decode, and p moves by a few thousandths at most."""

# Pillow has no one type for a damaged file; these are what its JPEG, PNG and EXIF readers raise.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
)

# `decode` checks the size itself, before anything is decoded, with an answer for the client instead of a warning.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a film beside its pixels."""

    format: str
    """"JPEG" or "PNG"."""
    width_px: int
    height_px: int
    """As stored, before EXIF orientation."""
    colour: float
    """Mean absolute difference between the colour channels, in levels (0 to 255); 0 for a grey file."""
    contrast: float
    """Standard deviation of the grey film, in levels (0 to 255)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """One decoded film."""

    pixels: npt.NDArray[np.uint8]
    """(224, 224), 0 to 255, bone bright as the file had it."""
    facts: Facts


def decode(data: bytes | bytearray | memoryview) -> Film:
    """Decode one JPEG or PNG: grey or colour, 8 or 16 bits, palette, alpha and EXIF orientation.

    Raises:
        MissingFilm: no bytes.
        UnsupportedFormat: not a JPEG or PNG.
        DamagedFilm: truncated, a bad checksum, broken headers.
        UnusableFilm: over 40 million pixels, a side under 64, sides of more than 4:1, or blank.
    """
    if not data:
        raise MissingFilm("the file is empty")
    image = _open(data)
    _check_shape(*image.size)
    facts_size = image.size
    kind = "PNG" if image.format == "PNG" else "JPEG"  # Pillow calls a JPEG that holds several pictures an MPO
    try:
        image.draft(None, INPUT_SIZE)
        image = ImageOps.exif_transpose(image)
        grey, colour = _grey(image)
    except _PILLOW_ERRORS as exc:
        raise DamagedFilm(f"the {kind} cannot be decoded: {exc}") from exc
    pixels = np.asarray(grey)
    contrast = float(pixels.std())
    if contrast < MIN_CONTRAST:
        raise UnusableFilm(f"the film is blank: contrast {contrast:.1f} of at least {MIN_CONTRAST} grey levels")
    width, height = facts_size
    facts = Facts(format=kind, width_px=width, height_px=height, colour=colour, contrast=contrast)
    return Film(pixels=pixels, facts=facts)


def _open(data: bytes | bytearray | memoryview) -> Image.Image:
    """Read the header only, and for a PNG the checksum of every chunk."""
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except UnidentifiedImageError as exc:
        if bytes(data[:2]) == b"\xff\xd8" or bytes(data[:4]) == b"\x89PNG":
            raise DamagedFilm("the file starts as a JPEG or PNG, but its header cannot be read") from exc
        raise UnsupportedFormat("the file is not a JPEG or PNG") from exc
    except _PILLOW_ERRORS as exc:
        raise DamagedFilm(f"the header cannot be read: {exc}") from exc
    if image.format == "PNG":
        # Pillow checks no checksum of pixel data when it decodes, only when it is asked to verify.
        try:
            image.verify()
        except _PILLOW_ERRORS as exc:
            raise DamagedFilm(f"the PNG is damaged: {exc}") from exc
        image = Image.open(io.BytesIO(data), formats=("PNG",))
    return image


def _check_shape(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnusableFilm(f"the film is too large: {width}x{height} pixels, at most {MAX_PIXELS:,} are decoded")
    shortest, longest = sorted((width, height))
    if shortest < MIN_SIDE_PX:
        raise UnusableFilm(f"the film is too small: {width}x{height} pixels, each side needs {MIN_SIDE_PX}")
    if longest > MAX_ASPECT * shortest:
        raise UnusableFilm(f"the film is too elongated: {width}x{height} pixels, at most {MAX_ASPECT:g} to 1")


def _grey(image: Image.Image) -> tuple[Image.Image, float]:
    """Return the film as 8-bit grey 224x224, and the mean difference between its colour channels."""
    if image.mode.startswith("I"):
        return _squash(_eight_bits(image)), 0.0
    if image.mode in ("L", "1"):
        return _squash(image.convert("L")), 0.0
    if image.has_transparency_data:
        # Black is what surrounds a film.
        canvas = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    small = _squash(image.convert("RGB"))
    red, green, blue = np.asarray(small, dtype=np.int16).transpose(2, 0, 1)  # (3, 224, 224)
    colour = float((np.abs(red - green) + np.abs(green - blue)).mean() / 2)
    return small.convert("L"), colour


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits by the smallest usual depth that holds its brightest pixel.

    Detectors write 10 to 14 significant bits into 16-bit files; scaled by 65535 such a film would be all but black.
    """
    pixels = np.asarray(image)  # (height, width), 0 to 65535
    brightest = int(pixels.max())
    depth = next(bits for bits in (8, 10, 12, 14, 16) if brightest < 1 << bits)
    return Image.fromarray((pixels >> (depth - 8)).astype(np.uint8))


def _squash(image: Image.Image) -> Image.Image:
    return image if image.size == INPUT_SIZE else image.resize(INPUT_SIZE, Image.Resampling.BICUBIC)
