"""python -m bench [--films DIR] [--out DIR] [--quick | --smallest] [--contenders a,b,c] [--cores N]

Measures this service beside others on the same cores, films and load, and writes results.json, results.md and plots.
Ends with 0 whatever the figures, 2 for a mistake in what it was given, 130 when interrupted.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import plots, report
from bench.cli import add_common, prepare, run
from bench.contender import Contender
from bench.errors import InputError
from bench.figures import figures
from bench.results import Results
from bench.roster import CONTENDERS, TITLES
from bench.schedule import FULL, QUICK, SMALLEST
from bench.session import Session

logger = logging.getLogger("bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the service beside others.")
    add_common(parser, out=Path("out/bench"))
    parser.add_argument("--contenders", metavar="A,B,C", help=f"only these of {', '.join(TITLES)}")
    sizes = parser.add_mutually_exclusive_group()
    for schedule, text in ((QUICK, "five minutes"), (SMALLEST, "only to see that it works")):
        sizes.add_argument(f"--{schedule.name}", dest="schedule", action="store_const", const=schedule, help=text)
    parser.set_defaults(schedule=FULL)
    return run(_bench, parser.parse_args(arguments))


def _bench(args: argparse.Namespace) -> None:
    names = list(TITLES) if args.contenders is None else args.contenders.split(",")
    contenders = chosen(names)
    setting = prepare(args)
    results = Results(schedule=args.schedule, films=len(setting.films), workers=setting.cores, machine=setting.machine)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        Session(
            results=results,
            films=setting.films,
            contenders=contenders,
            with_bare="bare" in names,
            wrk=setting.wrk,
            folder=Path(folder),
        ).run()
    write(results, args.out)


def chosen(names: Sequence[str]) -> list[Contender]:
    """Return the contenders of these names, in the roster's order; the bare loop is none of them.

    Raises:
        InputError: one is unknown.
    """
    if unknown := [name for name in names if name not in TITLES]:
        raise InputError(f"no contender {', '.join(unknown)}: there are {', '.join(TITLES)}")
    return [contender for contender in CONTENDERS if contender.name in names]


def write(results: Results, out: Path) -> None:
    """Write results.json, results.md and the plots."""
    text = json.dumps(report.document(results), indent=2, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    (out / "results.md").write_text(report.page(results), encoding="utf-8")
    for plot in (plots.concurrency, plots.workers, plots.scaling):
        plot(results, out / f"{plot.__name__}.png")
    for name, spread in figures(results).items():
        logger.info("%-20s %s", name, "not measured" if spread is None else f"{spread.median:.2f}")
    logger.info("written to %s", out)


if __name__ == "__main__":
    sys.exit(main())
