"""What the commands of this package share: options, logging, and how they end."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.processes import adopt_orphans

INTERRUPTED = 130
"""The exit status after Ctrl-C or SIGTERM."""

MOST_CORES = 8
"""A contender of one process a core has so many ports at most."""


def run(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command and return its exit status: 0 done; 2 a mistake, told in one line on stderr; 130 interrupted."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    # However it is told to end, what it started ends first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    adopt_orphans()
    try:
        command(args)
    except BenchError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def add_common(parser: argparse.ArgumentParser, *, out: Path) -> None:
    """Add the films, the results' folder and the cores."""
    parser.add_argument(
        "--films", type=Path, help="folder of JPEG or PNG films; default: films made of the reference films"
    )
    parser.add_argument("--out", type=Path, default=out, help="folder for results and plots")
    parser.add_argument("--cores", type=_cores, default=2, help="that everything shares, and workers of each contender")


def _cores(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_CORES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_CORES}")
    return int(text)
