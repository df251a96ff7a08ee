"""Starts TorchServe, watches that predictions succeed, and starts it anew when they cannot any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from proxy.client import TorchServeClient
from proxy.errors import ProxyError, StartError
from proxy.readiness import Prober, Readiness
from proxy.rundir import RunDir
from proxy.settings import Settings
from proxy.torchserve import TorchServe

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""How often a starting TorchServe is asked whether it has come up, and a running one at most."""

WATCH_S = 0.75
"""So long after the last prediction another is tried; well below the stall time of `proxy/gate.py`, so that a slow film
is waited for as long as another worker answers."""

RECOVERY_WATCH_S = 0.25
"""The same while the service is unavailable."""

RESTART_AFTER_S = 60.0
"""TorchServe restarts its workers by itself, and after some minutes gives up for good; we do not wait that long."""

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 15.0


class Supervisor:
    """Keeps one TorchServe running."""

    def __init__(
        self, settings: Settings, run_dir: RunDir, client: TorchServeClient, readiness: Readiness, prober: Prober
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._client = client
        self._readiness = readiness
        self._prober = prober
        self._torchserve: TorchServe | None = None
        self.ready_once = asyncio.Event()
        """Set at the first right prediction."""

    async def run(self) -> None:
        """Runs until cancelled, then stops TorchServe.

        Raises:
            SettingsError: There is nothing to start.
            StartError: The first start failed; later ones are tried again without end.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            self._readiness.loading()
            try:
                await self._live_once()
                backoff_s = FIRST_BACKOFF_S
            except StartError as exc:
                if not self.ready_once.is_set():
                    raise
                logger.error("%s", exc)  # noqa: TRY400  (the traceback would say where we waited, not what failed)
            logger.warning("starting TorchServe anew in %.1f s", backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def kill(self) -> None:
        """Kills TorchServe now: the end is urgent, and nothing must stay behind."""
        if self._torchserve is not None:
            self._torchserve.kill()

    async def _live_once(self) -> None:
        """One TorchServe from start to end; returns when it was of use and then ended or stopped serving."""
        torchserve = self._torchserve = TorchServe.start(self._settings, self._run_dir, self._client.film_memory)
        end = asyncio.create_task(torchserve.wait())
        duty = asyncio.create_task(self._serve(torchserve))
        try:
            await asyncio.wait({end, duty}, return_when=asyncio.FIRST_COMPLETED)
            if duty.done():
                duty.result()
                return
            self._readiness.loading()  # at once: films in flight are answered now
            reason = f"TorchServe ended with exit status {end.result()}"
            if not self._readiness.last_success:
                raise StartError(f"{reason}. Its last lines:\n{torchserve.tail}")
            logger.warning("%s. Its last lines:\n%s", reason, torchserve.tail)
        finally:
            duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)  # whatever it raised, TorchServe must not stay behind
            await torchserve.stop()
            await end

    async def _serve(self, torchserve: TorchServe) -> None:
        """Waits until predictions succeed, then watches them; returns when they have not for too long."""
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._come_up()
        except TimeoutError:
            raise StartError(
                f"TorchServe made no prediction within START_TIMEOUT_S={self._settings.start_timeout_s:g}. "
                f"Its last lines:\n{torchserve.tail}"
            ) from None
        except ProxyError as exc:
            raise StartError(f"TorchServe is up, but {exc}. Its last lines:\n{torchserve.tail}") from exc
        self._readiness.succeeded()
        self.ready_once.set()
        await self._watch()

    async def _come_up(self) -> None:
        # The archive's own configuration starts one worker; the others are asked for as early as possible, so that
        # all load side by side.
        await self._until(self._ask_for_workers)
        await self._until(self._count_workers)
        await self._prober.check_all()

    async def _ask_for_workers(self) -> bool:
        self._client.read_tokens()
        await self._client.scale(self._settings.workers)
        return True

    async def _count_workers(self) -> bool:
        """Makes the gate as wide as the workers are many: who manages TorchServe changes their number, or they die."""
        workers = await self._client.ready_workers()
        self._readiness.gate.resize(workers)
        return workers > 0

    async def _until(self, step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            with suppress(ProxyError):  # not so far yet
                if await step():
                    return
            await asyncio.sleep(POLL_S)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._readiness.ready:
                # From the last prediction on, not from the last look: who asks later leaves a slow film's neighbours
                # less time to answer before it is taken for stalled.
                await asyncio.sleep(max(POLL_S, self._readiness.last_success + WATCH_S - loop.time()))
            else:
                await asyncio.sleep(RECOVERY_WATCH_S)
            if not self._readiness.ready or loop.time() - self._readiness.last_success >= WATCH_S:
                await self._prober.probe()
            with suppress(ProxyError):  # the probe tells what it means
                await self._count_workers()
            if not self._readiness.ready and loop.time() - self._readiness.since > RESTART_AFTER_S:
                logger.warning("no prediction for %.0f s", RESTART_AFTER_S)
                return
