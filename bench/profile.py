"""python -m bench.profile [--films DIR] [--out DIR] [--seconds S] [--cores N] [--before profile.json]

Tells where each millisecond of one request goes, from socket to socket, at concurrency 1 and 16: profile.json,
profile.md and profile.png. With --before, beside what an earlier profile said.

How each row is got is in ROWS: round trips are measured by the load generator, through the proxy and straight to
TorchServe; TorchServe counts what passed inside it; the handler's parts are timed in process. What is left between
two of them is the row between. So the rows add up to the round trip, and a row that is a difference carries the noise
of both its terms.
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

from matplotlib.figure import Figure

from bench import machine
from bench.children import over_films
from bench.cli import add_common, run
from bench.closed_loop import Wrk
from bench.contender import Live, live
from bench.errors import InputError, LoadError
from bench.films import BenchFilm, load_films, write_bodies
from bench.load import Load
from bench.plan import LOAD
from bench.plots import BLACK, COLOURS, DPI, clean
from bench.processes import pin
from bench.report import table
from bench.roster import CONTENDERS, OURS, PEERS_PYTHON, direct, metrics_url
from bench.stages import Stages

logger = logging.getLogger("bench")

CONCURRENCIES = (1, LOAD)

WIDE_ENOUGH = 4
"""Per cent of the bar in which a number can be read."""

ROWS: Mapping[str, tuple[str, str]] = {
    "proxy": (
        "proxy: HTTP in, waiting for a place in TorchServe, hop, HTTP out",
        "round trip through the proxy, less all other rows",
    ),
    "form": ("proxy: the film out of the form", "`proxy.form.read_film`, timed in process"),
    "frontend": (
        "TorchServe's frontend: HTTP in and out",
        (
            "round trip straight to TorchServe, less the latency that it counts itself; the film's bytes go"
            " there, from the proxy only their place, so this is high and the proxy's row low"
        ),
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
    "engine": ("inference", "`handler.engine.Engine.run`, timed in process"),
    "answer": (
        "handler: the rest: calibration, decision, JSON",
        "`PneumoniaHandler.handle`, timed in process, less decode and inference",
    ),
}
"""In the order in which a request meets them; the proxy's and the frontend's way back is in their rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Means of one load, in milliseconds."""

    round_trip: float
    latency: float
    """Inside TorchServe, from the whole request to its answer."""
    queue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """TorchServe's sums since its start."""

    requests: float
    latency_us: float
    queue_us: float


NAMES_OF_COUNTERS = {
    "requests": "ts_inference_requests_total",
    "latency_us": "ts_inference_latency_microseconds",
    "queue_us": "ts_queue_latency_microseconds",
}


def counters(page: str) -> Counters:
    """Read TorchServe's page of metrics; a counter that has not counted yet is absent, so 0.

    Source: Prometheus' text exposition format
    """
    sums = {}
    for field, name in NAMES_OF_COUNTERS.items():
        found = re.findall(rf"^{name}(?:_total)?(?:\{{[^}}]*\}})?\s+(\S+)", page, re.MULTILINE)
        sums[field] = sum(float(value) for value in found)
    return Counters(**sums)


