"""python -m bench.worklist_memory [--counts N N ...] [--json FILE]

Measures the memory of `python -m batch` over worklists of more and more films: a CSV that names links to one small
film. Prints, for each, the highest proportional set size of the command and its processes, in megabytes, and the size
of the journal.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from batch.worklist import JOURNAL_SUFFIX
from bench.cli import run
from bench.contenders.scoring import MODEL_STORE
from bench.errors import LoadError
from bench.films import REFERENCE
from bench.processes import memory_mb, started, tail

FILM = "normal-1-224.jpeg"
PERIOD_S = 0.5
"""Between two looks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = "films of the worklists (default: %(default)s)"
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000], help=text)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    return run(_measure, parser.parse_args(arguments))


def _measure(args: argparse.Namespace) -> None:
    figures = []
    for count in args.counts:
        with tempfile.TemporaryDirectory(prefix="worklist-") as folder:
            figures.append({"films": count, **peak(count, Path(folder))})
        sys.stdout.write(f"{json.dumps(figures[-1])}\n")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def peak(count: int, folder: Path) -> dict[str, float]:
    """Screen so many films, and return the most memory that it took, and the size of the journal, in megabytes.

    Raises:
        LoadError: the run failed.
    """
    worklist, out, log = folder / "list.csv", folder / "results.csv", folder / "log"
    write_links(worklist, count)
    command = [sys.executable, "-m", "batch", str(worklist), "--out", str(out), "--model-store", str(MODEL_STORE)]
    highest = 0.0
    with started([(command, {})], log) as processes:
        while processes[0].poll() is None:
            highest = max(highest, memory_mb(processes))
            time.sleep(PERIOD_S)
    if processes[0].returncode != 0:
        raise LoadError(f"the run failed: {tail(log)}")
    with out.open(encoding="utf-8") as table:
        rows = sum(1 for _ in islice(table, 1, None))
    if rows != count:
        raise LoadError(f"{rows} rows of {count} films")
    journal = out.with_name(out.name + JOURNAL_SUFFIX)
    return {"peak_mb": round(highest, 1), "journal_mb": round(journal.stat().st_size / 1e6, 1)}


def write_links(worklist: Path, count: int) -> None:
    """Write a CSV of so many names of one film: links, and a copy every thousand, for file systems bound links."""
    content = (REFERENCE / FILM).read_bytes()
    with worklist.open("w", encoding="utf-8") as table:
        table.write("path\n")
        for number in range(count):
            folder = worklist.parent / f"{number // 1000}"
            if number % 1000 == 0:
                folder.mkdir()
                (folder / f"{number}.jpeg").write_bytes(content)
            else:
                os.link(folder / f"{number // 1000 * 1000}.jpeg", folder / f"{number}.jpeg")
            table.write(f"{folder.name}/{number}.jpeg\n")


if __name__ == "__main__":
    sys.exit(main())
