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

from bench import machine, plots, report
from bench.cli import add_common, run
from bench.closed_loop import Wrk
from bench.contender import Contender
from bench.errors import InputError
from bench.films import load_films
from bench.findings import Findings
from bench.plan import FULL, QUICK, SMALLEST
from bench.processes import pin
from bench.roster import BARE, CONTENDERS, PEERS_PYTHON
from bench.session import Session

logger = logging.getLogger("bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run(measure, _parser().parse_args(arguments))


def measure(args: argparse.Namespace) -> None:
    """Run the benchmark and write its results.

    Raises:
        InputError: no films, an unknown contender, or no load generator.
    """
    films = load_films(args.films)
    contenders = chosen(args.contenders)
    wrk = Wrk.find()
    cores = pin(args.cores)
    told_machine = machine.describe(cores=cores, generator=wrk.version, peers_python=PEERS_PYTHON)
    if told_machine["busy"]:
        logger.warning("the machine is busy (load average %s): expect noise", told_machine["load_average"])
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        session = Session(
            plan=args.plan,
            films=films,
            contenders=contenders,
            with_bare=args.contenders is None or BARE in args.contenders.split(","),
            wrk=wrk,
            workers=cores,
            folder=Path(folder),
            peers_python=PEERS_PYTHON,
        )
        session.run()
    write(Findings.of(session, told_machine), args.out)


def chosen(names: str | None) -> list[Contender]:
    """Return the contenders of a comma-separated list, or all; the bare loop is none of them.

    Raises:
        InputError: one is unknown.
    """
    known = {contender.name: contender for contender in CONTENDERS}
    if names is None:
        return list(CONTENDERS)
    wanted = names.split(",")
    if unknown := [name for name in wanted if name not in known and name != BARE]:
        raise InputError(f"no contender {', '.join(unknown)}: there are {', '.join([BARE, *known])}")
    return [contender for name, contender in known.items() if name in wanted]


def write(found: Findings, out: Path) -> None:
    """Write results.json, results.md and the plots."""
    (out / "results.json").write_text(json.dumps(found.told(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (out / "results.md").write_text(report.page(found), encoding="utf-8")
    plots.concurrency(found.runs, out / "concurrency.png", workers=found.workers)
    plots.workers(found.runs, out / "workers.png")
    plots.scaling(found.by_size, found.by_concurrency, out / "scaling.png")
    for name, figure in found.figures.items():
        logger.info("%-20s %s", name, "not measured" if figure is None else f"{figure.value:.2f}")
    logger.info("written to %s", out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the service beside others.")
    add_common(parser, out=Path("out/bench"))
    parser.add_argument("--contenders", metavar="A,B,C", help=f"only these of {', '.join([BARE, *_names()])}")
    sizes = parser.add_mutually_exclusive_group()
    for plan, text in ((QUICK, "five minutes"), (SMALLEST, "just to see that it works")):
        sizes.add_argument(f"--{plan.name}", dest="plan", action="store_const", const=plan, help=text)
    parser.set_defaults(plan=FULL)
    return parser


def _names() -> list[str]:
    return [contender.name for contender in CONTENDERS]


if __name__ == "__main__":
    sys.exit(main())
