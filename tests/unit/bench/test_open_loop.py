import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bench.films import Load
from bench.open_loop import arrivals, run, send_when_due
from bench.results import Timing


class Clock:
    """Stands still unless somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        wake_up = self.now + seconds
        await asyncio.sleep(0)  # others work meanwhile
        self.now = max(self.now, wake_up)


@contextmanager
def server(status: int) -> Iterator[str]:
    """Answer every request so, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status if body == b"a film" else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/predict"
        finally:
            listening.shutdown()


def send(url: str, folder: Path) -> Timing:
    (folder / "0.body").write_bytes(b"a film")
    load = Load(urls=[url], headers={"Content-Type": "image/jpeg"}, bodies=[folder / "0.body"])
    return run(load, rate_per_s=100.0, seconds=0.3, poisson=False)


def test_random_arrivals_come_at_the_rate_and_are_the_same_every_time() -> None:
    times = arrivals(100.0, 50.0, poisson=True)
    assert len(times) == pytest.approx(5000, rel=0.05)
    assert times == sorted(times)
    assert times == arrivals(100.0, 50.0, poisson=True)


def test_even_arrivals_are_evenly_spaced() -> None:
    assert arrivals(100.0, 0.05, poisson=False) == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04])


async def test_every_film_that_fell_into_a_stall_pays_for_it() -> None:
    clock = Clock()
    sent: list[float] = []

    async def stalls_once() -> bool:
        if not sent:
            clock.now += 1.0
        sent.append(clock.now)
        return True

    took_ms, errors = await send_when_due([0.0, 0.25, 0.5, 2.0], stalls_once, clock=clock, sleep=clock.sleep)
    assert took_ms == pytest.approx([1000, 750, 500, 0])
    assert errors == 0


async def test_answers_that_do_not_come_are_errors() -> None:
    clock = Clock()

    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    assert await send_when_due([0.0, 0.1], hangs, clock=clock, sleep=clock.sleep, drain_s=0.05) == ([], 2)


async def test_no_arrival_is_no_error() -> None:
    async def never() -> bool:
        raise AssertionError

    assert await send_when_due([], never) == ([], 0)


def test_every_arrival_is_answered(tmp_path: Path) -> None:
    with server(200) as url:
        timing = send(url, tmp_path)
    assert (timing.films, timing.errors) == (30, 0)
    assert timing.p50_ms > 0


def test_refusals_and_refused_connections_are_errors(tmp_path: Path) -> None:
    with server(503) as url:
        timing = send(url, tmp_path)
    assert (timing.films, timing.errors) == (0, 30)
    assert send(url, tmp_path).errors == 30
