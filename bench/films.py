"""The films that are sent, and the bodies that carry them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from urllib3 import encode_multipart_formdata

from bench.contenders.scoring import ROOT
from bench.errors import InputError

REFERENCE = ROOT / "reference"
SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})

BOUNDARY = "------------------------9c1e5f0a7b3d2468"
"""As long as curl makes it: how quickly a parser searches for it depends on its length."""

GROUPS = 4
"""Of default films; each has one NORMAL and three PNEUMONIA films, the proportion of the training films."""

SCALES = (0.8, 1.2, 0.9, 1.1)
"""Of a class's mean size in pixels; the films take them in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the published films of a class are like, on average; measured on 130 NORMAL and 400 PNEUMONIA films."""

    count: int
    """In each group."""
    size_px: tuple[int, int]
    quality: int
    """Of the published JPEGs, by their quantisation tables."""
    grain_std: float
    """Grey levels of noise with which a composite has as many bytes: 633 kB and 87 kB."""


ORIGINALS = {
    "normal": Original(count=1, size_px=(1674, 1402), quality=95, grain_std=2.1),
    "pneumonia": Original(count=3, size_px=(1195, 822), quality=75, grain_std=3.3),
}


@dataclass(frozen=True, slots=True)
class BenchFilm:
    """A film as it is sent."""

    name: str
    data: bytes


def load_films(folder: Path | None) -> list[BenchFilm]:
    """Return the films of a folder sorted by name, or the default films where no folder is given.

    Raises:
        InputError: there is no such folder, or no film in it.
    """
    if folder is None:
        return default_films()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: has no JPEG or PNG film")
    return [BenchFilm(path.name, path.read_bytes()) for path in paths]


def default_films() -> list[BenchFilm]:
    """Return films that cost what published ones do to send and to decode, made of the reference films.

    They have the classes' proportion, and the mean size in pixels and bytes and the JPEG quality of each class.
    """
    return [
        BenchFilm(f"{label}-{number}.jpeg", _like(original, label, number))
        for group in range(GROUPS)
        for label, original in ORIGINALS.items()
        for number in range(group * original.count, (group + 1) * original.count)
    ]


def _like(original: Original, label: str, number: int) -> bytes:
    scale = SCALES[number % len(SCALES)]
    width, height = (round(scale * side) for side in original.size_px)
    composite = Image.open(REFERENCE / f"{label}-{number // 2 % 2 + 1}-1500.jpeg").convert("L")
    smooth = np.asarray(composite.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    grain = np.random.default_rng(number).normal(scale=original.grain_std, size=smooth.shape)
    levels = np.clip(np.rint(smooth + grain), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=original.quality)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Films for one contender."""

    urls: Sequence[str]
    """All its addresses; clients, or films, are shared evenly among them."""
    headers: Mapping[str, str]
    bodies: Sequence[Path]
    """Request bodies as files, sent in turn as they are."""


def body(film: BenchFilm, field: str | None) -> bytes:
    """Return the request body: a form with the film in `field`, or the film itself where `field` is None."""
    if field is None:
        return film.data
    return encode_multipart_formdata({field: (film.name, film.data)}, BOUNDARY)[0]


def content_type(field: str | None) -> str:
    """Return the Content-Type of such a body."""
    return "application/octet-stream" if field is None else f"multipart/form-data; boundary={BOUNDARY}"


def write_bodies(films: Sequence[BenchFilm], field: str | None, folder: Path) -> list[Path]:
    """Write the request bodies to files of the folder, and return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.body" for number in range(len(films))]
    for path, film in zip(paths, films, strict=True):
        path.write_bytes(body(film, field))
    return paths
