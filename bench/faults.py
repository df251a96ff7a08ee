"""Faults of a running service: each is caused under load, and what became of the films is a row."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import psutil

from bench.under_load import LOAD_SHARE, RECOVERY_S, Row, Service, failures, p50_s, p99_s, row

BEFORE_S = 3.0
"""How long the load has gone on when a fault happens."""

MEMORY_MB = 900
"""PSS of the whole service with two workers, at most; twice that while a deployment is under way."""

Fault = Callable[[Service], None]


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


async def commanded(
    service: Service,
    name: str,
    *commands: tuple[tuple[str, ...], int],
    share: float = 1.0,
    slower: float | None = None,
    within_s: float | None = None,
) -> Row:
    """Run commands of `proxy.manage` with the exit status that each must have; no film may fail.

    Where `slower` is given, the median film takes at most so many times as long as before; where `within_s` is, each
    command ends in that time.
    """
    before = await service.load(BEFORE_S, share)
    stop = asyncio.Event()
    load = asyncio.create_task(service.load(600, share, stop=stop))
    statuses, longest_s = [], 0.0
    for command, _ in commands:
        began = time.monotonic()
        statuses.append(await service.manage(*command))
        longest_s = max(longest_s, time.monotonic() - began)
    stop.set()
    answers = await load
    bad, ratio = failures(answers), p50_s(answers) / p50_s(before)
    right = statuses == [status for _, status in commands] and not bad
    return row(
        name,
        answers,
        "no film fails"
        + (f", p50 at most {slower:g} times" if slower else "")
        + (f", said within {within_s:g} s" if within_s else ""),
        f"{bad} failed, exit statuses {statuses}, p50 {ratio:.2f} times, the longest command {longest_s:.1f} s",
        holds=right and (slower is None or ratio <= slower) and (within_s is None or longest_s <= within_s),
    )


async def memory(service: Service, archive: Path) -> Row:
    """Measure what the service takes under load, while a version is deployed, and after."""
    stop = asyncio.Event()
    load = asyncio.create_task(service.load(600, stop=stop))
    await asyncio.sleep(BEFORE_S)
    before = await asyncio.to_thread(service.up.memory)
    deployment, meanwhile = asyncio.create_task(service.manage("deploy", str(archive))), [before]
    while not deployment.done():
        meanwhile.append(await asyncio.to_thread(service.up.memory))
        await asyncio.sleep(0.2)
    await asyncio.sleep(BEFORE_S)
    after = await asyncio.to_thread(service.up.memory)
    stop.set()
    answers = await load
    allowed = MEMORY_MB * max(1.0, service.up.place.workers / 2)
    return row(
        "memory, and while a version is deployed",
        answers,
        f"PSS at most {allowed:.0f} MB, {2 * allowed:.0f} MB meanwhile",
        f"{before:.0f} MB, {max(meanwhile):.0f} MB meanwhile, {after:.0f} MB after",
        holds=max(before, after) <= allowed and max(meanwhile) <= 2 * allowed,
    )


async def disk_full(service: Service, archive: Path) -> Row:
    """Fill RUN_DIR's disk, a small one of its own, and kill a worker; films go on, a deployment is refused."""
    service.run_dir = Path(f"/proc/{service.process.pid}/root{service.run_dir}")  # mounted for that process only
    load = asyncio.create_task(service.load(BEFORE_S + RECOVERY_S))
    fill = service.run_dir / "fill"
    with suppress(OSError), fill.open("wb", buffering=0) as file:
        while file.write(bytes(65_536)):
            pass
    status = await service.manage("deploy", str(archive))
    service.workers[0].kill()
    answers = await load
    bad = failures(answers)
    return row(
        "the disk full while running, and a worker killed",
        answers,
        "no film fails, a deployment is refused",
        f"{bad} failed, {os.statvfs(service.run_dir).f_bfree} blocks left, deploy ended with {status}",
        holds=not bad and status == 2,  # noqa: PLR2004
    )


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


async def beside(service: Service, name: str, crowd: Crowd, seconds: float, *, longest_s: float | None = None) -> Row:
    """Hold a crowd of connections; others must be answered as before, or each within `longest_s` where that is given.

    All connect at once, and it is the crowd's own requests that others first wait behind.
    """
    before = await service.load(seconds)
    with ExitStack() as stack:
        connections = []
        for _ in range(crowd.count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            connection.setblocking(False)
            with suppress(OSError):  # it was ended for another
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
    bad, ratio = failures(during), p99_s(during) / p99_s(before)
    longest = max(answer.took_s for answer in during)
    return row(
        name,
        during,
        "no film fails, " + ("p99 within twice" if longest_s is None else f"none waits over {longest_s:g} s"),
        f"{bad} failed, p99 {ratio:.2f} times, the longest wait {longest:.2f} s",
        holds=not bad and (ratio <= 2 if longest_s is None else longest <= longest_s),  # noqa: PLR2004
    )


async def ended(service: Service) -> Row:
    """Ask the service to end under 100 idle connections and films in flight."""
    process = service.process
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
    bad = failures(answers)
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
