"""Screens reference films through the live model, past admission: would a prediction succeed?"""

import asyncio
import itertools
from collections.abc import Sequence

from proxy.availability.archive import ReferenceFilm
from proxy.availability.readiness import Readiness
from proxy.errors import ProbeError, ProxyError, WorkerDiedError
from proxy.torchserve.client import Reply, TorchServeClient
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm

FRESH_S = 0.1
"""A probe's result is used again this long, so that a flood of health checks costs at most ten films a second."""

NO_WORKER = "no worker has the model loaded"


class Prober:
    """Reports to the readiness what becomes of reference films."""

    def __init__(
        self,
        client: TorchServeClient,
        films: Sequence[ReferenceFilm],
        *,
        readiness: Readiness,
        buffer: FilmBuffer,
        timeout_s: float,
    ) -> None:
        self._buffer = buffer
        self._films = [(film, buffer.keep(film.content)) for film in films]
        self._next_film = itertools.cycle(self._films)
        self._client = client
        self.readiness = readiness
        self._timeout_s = timeout_s
        self._running: asyncio.Task[None] | None = None
        self._finished_at = -FRESH_S

    def release_films(self) -> None:
        """Give back the memory of the reference films; nothing is probed any more."""
        for _, film in self._films:
            self._buffer.drop(film)
        self._films = []

    async def check_all(self) -> None:
        """Screen every reference film once, waiting as long as it takes.

        Raises:
            ProxyError: One was not screened as expected.
        """
        for reference, film in self._films:
            await self._check(reference, film)

    async def probe(self) -> None:
        """Screen one film, or all of them to recover, and report; callers at the same time share one run."""
        loop = asyncio.get_running_loop()
        if self._running is None or (self._running.done() and loop.time() - self._finished_at > FRESH_S):
            self._running = asyncio.create_task(self._probe())
        await asyncio.shield(self._running)  # a caller that gives up does not take the others' result along

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._screen_reference_films()
        except (ProxyError, TimeoutError) as exc:
            # Busy is not dead: where films are answered meanwhile, or refused, the probe queued behind them.
            if self.readiness.admission.last_answer < began or isinstance(exc, ProbeError):
                self.readiness.failed(str(exc) or "TorchServe gave no answer in time")
        else:
            self.readiness.succeeded()
        finally:
            self._finished_at = loop.time()

    async def _screen_reference_films(self) -> None:
        # Asked first, because a film sent to dead workers is never answered.
        if not await self._client.management.ready_workers():
            raise ProbeError(NO_WORKER)
        if self.readiness.ready:
            await self._check(*next(self._next_film))
        else:
            # One right result does not make up for a wrong one.
            await self.check_all()

    async def _check(self, reference: ReferenceFilm, film: HeldFilm) -> None:
        try:
            (reply,) = await self._client.inference.screen([film])
        except WorkerDiedError:  # the others may live
            (reply,) = await self._client.inference.screen([film])
        if reply is None:
            raise ProbeError("the handler did not begin a lone film")
        if not isinstance(reply, Reply):
            raise reply
        reference.check(reply)
