"""python -m bench.profile [--films DIR] [--out DIR] [--cores N] [--before profile.json]

Measures where each millisecond of one request goes, from socket to socket, at concurrency 1 and 16, and writes
profile.json, profile.md and profile.png. With --before, an earlier profile stands beside it.

ROWS names the source of each row: round trips are measured by the load generator, through the proxy and straight to
TorchServe; TorchServe counts what passes inside it; the handler's parts are timed in process. The remainder between two
of them is the row between, so the rows add up to the round trip, and such a row carries the noise of both its terms.
"""

import argparse
import json
import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import plots, stages
from bench.cli import Setting, add_common, prepare, run
from bench.contender import ANSWER_TIMEOUT_S, Live, live
from bench.errors import InputError, LoadError
from bench.report import number, table
from bench.roster import CONTENDERS, OURS, STRAIGHT, metrics_url
from bench.schedule import LOAD

logger = logging.getLogger("bench")

CONCURRENCIES = (1, LOAD)
SECONDS = 5.0
"""Of each load, and of each timing in process."""

ROWS: Mapping[str, tuple[str, str]] = {
    "proxy": (
        "proxy: HTTP in, waiting for a place in TorchServe, hop, HTTP out",
        "round trip through the proxy, less all other rows",
    ),
    "form": ("proxy: the film out of the form", "`proxy.http.form.read_film`, timed in process"),
    "frontend": (
        "TorchServe's frontend: HTTP in and out",
        "round trip straight to TorchServe, where films travel as bytes, less the latency that it counts itself",
    ),
    "queue": ("TorchServe's queue", "its counter `ts_queue_latency_microseconds`"),
    "worker": (
        "worker: socket, unpacking, films of the same request, waiting for a core, packing",
        "its counter `ts_inference_latency_microseconds`, less queue and handler",
    ),
    "jpeg": ("decode: JPEG to pixels", "structure check and decoder at the handler's scale, timed in process"),
    "resize": (
        "decode: bars, resizing, window, presentation",
        "`handler.imaging.decode`, timed in process, less the JPEG",
    ),
    "engine": ("inference", "`handler.engine.Engine.logits`, timed in process"),
    "answer": (
        "handler: the rest: calibration, decision, JSON",
        "`PneumoniaHandler.handle`, timed in process, less decode and inference",
    ),
}
"""In the order in which a request meets them; the way back is in the rows of the proxy and the frontend."""

COUNTERS = {
    "requests": "ts_inference_requests_total",
    "latency_us": "ts_inference_latency_microseconds",
    "queue_us": "ts_queue_latency_microseconds",
}
"""TorchServe's sums since its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Means of one load, in milliseconds."""

    round_trip: float
    latency: float
    """Inside TorchServe, from the whole request to its answer."""
    queue: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Measure where a request's time goes.")
    add_common(parser, out=Path("out/profile"))
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier profile.json to show beside this one")
    return run(_profile, parser.parse_args(arguments))


def _profile(args: argparse.Namespace) -> None:
    profiles = {} if args.before is None else {", before": earlier(args.before)}
    setting = prepare(args)
    profiles[""] = {"rows_ms": _measure(setting), "machine": setting.machine}
    text = json.dumps(profiles[""], indent=2, allow_nan=False)
    (args.out / "profile.json").write_text(text + "\n", encoding="utf-8")
    (args.out / "profile.md").write_text(page(profiles), encoding="utf-8")
    plots.shares({f"concurrency {name}": ms for name, ms in columns(profiles).items()}, args.out / "profile.png")
    sys.stdout.write(page(profiles))


def earlier(path: Path) -> dict[str, Any]:
    """Read an earlier profile.

    Raises:
        InputError: the file is none.
    """
    try:
        profile: dict[str, Any] = json.loads(path.read_text())
        columns({"": profile})
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise InputError(f"{path}: no profile of this kind: {exc!r}") from exc
    return profile


