"""What the commands of this package share: options, preparation, logging, and how they end."""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.closed_loop import Wrk
from bench.contender import PEERS_PYTHON
from bench.errors import BenchError
from bench.films import BenchFilm, load_films
from bench.processes import adopt_orphans

INTERRUPTED = 130
"""The exit status after Ctrl-C or SIGTERM."""

MAX_CORES = 8
"""A contender of one process a core has so many ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a measurement needs, from the options that all share."""

    films: list[BenchFilm]
    wrk: Wrk
    cores: int
    machine: dict[str, Any]


def run(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command; return 0, 2 after a mistake (one line on stderr), or 130 when interrupted."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started ends first
    adopt_orphans()
    try:
        command(args)
    except BenchError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def write_figures(figures: Any, path: Path | None) -> None:
    """Print figures as JSON, and write them to a file where one is named."""
    text = json.dumps(figures, indent=2) + "\n"
    sys.stdout.write(text)
    if path is not None:
        path.write_text(text, encoding="utf-8")


def add_common(parser: argparse.ArgumentParser, *, out: Path) -> None:
    """Add the films, the results' folder and the cores."""
    text = "folder of JPEG or PNG films; by default, films like published ones are made of the reference films"
    parser.add_argument("--films", type=Path, help=text)
    parser.add_argument("--out", type=Path, default=out, help="folder for results and plots")
    parser.add_argument("--cores", type=_cores, default=2, help="that everything shares, and workers of each contender")


def _cores(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_CORES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_CORES}")
    return int(text)


def prepare(args: argparse.Namespace) -> Setting:
    """Load the films, bind this process to its cores, and make the results' folder.

    Raises:
        InputError: there are no films, or no load generator.
    """
    films, wrk = load_films(args.films), Wrk.find()
    cores = machine.pin(args.cores)
    described = machine.describe(
        cores=cores, generator=" ".join(wrk.output("-v").split()[:2]), peers_python=PEERS_PYTHON
    )
    if described["busy"]:
        logging.getLogger("bench").warning("the machine is busy: load average %s", described["load_average"])
    args.out.mkdir(parents=True, exist_ok=True)
    return Setting(films=films, wrk=wrk, cores=cores, machine=described)
