"""python -m training.evaluate.parity --data DIR_OR_CSV [--model-store model_store]

Measure how far the server's two shortcuts move p_pneumonia: JPEGs decoded at a smaller scale, and layers run at half
precision. Every film is scored plainly (decoded in full, run in float32), with each shortcut, and as served. Fails
where the films move too far, or where one changes sides at the default operating point.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from handler.contract import ModelContract
from handler.engine import Engine
from handler.errors import FilmError
from handler.formats.registry import open_film
from handler.formats.source import Header, Source
from handler.formats.source import Pixels as FilmPixels
from handler.imaging import prepare
from handler.screening import decide, probabilities
from training import cli
from training.data.films import FilmFile, find_films
from training.errors import ArtefactError, DataError
from training.evaluate.evaluate import THREADS, Shipped, logits_of
from training.figures import tables
from training.figures.metrics import Floats, Pixels

logger = logging.getLogger(__name__)

MEAN_CHANGE = 0.01
"""Of p_pneumonia, over all films, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a shortcut does to the films."""

    mean: float
    """Of |change of p_pneumonia|."""
    largest: float
    flipped: Mapping[str, int]
    """Films that change sides, by operating point."""


def main() -> None:
    """Parse the command line and compare."""
    parser = cli.parser(__doc__, "--data", "--model-store")
    args = parser.parse_args()
    shipped = Shipped.load(args.model_store)
    exact = Engine(args.model_store / "pneumonia.onnx", exact=True, threads=THREADS)
    plain, scaled = decoded(find_films(args.data))
    changes = compare(shipped, exact, plain, scaled)
    logger.info("%d films\n%s", len(plain), table(changes))
    check(changes["both"], shipped.contract.default_operating_point)


def decoded(files: Sequence[FilmFile]) -> tuple[Pixels, Pixels]:
    """Return all films that can be decoded, (N, 224, 224), decoded in full and as served.

    Raises:
        DataError: none can.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        pairs = [pair for pair in pool.map(_decoded, files) if pair is not None]
    if not pairs:
        raise DataError("there is no film to compare")
    plain, scaled = zip(*pairs, strict=True)
    return np.stack(plain), np.stack(scaled)


def _decoded(file: FilmFile) -> tuple[Pixels, Pixels] | None:
    try:
        source = open_film(file.path.read_bytes())
        return prepare(FullSize(source)).pixels, prepare(source).pixels
    except (OSError, FilmError) as exc:
        logger.warning("%s: left out: %s", file.path, exc)
        return None


@dataclass(frozen=True, slots=True)
class FullSize:
    """A film that is always decoded in full."""

    source: Source

    @property
    def header(self) -> Header:
        """The film's own."""
        return self.source.header

    def read(self, min_px: int) -> FilmPixels:
        """Decode the film, as `Source.read` does, at the size that it is stored in."""
        return self.source.read(max(min_px, self.header.width_px, self.header.height_px))


def compare(shipped: Shipped, exact: Engine, plain: Pixels, scaled: Pixels) -> dict[str, Change]:
    """Return the change by each shortcut and by both, against films (N, 224, 224) decoded in full, run in float32."""
    calibration = shipped.contract.calibration
    before = probabilities(logits_of(exact, plain), calibration)
    after = {
        "decoding": logits_of(exact, scaled),
        "precision": logits_of(shipped.engine, plain),
        "both": logits_of(shipped.engine, scaled),
    }
    return {name: change(shipped.contract, before, probabilities(one, calibration)) for name, one in after.items()}


def change(contract: ModelContract, before: Floats, after: Floats) -> Change:
    """Compare p_pneumonia (N,), 0 to 1; decisions are of four decimals, as for clients."""
    moved = np.abs(after - before)
    return Change(
        mean=float(moved.mean()),
        largest=float(moved.max()),
        flipped={
            point.name: int(np.sum(decide(before, point.threshold) != decide(after, point.threshold)))
            for point in contract.operating_points
        },
    )


def table(changes: Mapping[str, Change]) -> str:
    """Return the changes as a Markdown table."""
    points = next(iter(changes.values())).flipped
    header = ["change of p", "mean", "largest", *(f"flipped at {name}" for name in points)]
    rows = [[k, f"{c.mean:.5f}", f"{c.largest:.4f}", *map(str, c.flipped.values())] for k, c in changes.items()]
    return tables.table(header, rows)


def check(served: Change, point: str) -> None:
    """Hold the films as served to the limits.

    Raises:
        ArtefactError: they are broken.
    """
    if served.mean > MEAN_CHANGE:
        raise ArtefactError(f"p_pneumonia moves by {served.mean:.4f} on average, at most {MEAN_CHANGE} is allowed")
    if served.flipped[point]:
        raise ArtefactError(f"{served.flipped[point]} films change sides at {point}")


if __name__ == "__main__":
    cli.run(main)
