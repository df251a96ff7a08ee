"""python -m bench.checkouts BEFORE AFTER [--rounds N] [--films DIR] [--json FILE]

Measures the services of two checkouts of this project in turn, on the same cores, films and load: throughput at
concurrency 16 and p50 at concurrency 1. Prints AFTER's over BEFORE's, a ratio a round, and the median with the lowest
and highest. In each checkout `make archive` must have been run; both run on this checkout's virtual environment.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.cli import Setting, add_common, prepare, run, write_figures
from bench.contender import Contender, live
from bench.errors import InputError
from bench.figures import Spread
from bench.films import Load
from bench.results import Timing
from bench.roster import service_with

FULL, LONE = 16, 1
"""Concurrency for throughput, and for p50."""

SECONDS = 10.0
WARM_UP_S = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs=2, type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    add_common(parser, out=Path("out/checkouts"))
    return run(_compare, parser.parse_args(arguments))


def _compare(args: argparse.Namespace) -> None:
    setting = prepare(args)
    services = [service(path.resolve()) for path in args.checkouts]
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="checkouts-", ignore_cleanup_errors=True) as folder:
        for number in range(args.rounds):
            costs = []
            for name, contender in zip(("before", "after"), services, strict=True):
                place = Path(folder, f"{name}{number}")
                with live(contender, folder=place, workers=setting.cores, film=setting.films[0]) as up:
                    load = up.load(setting.films, place / "bodies")
                    setting.wrk.run(load, concurrency=FULL, seconds=WARM_UP_S)
                    full, lone = full_and_lone(setting, load)
                    costs.append((full.films_per_s, lone.p50_ms))
            (films_before, p50_before), (films_after, p50_after) = costs
            rounds.append({"films_per_s": films_after / films_before, "p50_ms": p50_after / p50_before})
            sys.stdout.write(f"{json.dumps(rounds[-1])}\n")
    write_figures(summary(rounds), args.json)


def full_and_lone(setting: Setting, load: Load) -> tuple[Timing, Timing]:
    """Return what a load took at concurrency 16, and then at 1."""
    full = setting.wrk.run(load, concurrency=FULL, seconds=SECONDS)
    return full, setting.wrk.run(load, concurrency=LONE, seconds=SECONDS)


def summary(rounds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the median, lowest and highest ratio over the rounds."""
    spreads = {name: Spread.of(one[name] for one in rounds) for name in rounds[0]}
    return {name: asdict(spread) for name, spread in spreads.items() if spread is not None}


def service(checkout: Path) -> Contender:
    """Return the service of a checkout.

    Raises:
        InputError: it is none, or its archive was not built.
    """
    store = checkout / "model_store"
    if not (store / "pneumonia.mar").exists():
        raise InputError(f"{checkout} has no model_store/pneumonia.mar: run `make archive` there")
    # REFERENCE is for checkouts from before the archive carried its reference films.
    environ = {"MODEL_STORE": str(store), "REFERENCE": str(checkout / "reference")}
    return service_with(environ, prefix=(shutil.which("env") or "env", "-C", str(checkout)))


if __name__ == "__main__":
    sys.exit(main())
