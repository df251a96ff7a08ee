"""Whether a prediction would succeed, found out by making one."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from enum import StrEnum

from proxy.client import Answer, TorchServeClient
from proxy.errors import ProbeError, ProxyError, UnavailableError
from proxy.gate import Gate
from proxy.memory import Film, FilmMemory
from proxy.reference import ReferenceFilm

logger = logging.getLogger(__name__)

FRESH_S = 0.1
"""A probe's result is used again this long, so that a flood of health checks costs at most ten films a second."""


class State(StrEnum):
    """The service's state; the values are the codes that clients see."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


class Readiness:
    """The state machine: loading -> ready <-> unavailable, and back to loading whenever TorchServe is started anew.

    Leaving `ready` closes the gate: films in it and films to come are answered 503 at once.
    """

    def __init__(self, gate: Gate, clock: Callable[[], float]) -> None:
        self.gate = gate
        self._clock = clock
        self.state = State.LOADING
        self.reason = "TorchServe is loading the model"
        self.since = clock()
        self.last_success = 0.0
        gate.close(self.reason)

    @property
    def ready(self) -> bool:
        """Whether films are let in."""
        return self.state is State.READY

    def loading(self) -> None:
        """TorchServe is being started."""
        self._change(State.LOADING, "TorchServe is loading the model")

    def succeeded(self) -> None:
        """A prediction succeeded."""
        self.last_success = self._clock()
        self.gate.answered()
        if not self.ready:
            self._change(State.READY, "")
            self.gate.open()

    def failed(self, reason: str) -> None:
        """A prediction cannot succeed."""
        self._change(State.UNAVAILABLE, reason)

    def require(self) -> None:
        """Raises what a client is told while no prediction can succeed.

        Raises:
            UnavailableError: The service is not ready.
        """
        if not self.ready:
            raise UnavailableError(self.reason, code=self.state)

    def _change(self, state: State, reason: str) -> None:
        if state is not self.state:
            self.since = self._clock()
            level = logging.INFO if state is State.READY else logging.WARNING
            logger.log(level, "service is %s%s", state, f": {reason}" if reason else "")
        self.state, self.reason = state, reason
        if state is not State.READY:
            self.gate.close(reason)


class Prober:
    """Screens reference films through the live model, past the gate."""

    def __init__(
        self,
        client: TorchServeClient,
        films: list[ReferenceFilm],
        readiness: Readiness,
        *,
        memory: FilmMemory,
        timeout_s: float,
    ) -> None:
        self._client = client
        self._films = [(film, memory.keep(film.content)) for film in films]
        self._next_film = itertools.cycle(self._films)
        self._readiness = readiness
        self._timeout_s = timeout_s
        self._running: asyncio.Task[None] | None = None
        self._finished_at = -FRESH_S

    async def check_all(self) -> None:
        """Screens every reference film once, waiting as long as it takes.

        Raises:
            ProxyError: One was not answered as expected.
        """
        for reference, film in self._films:
            await self._compare(reference, film)

    async def probe(self) -> None:
        """Screens one film and reports to the readiness; callers at the same time share one run."""
        loop = asyncio.get_running_loop()
        if self._running is None or (self._running.done() and loop.time() - self._finished_at > FRESH_S):
            self._running = asyncio.create_task(self._probe())
        await asyncio.shield(self._running)  # a caller that gives up does not take the others' answer along

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._try_film()
        except (ProxyError, TimeoutError) as exc:
            # Busy is not dead: where films are answered meanwhile, or refused, the probe queued behind them.
            if self._readiness.gate.last_answer < began or isinstance(exc, ProbeError):
                self._readiness.failed(str(exc) or "TorchServe gave no answer in time")
        else:
            self._readiness.succeeded()
        finally:
            self._finished_at = loop.time()

    async def _try_film(self) -> None:
        # Asked first, because a film sent to dead workers is never answered.
        if not await self._client.ready_workers():
            raise ProbeError("no worker has the model loaded")
        await self._compare(*next(self._next_film))

    async def _compare(self, reference: ReferenceFilm, film: Film) -> None:
        (answer,) = await self._client.screen([film])
        if answer is None:
            raise ProbeError("the handler did not begin a lone film")
        if not isinstance(answer, Answer):
            raise answer
        reference.check(answer)
