"""python -m training.compare.resolution --data DIR --films DIR --runs RUN [RUN ...] [--json FILE] [--plot FILE]

Measure what resolution is worth and what it costs: the worst counterfactual of runs that differ in it, against the time
of decoding and engine together, a film at a time on one core. The times are of films at their full size, as they come
to the server, and of this machine: compare them with each other.
"""

import itertools
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from handler.engine import Engine
from handler.imaging import decode
from training import cli
from training.compare.compare import counterfactual_margins, margins
from training.data.films import DecodedFilms, find_films
from training.evaluate.evaluate import THREADS
from training.figures import plots, tables
from training.figures.metrics import roc_auc
from training.files import write_json
from training.learn.export import export_onnx, save_weights
from training.learn.run_folder import load_films, parts, read_run

logger = logging.getLogger(__name__)

TIMED = 60
"""Films that are timed."""
ROUNDS = 5
"""Over which the median is taken; in each, the runs take turns."""


def main() -> None:
    """Parse the command line and measure."""
    parser = cli.parser(__doc__, "--data", "--runs", "--json")
    parser.add_argument("--films", type=Path, required=True, help="films that are timed, at their full size")
    parser.add_argument("--plot", type=Path, help="also plot them to this file")
    args = parser.parse_args()
    files = [file.path for file in find_films(args.films)]
    contents = [path.read_bytes() for path in files[:: max(1, len(files) // TIMED)]]
    rows = trade(args.runs, load_films(args.data), contents)
    logger.info("%s", table(rows))
    if args.json:
        write_json(args.json, rows, indent=1)
    if args.plot:
        plots.trade(rows, args.plot)
        plots.shrink(args.plot)


def trade(runs: Sequence[Path], films: DecodedFilms, contents: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return a row a run: resolution, worst counterfactual on the films that it held out, and milliseconds a film.

    Args:
        runs: their folders.
        films: what `run_folder.load_films` returns of the films that they learned from.
        contents: the files of the films that are timed.

    Raises:
        ArtefactError: one is no run folder, or has no checkpoint.
        DataError: one learned from other films.
    """
    rows, served = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, run in enumerate(runs):
            recipe, _ = read_run(run)
            weights, graph = Path(folder) / f"{index}.safetensors", Path(folder) / f"{index}.onnx"
            save_weights(run / "last.ckpt", weights)
            export_onnx(weights, graph)
            exact, held_out = Engine(graph, exact=True, threads=THREADS), parts(films, run)[1]
            counterfactuals = counterfactual_margins(exact, held_out)
            served.append(Engine(graph))
            rows.append(
                {
                    "recipe": recipe.name,
                    "resolution_px": recipe.resolution_px,
                    "seed": recipe.seed,
                    "worst_counterfactual": round(min(roc_auc(held_out.labels, one) for one in counterfactuals), 6),
                    "roc_auc": round(roc_auc(held_out.labels, margins(exact, held_out.pixels)), 6),
                }
            )
        decoding_ms, engine_ms = _times(served, contents)
    for row, one in zip(rows, engine_ms, strict=True):
        row |= {"decoding_ms": round(decoding_ms, 3), "engine_ms": round(one, 3)}
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    header = ["recipe", "px", "seed", "worst counterfactual", "ROC-AUC", "decoding ms", "engine ms"]
    digits = {"worst_counterfactual": 4, "roc_auc": 4, "decoding_ms": 2, "engine_ms": 2}
    lines = []
    for row in rows:
        figures = (f"{row[key]:.{places}f}" for key, places in digits.items())
        lines.append([row["recipe"], str(row["resolution_px"]), str(row["seed"]), *figures])
    return tables.table(header, lines)


def _times(engines: Sequence[Engine], contents: Sequence[bytes]) -> tuple[float, list[float]]:
    """Return the milliseconds a film of decoding, and of each engine: medians over the rounds; the first warms up."""
    films = [decode(content).pixels[np.newaxis] for content in contents]
    decoding: list[float] = []
    running: list[list[float]] = [[] for _ in engines]
    for _ in itertools.repeat(None, ROUNDS + 1):
        began = time.process_time()
        for content in contents:
            decode(content)
        decoding.append(time.process_time() - began)
        for engine, taken in zip(engines, running, strict=True):
            began = time.process_time()
            for film in films:
                engine.logits(film)
            taken.append(time.process_time() - began)
    a_film = 1000 / len(contents)
    return a_film * median(decoding[1:]), [a_film * median(taken[1:]) for taken in running]


if __name__ == "__main__":
    cli.run(main)
