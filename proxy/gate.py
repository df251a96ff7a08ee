"""Admission: how many films may be held, wait and be in TorchServe at once, and for how long.

The proxy keeps the queue because TorchServe's cannot time out, and because TorchServe accepts films for workers that
are dead and then answers nothing for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from proxy.errors import UnavailableError

TICK_S = 0.1
"""How often waiting films are looked at; adds to the promised times."""

PATIENCE = 5
"""A film is given up at this many times the stall time, even while others are answered."""

SMALLEST_HOLD_BYTES = 65_536
"""A request takes at least a read buffer, however small its film."""


class Gate:
    """Lets films through to TorchServe, in the order of their arrival.

    A film is given up when TorchServe has answered nothing at all for `stall_s` since the film's arrival. As long as
    answers come, films wait longer than that rather than being refused: a slow machine serves late, a dead one says so.
    """

    def __init__(self, *, slots: int, queue_limit: int, max_held_bytes: int, stall_s: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._queue_limit = queue_limit
        self._max_held_bytes = max_held_bytes
        self._stall_s = stall_s
        self._held_bytes = 0
        self._waiting = 0
        self._films: dict[asyncio.Timeout, float] = {}
        """Every film that waits or is in TorchServe: what ends it, and when it came."""
        self._last_answer = 0.0
        self._closed: str | None = None

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Reserves memory for a film of at most `size` bytes, before it is read.

        Raises:
            UnavailableError: Too many films are held or wait already.
        """
        size = max(size, SMALLEST_HOLD_BYTES)
        if self._waiting >= self._queue_limit or self._held_bytes + size > self._max_held_bytes:
            raise _saturated()
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a place in TorchServe and holds it.

        Raises:
            UnavailableError: The queue is full, TorchServe stalls, or the gate was closed meanwhile.
        """
        if self._closed is not None:
            raise UnavailableError(self._closed)
        if self._waiting >= self._queue_limit:
            raise _saturated()
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._films[timeout] = asyncio.get_running_loop().time()
                await self._wait()
                try:
                    yield
                    self.answered()
                finally:
                    self._slots.release()
        except TimeoutError as exc:
            if self._closed is not None:
                raise UnavailableError(self._closed) from exc
            raise UnavailableError("TorchServe gave no answer in time", code="timeout") from exc
        finally:
            self._films.pop(timeout, None)

    def answered(self) -> None:
        """Notes that TorchServe answered something: it is not stalled."""
        self._last_answer = asyncio.get_running_loop().time()

    def close(self, reason: str) -> None:
        """Answers every film in the gate with 503 at once, and all that come until `open`."""
        self._closed = reason
        now = asyncio.get_running_loop().time()
        for timeout in self._films:
            _end(timeout, now)

    def open(self) -> None:
        """Lets films in again."""
        self._closed = None

    async def watch(self) -> None:
        """Gives up films that have waited too long; runs as long as the service does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """Gives up the films whose time is over at `now`."""
        for timeout, arrival in self._films.items():
            stalled = now - max(arrival, self._last_answer) > self._stall_s
            if stalled or now - arrival > PATIENCE * self._stall_s:
                _end(timeout, now)

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1


def _end(timeout: asyncio.Timeout, now: float) -> None:
    with suppress(RuntimeError):  # it is ending already
        timeout.reschedule(now)


def _saturated() -> UnavailableError:
    return UnavailableError("too many films are waiting", code="saturated", retry_after_s=1)
