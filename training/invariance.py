"""python -m training.invariance --data DIR_OR_CSV [--model-store model_store] [--films N] [--json FILE]

Tell how far p_pneumonia moves when a film comes in another way: with bars around it, at another depth or brightness, as
a negative, with stray pixels, or as a DICOM file. Each film is decoded, changed as its pixels are stored, written anew,
and scored again.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt

from handler.errors import FilmError
from handler.formats.registry import open_film
from handler.imaging import decode
from handler.screening import probabilities
from training import cli
from training.errors import DataError
from training.evaluate import THREADS, Shipped, logits_of
from training.films import FilmFile, find_films
from training.metrics import Floats

logger = logging.getLogger(__name__)

LIMIT = 0.02
"""Of a change of p_pneumonia; larger ones are counted."""

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
Change = Callable[[Pixels, Random], bytes]
"""From a grey film (H, W) of 8 bits to another file of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a change does to p_pneumonia."""

    films: int
    refused: int
    """That were read as they are, and not as they were changed."""
    mean: float
    largest: float
    over_limit: int
    """Films that moved by more than LIMIT."""


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder {NORMAL,PNEUMONIA}/*, or a CSV")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="folder of the shipped artefact")
    parser.add_argument("--films", type=int, help="only so many of them, evenly spread")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()
    files = find_films(args.data)
    if args.films:
        files = files[:: max(1, len(files) // args.films)]
    moved = invariance(Shipped.load(args.model_store), files)
    logger.info("%s", table(moved))
    if args.json:
        figures = {name: asdict(one) for name, one in moved.items()}
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def invariance(shipped: Shipped, files: list[FilmFile]) -> dict[str, Moved]:
    """Return what each change does to the films.

    Raises:
        DataError: none can be read.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        stored = [film for film in pool.map(_stored, files) if film is not None]
    if not stored:
        raise DataError("there is no film to change")

    def score(change: Change) -> Floats:
        def decoded(number: int, film: Pixels) -> Pixels | None:
            return _decoded(change(film, np.random.default_rng(number)))

        with ThreadPoolExecutor(THREADS) as pool:
            films = list(pool.map(decoded, range(len(stored)), stored))
        p = np.full(len(films), np.nan)
        read = [film is not None for film in films]
        logits = logits_of(shipped.engine, np.stack([film for film in films if film is not None]))
        p[read] = probabilities(logits, shipped.contract.calibration)
        return p

    plain = score(lambda film, _: png(film))
    return {name: _moved(plain, score(change)) for name, change in CHANGES.items()}


def table(moved: Mapping[str, Moved]) -> str:
    """Return the figures as lines to read."""
    lines = [f"  {'':<34} films  refused  mean |change of p|  largest  over {LIMIT}"]
    lines += [
        f"  {name:<34} {one.films:>5}  {one.refused:>7}  {one.mean:>18.5f}  {one.largest:>7.4f}  {one.over_limit:>9}"
        for name, one in moved.items()
    ]
    return "\n".join(lines)


def png(film: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    """Return levels (H, W) as a PNG of their depth."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(film), level=1))


def jpeg(film: Pixels) -> bytes:
    """Return levels (H, W) as a JPEG."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(film), level=95))


def padded(film: Pixels, level: int, random: Random) -> Pixels:
    """Return the film in bars of 0 to 60 % of its sides, on four sides of five."""
    shares = random.uniform(0, 0.6, (2, 2)) * (random.random((2, 2)) < 0.8)  # noqa: PLR2004
    widths = (shares * np.array(film.shape)[:, None]).astype(int)
    return np.pad(film, tuple(map(tuple, widths.tolist())), constant_values=level)


def deep(film: Pixels, bits: int, brightness: float) -> npt.NDArray[np.uint16]:
    """Return the film at another depth, its white at a share of the depth's."""
    levels: npt.NDArray[np.uint16] = np.rint(film * (brightness * ((1 << bits) - 1) / 255)).astype(np.uint16)
    return levels


def with_stray_pixels(film: Pixels, random: Random) -> npt.NDArray[np.uint16]:
    """Return the film at 12 bits, with a pixel in ten thousand at the brightest level of 16."""
    levels = deep(film, 12, 1.0)
    levels[random.random(levels.shape) < 1e-4] = 65535  # noqa: PLR2004
    return levels


def _at_depth(bits: int, brightness: float) -> Change:
    return lambda film, _: png(deep(film, bits, brightness))


CHANGES: Mapping[str, Change] = {
    "black bars, PNG": lambda film, random: png(padded(film, 0, random)),
    "white bars, PNG": lambda film, random: png(padded(film, 255, random)),
    "grey bars, PNG": lambda film, random: png(padded(film, 128, random)),
    "no bars, JPEG of quality 95": lambda film, _: jpeg(film),
    "black bars, JPEG of quality 95": lambda film, random: jpeg(padded(film, 0, random)),
    "white bars, JPEG of quality 95": lambda film, random: jpeg(padded(film, 255, random)),
    "8 bits at half the brightness": lambda film, _: png(film // 2),
    "9 bits": _at_depth(9, 1.0),
    "9 bits at half the brightness": _at_depth(9, 0.5),
    "12 bits": _at_depth(12, 1.0),
    "12 bits at half the brightness": _at_depth(12, 0.5),
    "16 bits": _at_depth(16, 1.0),
    "16 bits at half the brightness": _at_depth(16, 0.5),
    "12 bits with stray pixels of 65535": lambda film, random: png(with_stray_pixels(film, random)),
    "negative": lambda film, _: png(255 - film),
}


def _stored(file: FilmFile) -> Pixels | None:
    """Return the grey pixels of a film of 8 bits as they are stored; None of any other."""
    try:
        source = open_film(file.path.read_bytes())
        pixels = source.read(max(source.header.width_px, source.header.height_px))
    except (OSError, FilmError) as exc:
        logger.warning("%s: left out: %s", file.path, exc)
        return None
    if pixels.dtype == np.uint16:
        return None
    grey = pixels if pixels.ndim == 2 else pixels[..., 1]  # noqa: PLR2004  (green stands for grey)
    return grey.astype(np.uint8)


def _decoded(data: bytes) -> Pixels | None:
    try:
        return decode(data).pixels
    except FilmError:
        return None


def _moved(plain: Floats, changed: Floats) -> Moved:
    read = ~np.isnan(plain) & ~np.isnan(changed)
    distance = np.abs(changed - plain)[read]
    return Moved(
        films=int(read.sum()),
        refused=int((~np.isnan(plain) & np.isnan(changed)).sum()),
        mean=round(float(distance.mean()), 6),
        largest=round(float(distance.max()), 6),
        over_limit=int((distance > LIMIT).sum()),
    )


if __name__ == "__main__":
    cli.run(main)
