"""Load in an open loop: films arrive at a rate, whatever the answers do, as patients would.

    python -m bench.open_loop PLAN.json

Films arrive at even intervals, as vegeta, k6 and oha send them, or as a Poisson process of a fixed seed, as patients
do. By chance alone even a queue without any overhead, of two servers at four fifths of their rate, then has a p99 of
about four times its p50. A film's latency counts from the moment that it should have been sent, so that a stall is paid
by every film that fell into it (no coordinated omission). Ours, because no generator that keeps this rule and takes
films in turn is in the registries that a newcomer's machine has: wrk only knows closed loops, hey's and autocannon's
rates wait for answers. It is plain asyncio with uvloop and httptools, which the service brings.

Source: G. Tene, How NOT to Measure Latency, 2013; Schroeder et al., Open Versus Closed: A Cautionary Tale, NSDI 2006
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.children import json_of
from bench.contender import python_module
from bench.load import Load
from bench.measures import Timing, histogram, timing_of

DRAIN_S = 20.0
"""How long answers may still take when the last film has been sent; later ones count as errors."""

OK = 200

SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the generator's process is told."""

    urls: Sequence[str]
    """Of one contender; films go to each in turn."""
    bodies: Sequence[str]
    """Files."""
    headers: Mapping[str, str]
    rate_per_s: float
    seconds: float
    poisson: bool
    """Whether films arrive by chance, or evenly."""


def arrivals(rate_per_s: float, seconds: float, *, poisson: bool) -> list[float]:
    """Return the seconds at which films arrive."""
    if not poisson:
        return [number / rate_per_s for number in range(round(rate_per_s * seconds))]
    random_ = random.Random(SEED)  # noqa: S311  (not a secret)
    at = 0.0
    times = []
    while (at := at + random_.expovariate(rate_per_s)) < seconds:
        times.append(at)
    return times


class Connection(asyncio.Protocol):
    """One connection, kept open; carries one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # of a TCP connection it is one

    def request(self, message: bytes) -> "asyncio.Future[int]":
        """Send a request; the result is the status of the whole answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        if self.transport is not None:
            self.transport.write(message)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.connection_lost(exc)

    def on_message_complete(self) -> None:
        """The answer is whole (httptools calls this)."""
        if not self._parser.should_keep_alive() and self.transport is not None:
            self.transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        """The answer will not come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))


class Address:
    """A contender's address and the connections to it; as many as films are in flight."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        self._head = "\r\n".join(lines + [f"{name}: {value}" for name, value in headers.items()])
        self._idle: list[Connection] = []

    def message(self, body: bytes) -> bytes:
        """Return a whole request."""
        return f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def send(self, message: bytes) -> int:
        """Send a request and return the status of its answer."""
        connection = await self._connection()
        status = await connection.request(message)
        self._idle.append(connection)
        return status

    async def _connection(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._host, self._port)
        return made


async def generate(plan: Plan) -> dict[str, Any]:
    """Send the films when they are due, and return the latencies and the number of failures."""
    addresses = [Address(url, plan.headers) for url in plan.urls]
    bodies = [Path(path).read_bytes() for path in plan.bodies]
    turns: Iterator[tuple[Address, bytes]] = cycle(
        [(address, address.message(body)) for body in bodies for address in addresses]
    )
    took_ms: list[float] = []
    failures = 0
    began = time.perf_counter()  # uvloop's own clock counts whole milliseconds

    async def one(due: float, address: Address, message: bytes) -> None:
        nonlocal failures
        try:
            status = await address.send(message)
        except OSError:
            status = 0
        if status == OK:
            took_ms.append(1000 * (time.perf_counter() - due))
        else:
            failures += 1

    tasks = []
    for at in arrivals(plan.rate_per_s, plan.seconds, poisson=plan.poisson):
        due = began + at
        await asyncio.sleep(due - time.perf_counter())
        tasks.append(asyncio.create_task(one(due, *next(turns))))
    done, late = await asyncio.wait(tasks, timeout=DRAIN_S) if tasks else (set(), set())
    for task in late:
        task.cancel()
    for task in done:
        task.result()
    return {"took_ms": took_ms, "errors": failures + len(late), "seconds": plan.seconds}


def run(load: Load, *, rate_per_s: float, seconds: float, poisson: bool) -> Timing:
    """Load a contender from a process of its own.

    Raises:
        LoadError: the generator failed.
    """
    plan = Plan(
        urls=load.urls,
        bodies=[str(path) for path in load.bodies],
        headers=load.headers,
        rate_per_s=rate_per_s,
        seconds=seconds,
        poisson=poisson,
    )
    path = load.folder / "open-loop.json"
    path.write_text(json.dumps(asdict(plan)))
    told = json_of(python_module("bench.open_loop", path), seconds, grace_s=3 * DRAIN_S)
    return timing_of(histogram(told["took_ms"]), errors=told["errors"], seconds=told["seconds"])


def main() -> None:
    """Run the command."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    sys.stdout.write(json.dumps(uvloop.run(generate(plan))) + "\n")


if __name__ == "__main__":
    main()
