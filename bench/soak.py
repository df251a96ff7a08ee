"""python -m bench.soak [--films DIR] [--out DIR] [--seconds S]

Loads the service for long with 60 % of its highest throughput, and writes soak.json: the memory (PSS of all its
processes) and the open files over time, the line fitted through them, and whether both stayed flat. Ends with 2 where
they did not, or a film failed.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any

import psutil

from bench.cli import Setting, add_common, prepare, run
from bench.contender import live
from bench.errors import LoadError
from bench.results import Timing
from bench.roster import service_with
from bench.under_load import Service, failures
from proxy.files import allow_open_files

logger = logging.getLogger("bench")

WARM_UP = 0.25
"""The share of the time at the begin that is left out: caches and pools fill."""

GROWTH_MB, GROWTH_FILES = 20.0, 16.0
"""What the fitted lines may rise by over the rest of the time."""

SAMPLES = 360
"""Over the whole time, but no more than one a second."""

SLICE_S = 10.0
"""After so long the load's clients are replaced by new ones."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The service at one moment."""

    at_s: float
    memory_mb: float
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The line fitted through what was sampled after the warm-up (least squares)."""

    mean: float
    slope_per_hour: float
    growth: float
    """Over the time after the warm-up."""
    limit: float
    flat: bool


def trend(at_s: Sequence[float], values: Sequence[float], limit: float) -> Trend:
    """Fit a line; flat is what rises by at most the limit over the whole of it. What falls is flat."""
    slope = linear_regression(at_s, values).slope
    growth = slope * (at_s[-1] - at_s[0])
    return Trend(
        mean=round(mean(values), 1),
        slope_per_hour=round(3600 * slope, 2),
        growth=round(growth, 2),
        limit=limit,
        flat=growth <= limit,
    )


def open_files(process: psutil.Process) -> int:
    """Return the open files of a process and its descendants."""
    count = 0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            count += member.num_fds()
    return count


async def soak(service: Service, seconds: float) -> dict[str, Any]:
    """Load the service for so long, and return what soak.json holds."""
    samples: list[Sample] = []
    began = time.monotonic()
    process = service.process

    def sample() -> Sample:
        return Sample(round(time.monotonic() - began, 1), round(service.up.memory(), 1), open_files(process))

    async def watch() -> None:
        while True:
            samples.append(await asyncio.to_thread(sample))
            await asyncio.sleep(max(1.0, seconds / SAMPLES))

    watching = asyncio.create_task(watch())
    films = failed = 0
    while (left := began + seconds - time.monotonic()) > 0:
        answers = await service.load(min(left, SLICE_S))
        films += len(answers)
        failed += failures(answers)
    watching.cancel()
    warm = [one for one in samples if one.at_s >= WARM_UP * seconds]
    at_s = [one.at_s for one in warm]
    memory = trend(at_s, [one.memory_mb for one in warm], GROWTH_MB)
    files = trend(at_s, [one.files for one in warm], GROWTH_FILES)
    return {
        "seconds": seconds,
        "films": films,
        "failed": failed,
        "memory_mb": asdict(memory),
        "open_files": asdict(files),
        "flat": memory.flat and files.flat,
        "samples": [asdict(one) for one in samples],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long; at least 12")
    add_common(parser, out=Path("out/soak"))
    return run(_soak, parser.parse_args(arguments))


def _soak(args: argparse.Namespace) -> None:
    if args.seconds < 12:  # noqa: PLR2004  (a line through fewer points says nothing)
        raise LoadError(f"--seconds {args.seconds:g} is too short for a trend: take at least 12")
    allow_open_files()
    setting = prepare(args)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        found = _measure(setting, Path(folder), args.seconds)
    document = {"machine": setting.machine, **found}
    (args.out / "soak.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for name in ("memory_mb", "open_files"):
        one = found[name]
        logger.info(
            "%s: %s on average, %+g over the time, %+g an hour (flat: at most +%g over the time): %s",
            *(name, one["mean"], one["growth"], one["slope_per_hour"], one["limit"]),
            "flat" if one["flat"] else "NOT FLAT",
        )
    logger.info("%d films, %d failed", found["films"], found["failed"])
    if found["failed"] or not found["flat"]:
        raise LoadError("the soak does not hold")


def _measure(setting: Setting, folder: Path, seconds: float) -> dict[str, Any]:
    with live(service_with({}), folder=folder / "service", workers=setting.cores, film=setting.films[0]) as up:
        load = up.load(setting.films, folder / "bodies")

        def flood(clients: int, seconds: float) -> Timing:
            return setting.wrk.run(load, concurrency=clients, seconds=seconds)

        return asyncio.run(soak(Service(up, setting.films, flood), seconds))


if __name__ == "__main__":
    sys.exit(main())
