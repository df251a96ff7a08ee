"""python -m training.evaluate.invariance --data DIR_OR_CSV [--model-store model_store] [--films N] [--json FILE]

Measure how far p_pneumonia moves when a film comes in another form: with bars around it, at another depth or
brightness, as a negative, with stray pixels, or as a DICOM file. Each film is decoded, changed as its pixels are
stored, written anew, and scored again. Few films at a time are held in memory, so any number can be measured.
"""

import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from handler.errors import FilmError
from handler.formats.registry import open_film
from handler.imaging import decode
from handler.screening import probabilities
from training import cli
from training.data.films import FilmFile, find_films
from training.errors import DataError
from training.evaluate.evaluate import THREADS, Shipped
from training.evaluate.invariance_files import dicom, jpeg, png
from training.figures import tables
from training.figures.metrics import Floats, Pixels
from training.files import write_json

logger = logging.getLogger(__name__)

LIMIT = 0.02
"""Of a change of p_pneumonia; larger ones are counted."""
LOSSLESS_LIMIT = 0.01
"""The same for DICOM files that hold the film's own levels."""

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
    p99: float
    """99th percentile."""
    largest: float
    over_limit: int
    """Films that moved by more than LIMIT."""
    tolerance: float
    """LIMIT; of a lossless DICOM file LOSSLESS_LIMIT."""
    over_tolerance: int
    """Films that moved by more than `tolerance`."""


def main() -> None:
    """Parse the command line and measure."""
    parser = cli.parser(__doc__, "--data", "--model-store", "--json")
    parser.add_argument("--films", type=int, help="only so many of them, evenly spread")
    args = parser.parse_args()
    files = find_films(args.data)
    if args.films:
        files = files[:: max(1, len(files) // args.films)]
    moved = invariance(Shipped.load(args.model_store), files)
    logger.info("%s", table(moved))
    if args.json:
        figures = {name: asdict(one) for name, one in moved.items()}
        write_json(args.json, figures)


def invariance(shipped: Shipped, files: list[FilmFile]) -> dict[str, Moved]:
    """Return what each change does to the films.

    Raises:
        DataError: none of the films can be read.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        rows = [row for row in pool.map(lambda numbered: _answers(shipped, *numbered), enumerate(files)) if row]
    if not rows:
        raise DataError("there is no film to change")
    plain, *changed = np.array(rows).T  # (1 + changes, N)
    return {
        name: measured(plain, p, tolerance=LOSSLESS_LIMIT if name in LOSSLESS else LIMIT)
        for name, p in zip(CHANGES, changed, strict=True)
    }


def measured(plain: Floats, changed: Floats, *, tolerance: float) -> Moved:
    """Compare p_pneumonia (N,), 0 to 1, of films and of the same films changed; NaN where a film was refused."""
    read = ~np.isnan(plain) & ~np.isnan(changed)
    distance = np.abs(changed - plain)[read] if read.any() else np.zeros(1)
    return Moved(
        films=int(read.sum()),
        refused=int((~np.isnan(plain) & np.isnan(changed)).sum()),
        mean=round(float(distance.mean()), 6),
        p99=round(float(np.percentile(distance, 99)), 6),
        largest=round(float(distance.max()), 6),
        over_limit=int((distance > LIMIT).sum()),
        tolerance=tolerance,
        over_tolerance=int((distance > tolerance).sum()),
    )


def table(moved: Mapping[str, Moved]) -> str:
    """Return the figures as a Markdown table."""
    header = ["change of p", "films", "refused", "mean", "99th pct.", "largest", f"over {LIMIT}", "over tolerance"]
    rows = []
    for name, one in moved.items():
        moves = f"{one.mean:.5f}", f"{one.p99:.4f}", f"{one.largest:.4f}"
        over = str(one.over_limit), f"{one.over_tolerance} ({one.tolerance})"
        rows.append([name, str(one.films), str(one.refused), *moves, *over])
    return tables.table(header, rows)


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
    "12 bits at double the brightness, in 16": _at_depth(12, 2.0),
    "16 bits": _at_depth(16, 1.0),
    "16 bits at half the brightness": _at_depth(16, 0.5),
    "12 bits with stray pixels of 65535": lambda film, random: png(with_stray_pixels(film, random)),
    "negative": lambda film, _: png(255 - film),
    "DICOM, 12 bits": lambda film, _: dicom(deep(film, 12, 1.0), bits=12),
    "DICOM, JPEG baseline": lambda film, _: dicom(film, transfer_syntax=JPEGBaseline8Bit),
    "DICOM, lossless JPEG": lambda film, _: dicom(film, transfer_syntax=JPEGLosslessSV1),
    "DICOM, JPEG-LS": lambda film, _: dicom(film, transfer_syntax=JPEGLSLossless),
    "DICOM, JPEG 2000, lossless": lambda film, _: dicom(film, transfer_syntax=JPEG2000Lossless),
    "DICOM, RLE": lambda film, _: dicom(film, transfer_syntax=RLELossless),
}
LOSSLESS = frozenset(name for name in CHANGES if name.startswith("DICOM")) - {"DICOM, JPEG baseline"}
"""Changes of the file that leave the film's levels as they are."""


def _answers(shipped: Shipped, number: int, file: FilmFile) -> list[float] | None:
    """Return p_pneumonia of a film as it is and after each change, NaN where it is refused; None where it is no film.

    Args:
        shipped: the model.
        number: seeds the changes that draw at random.
        file: the film.
    """
    stored = _stored(file)
    if stored is None:
        return None
    changes: list[Change] = [lambda film, _: png(film), *CHANGES.values()]
    return [_p(shipped, change(stored, np.random.default_rng(number))) for change in changes]


def _p(shipped: Shipped, data: bytes) -> float:
    try:
        pixels = decode(data).pixels
    except FilmError:
        return math.nan
    logits = shipped.engine.logits(pixels[np.newaxis])  # (1, 2)
    return float(probabilities(logits, shipped.contract.calibration)[0])


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


if __name__ == "__main__":
    cli.run(main)