def rows_of(through: Trip, straight: Trip, stages: Stages) -> dict[str, float]:
    """Return the milliseconds of each row; they add up to the round trip through the proxy."""
    told = {
        "form": stages.form,
        "frontend": straight.round_trip - straight.latency,
        "queue": through.queue,
        "worker": through.latency - through.queue - stages.handle,
        "jpeg": stages.jpeg,
        "resize": stages.decode - stages.jpeg,
        "engine": stages.engine,
        "answer": stages.handle - stages.decode - stages.engine,
    }
    told["proxy"] = through.round_trip - sum(told.values())
    return {name: told[name] for name in ROWS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run(_profile, _parser().parse_args(arguments))


def _profile(args: argparse.Namespace) -> None:
    before = None if args.before is None else earlier(args.before)
    write(measure(args), before, args.out)


def earlier(path: Path) -> dict[str, Any]:
    """Read an earlier profile.

    Raises:
        InputError: the file is none.
    """
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        for concurrency in CONCURRENCIES:
            _ = {name: float(told["rows_ms"][str(concurrency)][name]) for name in ROWS}
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise InputError(f"{path}: no profile of this kind: {exc!r}") from exc
    return told


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return what profile.json holds.

    Raises:
        BenchError: the service does not start, or the load generator or the timing in process fails.
    """
    films = load_films(args.films)
    wrk = Wrk.find()
    cores = pin(args.cores)
    told_machine = machine.describe(cores=cores, generator=wrk.version, peers_python=PEERS_PYTHON)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        ours = next(contender for contender in CONTENDERS if contender.name == OURS)
        with live(ours, folder=folder / "1", workers=cores, peers_python=PEERS_PYTHON, film=films[0]) as up:
            trips = {
                concurrency: _trips(up, wrk, films, concurrency=concurrency, seconds=args.seconds)
                for concurrency in CONCURRENCIES
            }
        for concurrency, (through, straight) in trips.items():
            # Under load every worker is busy at once, and their cores share caches and memory.
            busy = min(concurrency, cores)
            place = folder / f"films-{concurrency}"
            told = over_films("bench.stages", films, processes=busy, seconds=args.seconds, folder=place)
            rows[str(concurrency)] = rows_of(through, straight, Stages(**told))
    return {"rows_ms": rows, "machine": told_machine}


def _trips(up: Live, wrk: Wrk, films: Sequence[BenchFilm], *, concurrency: int, seconds: float) -> tuple[Trip, Trip]:
    """Load the service through its proxy, then past it."""
    folder = up.place.folder
    url, headers = direct(up.place)
    forms = write_bodies(films, "file", folder / f"forms-{concurrency}")
    raw = write_bodies(films, None, folder / f"raw-{concurrency}")
    loads = (
        Load(urls=up.urls, headers=up.headers, bodies=forms, folder=folder),
        Load(urls=[url], headers=headers, bodies=raw, folder=folder),
    )
    through, straight = (_trip(up, wrk, load, concurrency=concurrency, seconds=seconds) for load in loads)
    return through, straight


def _trip(up: Live, wrk: Wrk, load: Load, *, concurrency: int, seconds: float) -> Trip:
    wrk.run(load, concurrency=concurrency, seconds=1)
    up.settle()
    before = _counters(up)
    timing = wrk.run(load, concurrency=concurrency, seconds=seconds)
    after = _counters(up)
    count = after.requests - before.requests
    if not timing.valid or not count:
        raise LoadError(f"at concurrency {concurrency} only {timing.films} films were answered")
    # By Little's law: every client always has one film under way. wrk's own latencies would not do, to which it adds
    # what a stall has hidden.
    round_trip = 1000 * concurrency * timing.seconds / timing.films
    logger.info("at %-2d %-55s %6.2f ms", concurrency, load.urls[0], round_trip)
    return Trip(
        round_trip=round_trip,
        latency=(after.latency_us - before.latency_us) / count / 1000,
        queue=(after.queue_us - before.queue_us) / count / 1000,
    )


def _counters(up: Live) -> Counters:
    return counters(up.session.get(metrics_url(up.place), timeout=10).text)


def write(told: dict[str, Any], before: dict[str, Any] | None, out: Path) -> None:
    """Write profile.json, profile.md and profile.png."""
    (out / "profile.json").write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    text = page(told, before)
    (out / "profile.md").write_text(text, encoding="utf-8")
    bars = {f"concurrency {concurrency}": rows for concurrency, rows in told["rows_ms"].items()}
    if before is not None:
        bars = {
            name: rows
            for concurrency, now in told["rows_ms"].items()
            for name, rows in (
                (f"concurrency {concurrency}, before", before["rows_ms"][concurrency]),
                (f"concurrency {concurrency}, now", now),
            )
        }
    plot(bars, out / "profile.png")
    sys.stdout.write(text)


def page(told: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """Return the profile in Markdown."""
    columns = [
        (f"{concurrency}{which} (ms)", one["rows_ms"][str(concurrency)])
        for concurrency in CONCURRENCIES
        for which, one in ((", before", before), ("", told))
        if one is not None
    ]
    rows = [[what, *(f"{cost[name]:.2f}" for _, cost in columns), how] for name, (what, how) in ROWS.items()]
    rows.append(["**round trip through the proxy**", *(f"{sum(cost.values()):.2f}" for _, cost in columns), "mean"])
    machine_ = told["machine"]
    busy = " **The machine was busy: the figures are noise.**" if machine_["busy"] else ""
    return (
        "# Where each millisecond goes\n\n"
        f"One request at concurrency 1 and {LOAD}, {machine_['cores']} workers, mean. {machine_['cpu']}, "
        f"commit {machine_['commit']}.{busy}\n\n"
        + table(["", *(name for name, _ in columns), "how it is got"], rows)
        + "\n\nA row that is a difference carries the noise of both its terms, and may fall below 0.\n"
    )


def plot(bars: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw each profile as one stacked bar, in shares of its round trip, with the milliseconds written in."""
    figure = Figure(figsize=(12, 2.6 + 0.8 * len(bars)), layout="constrained")
    axes = figure.subplots()
    places = range(len(bars))
    left = [0.0] * len(bars)
    totals = [sum(max(value, 0.0) for value in rows.values()) for rows in bars.values()]
    for (name, (label, _)), colour in zip(ROWS.items(), (*COLOURS, BLACK), strict=True):
        values = [max(rows[name], 0.0) for rows in bars.values()]
        shares = [100 * value / total if total else 0.0 for value, total in zip(values, totals, strict=True)]
        axes.barh(places, shares, left=left, color=colour, label=label)
        for place, (share, value) in enumerate(zip(shares, values, strict=True)):
            if share >= WIDE_ENOUGH:
                axes.text(left[place] + share / 2, place, f"{value:.1f}", ha="center", va="center", color="white")
        left = [one + share for one, share in zip(left, shares, strict=True)]
    labels = [f"{name}\n{sum(rows.values()):.1f} ms" for name, rows in bars.items()]
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set(xlabel="share of the round trip (%), milliseconds written in", xlim=(0, 100))
    axes.set_title("Where each millisecond of one request goes")
    clean(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=DPI)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Tell where a request's time goes.")
    add_common(parser, out=Path("out/profile"))
    parser.add_argument("--seconds", type=float, default=5, help="of each load and each timing in process")
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier profile.json to show beside this one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
