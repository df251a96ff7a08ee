"""python -m batch FOLDER|CSV|ZIP --out RESULTS.{csv,parquet} [--operating-point NAME] [--workers N] [...]

Screens every film of a worklist, and writes a table of results, the most urgent first. Run again after a kill, the same
command goes on: RESULTS.journal has what was screened. Ends with 0 whatever is wrong with films, which is in their
rows; 2 for a mistake in what it was given, 1 where screening cannot go on, 130 when interrupted.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from batch.engines import ENGINES, Engine, LocalEngine, ServiceEngine
from batch.errors import InputError, StoppedError
from batch.model import Model
from batch.worklist import Summary, screen
from handler.gate import POLICIES

INTERRUPTED = 130
MAX_WORKERS = 256
MAX_FILM_BYTES = 20_000_000
"""As the service's own limit is by default."""
LARGEST_LIMIT = 1_000_000_000
MODEL_STORE = Path("model_store")

logger = logging.getLogger("batch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started ends first
    args = _parser().parse_args(arguments)
    try:
        began = time.monotonic()
        summary = screen(args.worklist, args.out, lambda: _engine(args))
        logger.info("%s", _line(summary, args.out, time.monotonic() - began))
    except InputError as exc:
        sys.stderr.write(f"error: {' '.join(str(exc).split())}\n")
        return 2
    except StoppedError as exc:
        sys.stderr.write(f"stopped: {' '.join(str(exc).split())}: the same command goes on from here\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from here\n")
        return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, without repeating what options there are."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worklist", help="folder, CSV with a column path, or ZIP archive; or an address such as s3://")
    parser.add_argument("--out", type=Path, required=True, help="where the results go, .csv or .parquet")
    parser.add_argument("--operating-point", metavar="NAME", help="by default the model's, or the service's")
    text = "processes, or requests to a service, at once (default: one a core)"
    parser.add_argument("--workers", type=_whole(MAX_WORKERS), metavar="N", default=_cores(), help=text)
    text = f"folder of the model, or a .mar file (default: {MODEL_STORE})"
    parser.add_argument("--model-store", type=Path, metavar="DIR", help=text)
    text = f"what becomes of a film that the input gate has something against (default: {POLICIES[0]})"
    parser.add_argument("--gate", choices=POLICIES, help=text)
    parser.add_argument("--engine", choices=ENGINES, help=f"what runs the model (default: {ENGINES[0]})")
    parser.add_argument("--server", metavar="URL", help="have a running service screen; its key is taken from API_KEY")
    text = "larger files are refused (default: %(default)s)"
    limit = _whole(LARGEST_LIMIT)
    parser.add_argument("--max-film-bytes", type=limit, metavar="N", default=MAX_FILM_BYTES, help=text)
    return parser


def _engine(args: argparse.Namespace) -> Engine:
    bounds = {"workers": args.workers, "max_film_bytes": args.max_film_bytes}
    if args.server is None:
        model = Model.load(args.model_store or MODEL_STORE, args.operating_point, policy=args.gate or POLICIES[0])
        return LocalEngine(args.engine or ENGINES[0], model, **bounds)
    if args.model_store or args.engine or args.gate:
        raise InputError(
            "--server has a model and a gate of its own: --model-store, --engine and --gate do not go with it"
        )
    return ServiceEngine(args.server, args.operating_point, **bounds)


def _whole(largest: int) -> Callable[[str], int]:
    """Return what reads a whole number from 1 to `largest`."""

    def whole(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= largest):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {largest}")
        return int(text)

    return whole


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _line(summary: Summary, out: Path, seconds: float) -> str:
    known = f", {summary.known} of them by an earlier run" if summary.known else ""
    return (
        f"{summary.films} films screened{known}, {summary.errors} without a result; "
        f"{summary.screened / seconds:.1f} films/s; written to {out}"
    )


if __name__ == "__main__":
    sys.exit(main())
