"""python -m bench.chaos [--films DIR] [--out DIR] [--seconds S] [--only NAME ...]

Breaks the running service in many ways, under a background load of 60 % of its highest throughput, and writes
chaos.json: for each fault the films sent, answered with 200, refused (429 or 503) and failed (anything else, or a
broken connection), the longest wait, what must hold, and whether it held. Ends with 2 where something did not.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.cli import Setting, add_common, prepare, run
from bench.contender import Live, live, python_module
from bench.contenders.scoring import MODEL_STORE
from bench.errors import LoadError
from bench.films import BenchFilm, body, content_type
from bench.results import Timing
from bench.roster import service_with
from proxy.files import allow_open_files

logger = logging.getLogger("bench")

LOAD_SHARE = 0.6
BEFORE_S = 3.0
"""How long the load has gone on when a fault happens."""
RECOVERY_S = 30.0
"""How long the load goes on after a fault."""

FULL, PEAK_S = 16, 5.0
"""Clients that keep the service busy, and for how long they measure its highest throughput."""

Flood = Callable[[int, float], Timing]

REFUSALS = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one film."""

    at_s: float
    """When it was sent, from the begin of the load."""
    took_s: float
    status: int
    """0 where the connection broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault."""

    name: str
    sent: int
    answered: int
    refused: int
    failed: int
    longest_s: float
    limit: str
    value: str
    holds: bool


