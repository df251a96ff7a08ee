import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.open_loop import Plan, arrivals, generate


@asynccontextmanager
async def server(answer: bytes, delay_s: float = 0.0) -> AsyncIterator[str]:
    """Answer every request of one body, and yield the address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split()[0])
                await reader.readexactly(length)
                await asyncio.sleep(delay_s)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/predict"
    finally:
        listening.close()


def plan(tmp_path: Path, *urls: str, rate_per_s: float = 100.0, seconds: float = 0.3) -> Plan:
    body = tmp_path / "0.body"
    body.write_bytes(b"a film")
    return Plan(
        urls=urls,
        bodies=[str(body)],
        headers={"Content-Type": "image/jpeg"},
        rate_per_s=rate_per_s,
        seconds=seconds,
        poisson=True,
    )


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_arrivals_by_chance_come_at_the_rate_and_are_the_same_every_time() -> None:
    times = arrivals(100.0, 50.0, poisson=True)
    assert len(times) == pytest.approx(5000, rel=0.05)
    assert times == sorted(times)
    assert times == arrivals(100.0, 50.0, poisson=True)


def test_even_arrivals_are_evenly_spaced() -> None:
    assert arrivals(100.0, 0.05, poisson=False) == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04])


async def test_every_arrival_is_answered(tmp_path: Path) -> None:
    async with server(OK) as url:
        told = await generate(plan(tmp_path, url))
    assert len(told["took_ms"]) == len(arrivals(100.0, 0.3, poisson=True))
    assert told["errors"] == 0


async def test_slow_answers_delay_no_arrival(tmp_path: Path) -> None:
    async with server(OK, delay_s=0.2) as url:
        told = await generate(plan(tmp_path, url))
    assert len(told["took_ms"]) == len(arrivals(100.0, 0.3, poisson=True))
    assert 200 <= min(told["took_ms"]) <= max(told["took_ms"]) < 600


async def test_refusals_and_broken_connections_are_errors(tmp_path: Path) -> None:
    refusing = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with server(refusing) as url:
        told = await generate(plan(tmp_path, url))
    assert told["took_ms"] == []
    assert told["errors"] == len(arrivals(100.0, 0.3, poisson=True))
    gone = await generate(plan(tmp_path, url))
    assert gone["errors"] == len(arrivals(100.0, 0.3, poisson=True))


async def test_no_arrival_is_no_error(tmp_path: Path) -> None:
    async with server(OK) as url:
        told = await generate(plan(tmp_path, url, rate_per_s=0.001))
    assert told == {"took_ms": [], "errors": 0, "seconds": 0.3}
