"""Load in an open loop: films arrive at a rate, however long the answers take.

A film's latency counts from the moment at which it should have been sent, so that every film pays for a stall that it
fell into (no coordinated omission).
Source: G. Tene, How NOT to Measure Latency, 2013; Schroeder et al., Open Versus Closed: A Cautionary Tale, NSDI 2006
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from itertools import cycle

import aiohttp
import uvloop

from bench.films import Load
from bench.results import Timing

DRAIN_S = 20.0
"""How long answers may still take when the last film has been sent; later ones count as errors."""

SEED = 20
"""Of the Poisson process."""

Send = Callable[[], Awaitable[bool]]
"""Sends the next film, and returns whether it was answered with 200."""


def run(load: Load, *, rate_per_s: float, seconds: float, poisson: bool) -> Timing:
    """Load a contender with films that arrive evenly spaced, or as a Poisson process."""
    gc.collect()
    gc.freeze()  # a full pass over everything that is loaded would delay films, and be measured as the contender's
    try:
        return uvloop.run(_run(load, arrivals(rate_per_s, seconds, poisson=poisson), seconds))
    finally:
        gc.unfreeze()


async def _run(load: Load, due_s: Sequence[float], seconds: float) -> Timing:
    bodies = [path.read_bytes() for path in load.bodies]
    turns = cycle([(url, body) for body in bodies for url in load.urls])
    unlimited, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=unlimited, timeout=patient, headers=load.headers) as session:

        async def send() -> bool:
            url, body = next(turns)
            try:
                async with session.post(url, data=body) as response:
                    await response.read()
                    return response.status == HTTPStatus.OK
            except (aiohttp.ClientError, OSError):
                return False

        took_ms, errors = await send_when_due(due_s, send)
    return Timing.of(took_ms, errors=errors, seconds=seconds)


def arrivals(rate_per_s: float, seconds: float, *, poisson: bool) -> list[float]:
    """Return the seconds at which films arrive."""
    if not poisson:
        return [number / rate_per_s for number in range(round(rate_per_s * seconds))]
    generator = random.Random(SEED)  # noqa: S311  (not a secret)
    at = 0.0
    times = []
    while (at := at + generator.expovariate(rate_per_s)) < seconds:
        times.append(at)
    return times


async def send_when_due(
    due_s: Sequence[float],
    send: Send,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    drain_s: float = DRAIN_S,
) -> tuple[list[float], int]:
    """Send each film at its moment; return latencies in milliseconds, and the number of errors.

    Args:
        due_s: the moments, in ascending order, from now.
        send: sends a film.
        clock: in seconds; uvloop's own counts whole milliseconds.
        sleep: waits so many seconds of the clock.
        drain_s: how long answers may take after the last moment.
    """
    began = clock()
    took_ms: list[float] = []

    async def one(due: float) -> None:
        if await send():
            took_ms.append(1000 * (clock() - due))

    tasks = []
    for moment in due_s:
        await sleep(max(0.0, began + moment - clock()))
        tasks.append(asyncio.create_task(one(began + moment)))
    done, late = await asyncio.wait(tasks, timeout=drain_s) if tasks else (set(), set())
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    return took_ms, len(tasks) - len(took_ms)
