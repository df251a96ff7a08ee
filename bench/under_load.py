"""A service under a background load, and a row of what became of the films meanwhile."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from bench.contender import Live, python_module
from bench.films import BenchFilm, body, content_type
from bench.results import Timing

LOAD_SHARE = 0.6
"""Of the highest throughput."""

RECOVERY_S = 30.0
"""How long a film waits for its answer, and the load goes on after a fault."""

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
        self.port = urlsplit(self.url).port
        self.run_dir = up.place.folder / "run"
        """As `proxy.manage` reaches it."""
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
    def process(self) -> psutil.Process:
        """The proxy's process."""
        return self.processes("-m proxy")[0]

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
            env={"PATH": "/usr/bin:/bin", "RUN_DIR": str(self.run_dir)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()


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


def failures(answers: Sequence[Answer]) -> int:
    """Return how many films got no result."""
    return sum(answer.status != HTTPStatus.OK for answer in answers)


def p50_s(answers: Sequence[Answer]) -> float:
    """Return the median time to an answer, in seconds."""
    return median(answer.took_s for answer in answers)


def p99_s(answers: Sequence[Answer]) -> float:
    """Return the time in which all but one in a hundred were answered, in seconds."""
    return sorted(answer.took_s for answer in answers)[int(0.99 * len(answers))]
