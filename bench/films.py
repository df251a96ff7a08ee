"""The films that are sent, and the bodies that carry them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.errors import InputError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})

FULL_SIZE = "-1500"
"""Ends the names of the full-size reference films, beside which lie small ones that are not measured with."""

BOUNDARY = "------------------------9c1e5f0a7b3d2468"
"""As long as curl makes it: how quickly it is searched for depends on that."""

JPEG_QUALITY = 92
"""Of films made in other sizes; the reference films have about as many bytes a pixel."""


@dataclass(frozen=True, slots=True)
class BenchFilm:
    """A film as it is sent."""

    name: str
    data: bytes
    width_px: int | None = None
    """What it was made to; None for a film as it is."""


def find_films(folder: Path) -> list[BenchFilm]:
    """Read the films of a folder, sorted by name; of the reference films, those of full size.

    Raises:
        InputError: there is no such folder, or no film in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if path.stem.endswith(FULL_SIZE)] or paths
    if not paths:
        raise InputError(f"{folder}: has no JPEG or PNG film")
    return [BenchFilm(path.name, path.read_bytes()) for path in paths]


def resized(film: BenchFilm, width_px: int) -> BenchFilm:
    """Return the film at another width, its aspect ratio kept, as a grey JPEG."""
    image = Image.open(io.BytesIO(film.data)).convert("L")
    height_px = round(image.height * width_px / image.width)
    file = io.BytesIO()
    image.resize((width_px, height_px), Image.Resampling.BICUBIC).save(file, "JPEG", quality=JPEG_QUALITY)
    return BenchFilm(f"{Path(film.name).stem}-{width_px}.jpeg", file.getvalue(), width_px)


def megapixels(film: BenchFilm) -> float:
    """Return how many million pixels the film has."""
    width, height = Image.open(io.BytesIO(film.data)).size
    return width * height / 1e6


def body(film: BenchFilm, field: str | None) -> bytes:
    """Return the request body: a form with the film in `field`, or the film alone where `field` is None.

    Source: RFC 7578, section 4
    """
    if field is None:
        return film.data
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="{film.name}"\r\n'
        f"Content-Type: {'image/png' if film.name.lower().endswith('.png') else 'image/jpeg'}\r\n\r\n"
    )
    return head.encode() + film.data + f"\r\n--{BOUNDARY}--\r\n".encode()


def content_type(field: str | None) -> str:
    """Return the Content-Type of such a body."""
    return "application/octet-stream" if field is None else f"multipart/form-data; boundary={BOUNDARY}"


def write_bodies(films: Sequence[BenchFilm], field: str | None, folder: Path) -> list[Path]:
    """Write the request bodies to files of the folder, which a load generator sends as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, film in enumerate(films):
        path = folder / f"{number:03d}.body"
        path.write_bytes(body(film, field))
        paths.append(path)
    return paths
