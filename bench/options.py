"""Options that the commands of this package share."""

import argparse
from pathlib import Path

from bench.contenders.scoring import ROOT

INTERRUPTED = 130
"""The exit status after Ctrl-C or SIGTERM."""

MOST_CORES = 8
"""A contender of one process a core has so many ports at most."""


def add_common(parser: argparse.ArgumentParser, *, out: Path) -> None:
    """Add the films, the results' folder and the cores."""
    parser.add_argument("--films", type=Path, default=ROOT / "reference", help="folder of JPEG or PNG films")
    parser.add_argument("--out", type=Path, default=out, help="folder for results and plots")
    parser.add_argument("--cores", type=_cores, default=2, help="that everything shares, and workers of each contender")


def _cores(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_CORES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_CORES}")
    return int(text)
