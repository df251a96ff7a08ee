"""Starts TorchServe, watches that predictions succeed, and starts it anew when they cannot any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy.availability.prober import NO_WORKER, Prober
from proxy.errors import ProxyError, StartError
from proxy.settings import Settings
from proxy.torchserve.client import TorchServeClient
from proxy.torchserve.process import TorchServe
from proxy.torchserve.run_dir import RunDir

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How often the supervisor looks, and how long it waits."""

    poll_s: float = 0.1
    """How often a starting TorchServe is asked whether it has come up, and a running one at most."""
    watch_s: float = 0.75
    """So long after the last prediction another is tried; well below the stall time of `admission.py`, so that a slow
    film is waited for as long as another worker answers."""
    recovery_watch_s: float = 0.25
    """The same while the service is unavailable."""
    restart_after_s: float = 60.0
    """TorchServe restarts its workers by itself, and after some minutes gives up for good; we do not wait that long."""
    hung_after_s: float = 5.0
    """A JVM that answers no question for so long hangs: it is killed."""
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 15.0


BESIDE_PATIENCE = 3
"""How many times as long a start may take beside another release, which has the processor first."""


class Supervisor:
    """Keeps one TorchServe running."""

    def __init__(  # noqa: PLR0913  (each is of another origin)
        self,
        settings: Settings,
        run_dir: RunDir,
        client: TorchServeClient,
        prober: Prober,
        intervals: Intervals | None = None,
        *,
        beside: bool = False,
    ) -> None:
        """Take what it starts and asks.

        Args:
            settings: Of its TorchServe.
            run_dir: Its folder.
            client: Talks to it.
            prober: Tries predictions.
            intervals: By default as in service.
            beside: Whether another release serves while this one first starts: its workers then load one after the
                other, so that a version that does not load has cost no more than one of them.
        """
        self._settings = settings
        self._run_dir = run_dir
        self._client = client
        self._prober = prober
        self._readiness = prober.readiness
        self._intervals = intervals or Intervals()
        self._beside = beside
        self._torchserve: TorchServe | None = None
        self.ready_once = asyncio.Event()
        """Set at the first right prediction."""

    async def run(self) -> None:
        """Run until cancelled, then stop TorchServe.

        Raises:
            SettingsError: There is nothing to start.
            StartError: The first start failed; later ones are tried again without end.
        """
        backoff_s = self._intervals.first_backoff_s
        while True:
            self._readiness.loading()
            try:
                steady = await self._run_once()
            except ProxyError as exc:
                if not self.ready_once.is_set():
                    raise
                logger.error("%s", exc)  # noqa: TRY400  (the traceback would say where we waited, not what failed)
                steady = False
            if steady:
                backoff_s = self._intervals.first_backoff_s
            logger.warning("starting TorchServe anew in %.1f s", backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, self._intervals.longest_backoff_s)

    def pause(self) -> None:
        """Stop TorchServe's processes, as far as there are some, until `resume`."""
        if self._torchserve is not None:
            self._torchserve.pause()

    def resume(self, *, for_good: bool = False) -> None:
        """Have TorchServe's processes go on; `for_good` where they are not paused any more."""
        if self._torchserve is not None:
            self._torchserve.resume(for_good=for_good)

    def kill(self) -> None:
        """Kill TorchServe now: the end is urgent, and nothing must stay behind."""
        if self._torchserve is not None:
            self._torchserve.kill()

    async def _run_once(self) -> bool:
        """Run one TorchServe from start to end; return whether it had served steadily when it ended or was stopped."""
        torchserve = self._torchserve = TorchServe.start(
            self._settings, self._run_dir, self._client.inference.transport.worker_environment
        )
        end = asyncio.create_task(torchserve.wait())
        service = asyncio.create_task(self._serve(torchserve))
        try:
            await asyncio.wait({end, service}, return_when=asyncio.FIRST_COMPLETED)
            if service.done():
                service.result()
                return False
            steady = self._readiness.steady
            self._readiness.loading()  # at once: films in flight are answered now
            ended = f"TorchServe ended with exit status {end.result()}. Its last lines:\n{torchserve.tail}"
            if not self.ready_once.is_set():
                raise StartError(ended)
            logger.warning("%s", ended)
            return steady
        finally:
            service.cancel()
            await _to_the_end(self._stop(torchserve, service))

    async def _stop(self, torchserve: TorchServe, service: asyncio.Task[None]) -> None:
        await asyncio.wait({service})  # whatever it raised, TorchServe must not stay behind
        await torchserve.stop()

    async def _serve(self, torchserve: TorchServe) -> None:
        """Wait until predictions succeed, then watch them; return when they have failed for too long."""
        one_first = self._beside and not self.ready_once.is_set()
        patience_s = self._settings.start_timeout_s * (BESIDE_PATIENCE if one_first else 1)
        try:
            async with asyncio.timeout(patience_s):
                await self._come_up(torchserve, workers=1 if one_first else self._settings.workers)
        except TimeoutError:
            raise StartError(
                f"TorchServe made no prediction within {patience_s:g} s (START_TIMEOUT_S"
                f"{f', {BESIDE_PATIENCE} times' if one_first else ''}). Its last lines:\n{torchserve.tail}"
            ) from None
        except StartError:
            raise
        except ProxyError as exc:
            raise StartError(f"TorchServe is up, but {exc}. Its last lines:\n{torchserve.tail}") from exc
        if one_first:
            await self._have_the_others_load(torchserve, patience_s)
        self._readiness.succeeded()
        self.ready_once.set()
        await self._watch(torchserve)

    async def _come_up(self, torchserve: TorchServe, *, workers: int) -> None:
        # The archive's own configuration starts one worker; the others are asked for as early as possible, so that
        # all load side by side.
        await self._until(partial(self._ask_for_workers, workers), torchserve)
        await self._until(self._count_workers, torchserve)
        await self._prober.check_all()

    async def _have_the_others_load(self, torchserve: TorchServe, patience_s: float) -> None:
        """Wait for the other workers; where they do not all come up, as for lack of memory, fewer serve."""
        try:
            async with asyncio.timeout(patience_s):
                await self._until(partial(self._ask_for_workers, self._settings.workers), torchserve)
                await self._until(self._have_all_workers, torchserve)
        except TimeoutError:
            come = self._readiness.admission.workers
            logger.warning("only %d of %d workers came up within %g s", come, self._settings.workers, patience_s)

    async def _ask_for_workers(self, workers: int) -> bool:
        self._client.authorise(self._run_dir)
        await self._client.management.scale(workers)
        return True

    async def _have_all_workers(self) -> bool:
        await self._count_workers()
        return self._readiness.admission.workers >= self._settings.workers

    async def _count_workers(self) -> bool:
        """Admit as many films as the workers can take: their number changes by `proxy.manage`, or because they die."""
        workers = await self._client.management.ready_workers()
        self._readiness.admission.resize(workers)
        return workers > 0

    async def _until(self, step: Callable[[], Awaitable[bool]], torchserve: TorchServe) -> None:
        while torchserve.load_error is None:
            with suppress(ProxyError):  # not so far yet
                if await step():
                    return
            await asyncio.sleep(self._intervals.poll_s)
        raise StartError(f"the model does not load: {torchserve.load_error}")

    async def _wait_or_alarm(self, timeout_s: float) -> None:
        """Wait, but no longer than until a worker dies."""
        alarm = self._readiness.admission.alarm
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await alarm.wait()
        alarm.clear()

    async def _watch(self, torchserve: TorchServe) -> None:
        loop, wait = asyncio.get_running_loop(), self._intervals
        heard_at = loop.time()
        while True:
            if self._readiness.ready:
                # From the last prediction on, not from the last look: who asks later leaves a slow film's neighbours
                # less time to answer before it is taken for stalled.
                due_s = max(wait.poll_s, self._readiness.last_success + wait.watch_s - loop.time())
                await self._wait_or_alarm(due_s)
            else:
                await asyncio.sleep(wait.recovery_watch_s)
            if not self._readiness.ready or loop.time() - self._readiness.last_success >= wait.watch_s:
                await self._prober.probe()
            with suppress(ProxyError):  # the probe says what it means
                if not await self._count_workers() and self._readiness.ready:
                    self._readiness.failed(NO_WORKER)  # at once: films wait for none
                heard_at = loop.time()
            if loop.time() - heard_at > wait.hung_after_s:
                logger.warning("TorchServe has not answered for %.0f s", loop.time() - heard_at)
                torchserve.kill()  # asked to end, it would not hear that either
                return
            if self._readiness.failing_s > wait.restart_after_s:
                logger.warning("predictions have failed for %.0f s", self._readiness.failing_s)
                return


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that must not be left half done; a cancellation meanwhile is raised when it is done."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()