class Service:
    """The service under load."""

    def __init__(self, up: Live, films: Sequence[BenchFilm], flood: Flood) -> None:
        self.up = up
        self.flood = flood
        """Loads the service with so many clients for so many seconds."""
        self.rate_per_s = LOAD_SHARE * flood(FULL, PEAK_S).films_per_s
        self.url = up.urls[0]
        self.port = up.place.ports[0]
        self._bodies = cycle([body(film, "file") for film in films])
        self._headers = {"Content-Type": content_type("file")}

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the service's processes that have a word in their command line."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if word in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    @property
    def workers(self) -> list[psutil.Process]:
        """TorchServe's workers."""
        return self.processes("model_service_worker")

    @property
    def jvm(self) -> psutil.Process:
        """TorchServe's JVM."""
        return self.processes("org.pytorch.serve.ModelServer")[0]

    async def load(self, seconds: float, share: float = 1.0, stop: asyncio.Event | None = None) -> list[Answer]:
        """Send films at the background rate, or a share of it, and return what became of them."""
        began = time.monotonic()
        connector, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=RECOVERY_S)
        async with aiohttp.ClientSession(connector=connector, timeout=patient, headers=self._headers) as session:

            async def one() -> Answer:
                sent = time.monotonic()
                status = 0
                try:
                    async with session.post(self.url, data=next(self._bodies)) as response:
                        await response.read()
                        status = response.status
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                return Answer(sent - began, time.monotonic() - sent, status)

            tasks = []
            interval_s = 1 / (share * self.rate_per_s)
            while (now := time.monotonic() - began) < seconds and not (stop and stop.is_set()):
                tasks.append(asyncio.create_task(one()))
                await asyncio.sleep(max(0.0, len(tasks) * interval_s - now))
            return list(await asyncio.gather(*tasks))

    async def manage(self, *arguments: str) -> int:
        """Run a command of `proxy.manage`; return its exit status."""
        process = await asyncio.create_subprocess_exec(
            *python_module("proxy.manage", *arguments),
            env={"PATH": "/usr/bin:/bin", "RUN_DIR": str(self.up.place.folder / "run")},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()


Fault = Callable[[Service], None]
Trial = Callable[[Service], Coroutine[Any, Any, Row]]
"""Causes a fault under load, and measures what became of the films."""


def row(name: str, answers: Sequence[Answer], limit: str, value: str, *, holds: bool) -> Row:
    """Sum up the answers under a fault."""
    statuses = [answer.status for answer in answers]
    refused = sum(status in REFUSALS for status in statuses)
    answered = statuses.count(HTTPStatus.OK)
    return Row(
        name=name,
        sent=len(answers),
        answered=answered,
        refused=refused,
        failed=len(answers) - answered - refused,
        longest_s=round(max((answer.took_s for answer in answers), default=0.0), 3),
        limit=limit,
        value=value,
        holds=holds,
    )


async def outage(service: Service, name: str, fault: Fault, *, refused_s: float, back_s: float) -> Row:
    """Break the service once; measure how soon films are refused, and how soon they are answered again."""
    load = asyncio.create_task(service.load(BEFORE_S + RECOVERY_S))
    await asyncio.sleep(BEFORE_S)
    fault(service)
    answers = await load
    bad = [answer for answer in answers if answer.status != HTTPStatus.OK]
    slowest = max((answer.took_s for answer in bad), default=0.0)
    back = max((answer.at_s for answer in bad), default=BEFORE_S) - BEFORE_S
    broken = sum(answer.status == 0 for answer in answers)
    return row(
        name,
        answers,
        f"refused within {refused_s:g} s, back in {back_s:g} s",
        f"refused within {slowest:.2f} s, back in {back:.1f} s, {broken} connections broken",
        holds=slowest <= refused_s and back <= back_s and not broken,
    )


async def worker_killed(service: Service, seconds: float) -> Row:
    """Kill a worker every five seconds."""
    load = asyncio.create_task(service.load(seconds))
    for _ in range(int(seconds // 5)):
        await asyncio.sleep(5)
        if workers := service.workers:
            random.choice(workers).kill()  # noqa: S311
    answers = await load
    share = sum(answer.status == HTTPStatus.OK for answer in answers) / len(answers)
    longest = max(answer.took_s for answer in answers)
    holds = share >= 0.999 and longest <= 2  # noqa: PLR2004
    return row("a worker killed every 5 s", answers, "99.9 % answered, no wait over 2 s", f"{share:.2%}", holds=holds)


async def commanded(service: Service, name: str, *commands: tuple[tuple[str, ...], int], share: float = 1.0) -> Row:
    """Run commands of `proxy.manage` with the exit status that each must have; no film may fail."""
    stop = asyncio.Event()
    load = asyncio.create_task(service.load(600, share, stop=stop))
    await asyncio.sleep(2)
    statuses = [await service.manage(*command) for command, _ in commands]
    await asyncio.sleep(2)
    stop.set()
    answers = await load
    bad = sum(answer.status != HTTPStatus.OK for answer in answers)
    right = statuses == [status for _, status in commands]
    return row(name, answers, "no film fails", f"{bad} failed, exit statuses {statuses}", holds=right and not bad)


async def overload(service: Service, seconds: float) -> Row:
    """Send films by ten times as many clients as keep the service busy, which try again at once."""
    peak = service.rate_per_s / LOAD_SHARE
    timing = await asyncio.to_thread(service.flood, 160, seconds)
    limit = "goodput at least 0.9 of the peak"
    value = f"{timing.films_per_s / peak:.2f} of the peak, {timing.errors} refused"
    result = row("160 clients that try again at once", [], limit, value, holds=timing.films_per_s >= 0.9 * peak)
    return replace(result, sent=timing.films + timing.errors, answered=timing.films, refused=timing.errors)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Connections that send something, and then little or nothing."""

    count: int
    hello: bytes
    drip: bytes = b""
    """Sent twice a second."""


async def beside(service: Service, name: str, crowd: Crowd, seconds: float) -> Row:
    """Hold a crowd of connections; others must be answered as before."""
    before = await service.load(seconds)
    with ExitStack() as stack:
        connections = []
        for _ in range(crowd.count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            connection.setblocking(False)
            connection.send(crowd.hello)
            connections.append(connection)
        load = asyncio.create_task(service.load(seconds))
        while crowd.drip and not load.done():
            for connection in connections:
                try:
                    connection.send(crowd.drip)
                except OSError:
                    continue
            await asyncio.sleep(0.5)
        during = await load
    p99 = [sorted(answer.took_s for answer in one)[int(0.99 * len(one))] for one in (before, during)]
    bad = sum(answer.status != HTTPStatus.OK for answer in during)
    ratio = p99[1] / p99[0]
    return row(
        name,
        during,
        "no film fails, p99 within twice",
        f"{bad} failed, p99 {ratio:.2f} times",
        holds=not bad and ratio <= 2,  # noqa: PLR2004
    )


async def ended(service: Service) -> Row:
    """Ask the service to end under 100 idle connections and films in flight."""
    process = service.processes("-m proxy")[0]
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        load = asyncio.create_task(service.load(0.8))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        answers = await load
        while (
            process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() - began < RECOVERY_S
        ):
            await asyncio.sleep(0.05)
    took = time.monotonic() - began
    left = service.workers or service.processes("org.pytorch.serve.ModelServer")
    bad = sum(answer.status != HTTPStatus.OK for answer in answers)
    return row(
        "SIGTERM under 100 connections",
        answers,
        "films in flight answered, ended in 10 s, nothing left",
        f"{bad} failed, {took:.1f} s, {len(left)} processes left",
        holds=not bad and took <= 10 and not left,  # noqa: PLR2004
    )


def kill_workers(service: Service) -> None:
    """Kill all workers."""
    for worker in service.workers:
        worker.kill()


def kill_jvm(service: Service) -> None:
    """Kill the JVM."""
    service.jvm.kill()


def stop_jvm(service: Service) -> None:
    """Stop the JVM, as a debugger would."""
    service.jvm.suspend()


def stop_worker(service: Service) -> None:
    """Stop a worker."""
    service.workers[0].suspend()


def faults(seconds: float, broken: Path) -> dict[str, Trial]:
    """Return the faults by name, in the order in which they are tried."""
    mar = str(MODEL_STORE / "pneumonia.mar")
    upload = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    declared = upload + b"Content-Length: 20000000\r\n\r\n--b\r\n"
    chunked = upload + b"Transfer-Encoding: chunked\r\n\r\n"
    head = b"GET / HTTP/1.1\r\nX-Slow: "
    return {
        "worker-killed": lambda s: worker_killed(s, max(15.0, seconds)),
        "workers-killed": lambda s: outage(s, "all workers killed", kill_workers, refused_s=1, back_s=10),
        "jvm-killed": lambda s: outage(s, "the JVM killed", kill_jvm, refused_s=1, back_s=10),
        "jvm-stopped": lambda s: outage(s, "the JVM stopped", stop_jvm, refused_s=2, back_s=15),
        "worker-stopped": lambda s: outage(s, "a worker stopped", stop_worker, refused_s=2, back_s=15),
        "scale": lambda s: commanded(
            s,
            "scale 1, 4, 1",
            *((("scale", "--workers", str(workers)), 0) for workers in (1, 4, 1)),
            share=0.5,  # what one worker can do
        ),
        "deploy": lambda s: commanded(
            s,
            "deploy, canary, promote, rollback",
            (("deploy", mar), 0),
            (("deploy", mar, "--canary", "20"), 0),
            (("promote",), 0),
            (("rollback",), 0),
        ),
        "bad-deploy": lambda s: commanded(s, "deploy of what is no archive", (("deploy", str(broken)), 2)),
        "overload": lambda s: overload(s, seconds),
        "slow-heads": lambda s: beside(s, "200 heads without end", Crowd(200, head, b"x"), seconds),
        "idle": lambda s: beside(s, "2,000 idle connections", Crowd(2000, b""), seconds),
        "uploads": lambda s: beside(s, "200 uploads of 20 MB that send nothing", Crowd(200, declared), seconds),
        "chunked": lambda s: beside(s, "200 chunked uploads that send nothing", Crowd(200, chunked), seconds),
        "sigterm": ended,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these faults")
    add_common(parser, out=Path("out/chaos"))
    return run(_chaos, parser.parse_args(arguments))


def _chaos(args: argparse.Namespace) -> None:
    allow_open_files()  # each connection is a file, on both sides
    setting = prepare(args)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        broken = Path(folder) / "broken.mar"
        broken.write_bytes(b"no archive")
        for name, fault in faults(args.seconds, broken).items():
            if not args.only or name in args.only:
                rows.append(_try(name, fault, setting, Path(folder)))
                _log(rows[-1])
                document: dict[str, Any] = {"machine": setting.machine, "faults": [asdict(one) for one in rows]}
                (args.out / "chaos.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if failed := [one.name for one in rows if not one.holds]:
        raise LoadError(f"{len(failed)} of {len(rows)} do not hold: {', '.join(failed)}")


def _log(result: Row) -> None:
    logger.info("%-5s %s: %s (%s)", "holds" if result.holds else "FAILS", result.name, result.value, result.limit)


def _try(name: str, fault: Trial, setting: Setting, folder: Path) -> Row:
    """Try one fault on a service of its own, whose model store it may write to."""
    store = folder / f"{name}-store"
    store.mkdir()
    shutil.copy(MODEL_STORE / "pneumonia.mar", store)
    with live(
        service_with({"MODEL_STORE": str(store)}), folder=folder / name, workers=setting.cores, film=setting.films[0]
    ) as up:
        load = up.load(setting.films, folder / name / "bodies")

        def flood(clients: int, seconds: float) -> Timing:
            return setting.wrk.run(load, concurrency=clients, seconds=seconds)

        return asyncio.run(fault(Service(up, setting.films, flood)))


if __name__ == "__main__":
    sys.exit(main())
