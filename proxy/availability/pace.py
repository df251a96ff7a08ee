"""Leave films the processor while a version starts beside the one in service.

The starting TorchServe is stopped and continued as a whole, by signals, many times a second. A low priority would do as
well, but could not be raised again without a privilege that containers do not have.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from proxy.settings import usable_cores

TICK_S = 0.005
LEAST_SHARE = 0.3
"""Of the time that it runs however busy the machine is, or it would never come up."""


class Starting(Protocol):
    """What starts."""

    def pause(self) -> None:
        """Stop all its processes."""

    def resume(self, *, for_good: bool = False) -> None:
        """Have them go on; `for_good` where they are not paused any more."""


class Live(Protocol):
    """What has films that are not to wait."""

    @property
    def in_torchserve(self) -> int:
        """Films in TorchServe."""


class Pace:
    """Has something start while a core is free, and for a least share of the time.

    Args:
        starting: Runs at first.
        live: What is in service.
        cores: Of the machine, that we may use.
    """

    def __init__(self, starting: Starting, live: Live, *, cores: int) -> None:
        self._starting = starting
        self._live = live
        self._cores = cores
        self._runs = True
        self._owed = 0.0
        """Ticks of its least share that it has not had."""

    def tick(self) -> None:
        """Stop it, or have it go on, by what is so now."""
        self._owed = max(0.0, self._owed + LEAST_SHARE - self._runs)
        films = self._live.in_torchserve
        runs = films < self._cores or self._owed >= 1
        if runs != self._runs:
            self._runs = runs
            (self._starting.resume if runs else self._starting.pause)()


@asynccontextmanager
async def paced(starting: Starting, live: Live) -> AsyncIterator[None]:
    """Pace something that starts, as long as the context lasts; at its end it runs."""

    async def run() -> None:
        pace = Pace(starting, live, cores=usable_cores())
        while True:
            pace.tick()
            await asyncio.sleep(TICK_S)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        starting.resume(for_good=True)