def _measure(setting: Setting) -> dict[str, dict[str, float]]:
    contenders = {contender.name: contender for contender in CONTENDERS}
    trips = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        live(contenders[OURS], folder=Path(folder) / "1", workers=setting.cores, film=setting.films[0]) as running,
    ):
        straight = running.as_contender(contenders[STRAIGHT])
        for concurrency in CONCURRENCIES:
            trips[concurrency] = [
                _trip(way, setting, Path(folder) / f"{name}-{concurrency}", concurrency=concurrency)
                for name, way in (("through", running), ("straight", straight))
            ]
    rows = {}
    for concurrency, (through, past) in trips.items():
        # Under load every worker is busy at once, and their cores share caches and memory.
        costs = stages.measure(setting.films, SECONDS, processes=min(concurrency, setting.cores))
        rows[str(concurrency)] = rows_of(through, past, costs)
    return rows


def _trip(running: Live, setting: Setting, folder: Path, *, concurrency: int) -> Trip:
    load = running.load(setting.films, folder)
    setting.wrk.run(load, concurrency=concurrency, seconds=1)
    running.await_answers(setting.films[0])
    before = _counters(running)
    timing = setting.wrk.run(load, concurrency=concurrency, seconds=SECONDS)
    counted = {name: total - before[name] for name, total in _counters(running).items()}
    if not timing.valid or not counted["requests"]:
        raise LoadError(f"at concurrency {concurrency} only {timing.films} films were answered")
    # By Little's law: every client always has one film under way. wrk's own latencies would not do: it adds to them
    # what a stall has hidden.
    round_trip = 1000 * concurrency * timing.seconds / timing.films
    logger.info("at %-2d %-55s %6.2f ms", concurrency, load.urls[0], round_trip)
    return Trip(
        round_trip=round_trip,
        latency=counted["latency_us"] / counted["requests"] / 1000,
        queue=counted["queue_us"] / counted["requests"] / 1000,
    )


def _counters(running: Live) -> dict[str, float]:
    return counters(running.session.get(metrics_url(running.place), timeout=ANSWER_TIMEOUT_S).text)


def counters(metrics: str) -> dict[str, float]:
    """Return TorchServe's counters from its page of metrics; 0 where one is absent because it has not counted yet.

    Source: Prometheus' text exposition format
    """
    found = {
        key: re.findall(rf"^{name}(?:_total)?(?:\{{[^}}]*\}})?\s+(\S+)", metrics, re.MULTILINE)
        for key, name in COUNTERS.items()
    }
    return {key: sum(map(float, values)) for key, values in found.items()}


def rows_of(through: Trip, straight: Trip, costs: Mapping[str, float]) -> dict[str, float]:
    """Return the milliseconds of each row; they add up to the round trip through the proxy.

    Args:
        through: the load through the proxy.
        straight: the load straight to TorchServe.
        costs: of the parts, as `stages.measure` returns them.
    """
    rows = {
        "form": costs["form"],
        "frontend": straight.round_trip - straight.latency,
        "queue": through.queue,
        "worker": through.latency - through.queue - costs["handle"],
        "jpeg": costs["jpeg"],
        "resize": costs["decode"] - costs["jpeg"],
        "engine": costs["engine"],
        "answer": costs["handle"] - costs["decode"] - costs["engine"],
    }
    rows["proxy"] = through.round_trip - sum(rows.values())
    return {name: rows[name] for name in ROWS}


def columns(profiles: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the milliseconds of each row, by its title, for each column; `profiles` are by the ends of their names."""
    return {
        f"{concurrency}{end}": {title: profile["rows_ms"][str(concurrency)][name] for name, (title, _) in ROWS.items()}
        for concurrency in CONCURRENCIES
        for end, profile in profiles.items()
    }


def page(profiles: Mapping[str, Mapping[str, Any]]) -> str:
    """Return `profile.md`."""
    shown = columns(profiles)
    rows = [[title, *(number(ms[title], 2) for ms in shown.values()), how] for title, how in ROWS.values()]
    rows.append(["**round trip through the proxy**", *(number(sum(ms.values()), 2) for ms in shown.values()), "mean"])
    machine = profiles[""]["machine"]
    setting = f"{machine['cores']} workers, mean. {machine['cpu']}, commit {machine['commit']}."
    busy = " **The machine was busy: the figures are noise.**" if machine["busy"] else ""
    parts = [
        "# Where each millisecond goes",
        f"One request at concurrency 1 and {LOAD}, {setting}{busy}",
        table(["", *(f"{name} (ms)" for name in shown), "how it is got"], rows),
        "A row that is a difference carries the noise of both its terms, and may fall below 0.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
