"""python -m bench.worklist [--films DIR] [--count N] [--rounds N] [--cores N] [--json FILE]

Measures `python -m batch` on a folder of films against the bare loop, which has its films in memory, in turn on the
same cores with as many processes. Prints films a second from the first film to the last, the same with the start of
the processes and the writing of the table, and the ratio of the first to the bare loop's.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from batch.__main__ import MAX_FILM_BYTES
from batch.engines import LocalEngine
from batch.model import Model
from batch.row import Row
from batch.worklist import screen
from bench import machine
from bench.cli import MAX_CORES, run, write_figures
from bench.contenders import bare
from bench.contenders.scoring import MODEL_STORE
from bench.errors import LoadError
from bench.figures import Spread
from bench.films import BenchFilm, load_films

SECONDS = 10.0
"""Of the bare loop, a round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, help="folder of JPEG or PNG films (default: made of the reference films)")
    parser.add_argument("--count", type=int, default=4000, help="films of the worklist, the same ones again and again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, choices=range(1, MAX_CORES + 1), default=2, help="and processes")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    return run(_measure, parser.parse_args(arguments))


def _measure(args: argparse.Namespace) -> None:
    films = load_films(args.films)
    cores = machine.pin(args.cores)
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="worklist-") as folder:
        write_worklist(films, args.count, Path(folder, "films"))
        for number in range(args.rounds):
            limit = bare.time([film.data for film in films], SECONDS, processes=cores).films_per_s
            steady, whole = worklist_films_per_s(Path(folder, "films"), Path(folder, f"{number}.csv"), cores)
            rounds.append({"bare": limit, "worklist": steady, "with_start": whole, "ratio": steady / limit})
            sys.stdout.write(f"{json.dumps(rounds[-1])}\n")
    write_figures({"films": args.count, "processes": cores, **summary(rounds)}, args.json)


def write_worklist(films: Sequence[BenchFilm], count: int, folder: Path) -> None:
    """Write a folder of so many films: links to the same few files, a hundred to a folder."""
    originals = []
    (folder / "originals").mkdir(parents=True)
    for film in films[:count]:
        originals.append(folder / "originals" / film.name)
        originals[-1].write_bytes(film.data)
    for number in range(len(originals), count):
        original = originals[number % len(originals)]
        link = folder / f"{number // 100:04d}" / f"{number:06d}{original.suffix}"
        link.parent.mkdir(exist_ok=True)
        os.link(original, link)


def worklist_films_per_s(films: Path, out: Path, processes: int) -> tuple[float, float]:
    """Screen a folder; return the rate from the first film to the last, and that of the whole run.

    Raises:
        LoadError: a film has no result.
    """
    times: list[float] = []

    def heard(_row: Row) -> None:
        times.append(perf_counter())

    began = perf_counter()
    summary = screen(
        str(films),
        out,
        lambda: LocalEngine("processes", Model.load(MODEL_STORE), workers=processes, max_film_bytes=MAX_FILM_BYTES),
        heard=heard,
    )
    if summary.errors or len(times) != summary.films:
        raise LoadError(f"{summary.errors} of {summary.films} films have no result")
    return (len(times) - 1) / (times[-1] - times[0]), len(times) / (perf_counter() - began)


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the median, lowest and highest of each figure over the rounds."""
    spreads = {name: Spread.of(one[name] for one in rounds) for name in rounds[0]}
    return {name: _rounded(spread) for name, spread in spreads.items() if spread is not None}


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(spread).items()}


if __name__ == "__main__":
    sys.exit(main())
