"""The control socket: how `python -m proxy.manage` reaches a running service.

A Unix socket in RUN_DIR, which only its owner can open. A request is one line of JSON, `{"command": NAME, ...}`; the
answer is a line of JSON for each step, `{"step": TEXT}`, and at last `{"result": ...}` or `{"error": TEXT}`. A command
goes on when whoever asked for it leaves.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxy.availability.release import Release, Releases
from proxy.errors import ManagementError, ProxyError
from proxy.settings import MAX_WORKERS

logger = logging.getLogger(__name__)

SOCKET = "control.sock"
SCALE_TIMEOUT_S = 120.0
POLL_S = 0.2

Command = Callable[["Control", dict[str, Any], Callable[[str], None]], Awaitable[Any]]


class Control:
    """Runs commands on the releases."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, run_dir: Path) -> asyncio.Server:
        """Listen on the socket."""
        return await asyncio.start_unix_server(self._connected, run_dir / SOCKET)

    async def close(self) -> None:
        """Cancel the commands that are under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def say(**line: Any) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(line).encode() + b"\n")

        def report(text: str) -> None:
            logger.info("%s", text)
            say(step=text)

        try:
            request = json.loads(await reader.readline())
            say(result=await COMMANDS[request["command"]](self, request, report))
        except (ProxyError, OSError) as exc:
            say(error=str(exc))
        except (ValueError, KeyError, TypeError) as exc:
            say(error=f"not understood: {exc!r}")
        finally:
            with suppress(OSError):
                await writer.drain()
            writer.close()

    async def status(self, _request: dict[str, Any], _report: Callable[[str], None]) -> Any:
        """Return the state of each release."""
        releases = self._releases
        status = {"current": _describe(releases.current)}
        if releases.candidate is not None:
            status["candidate"] = {**_describe(releases.candidate), "share": releases.share}
        if releases.shadow is not None:
            status["shadow"] = {"share": releases.shadow.share, **releases.shadow.comparison.describe()}
        return status

    async def shadow(self, _request: dict[str, Any], _report: Callable[[str], None]) -> Any:
        """Return how the candidate's results differ from those that clients got."""
        if self._releases.shadow is None:
            raise ManagementError("no candidate screens films in the shadow")
        return self._releases.shadow.comparison.describe()

    async def versions(self, _request: dict[str, Any], _report: Callable[[str], None]) -> Any:
        """Return which version is in service, is a candidate, and was in service before."""
        releases = self._releases
        return {
            "current": releases.current.archive.name,
            "candidate": releases.candidate.archive.name if releases.candidate else None,
            "previous": str(releases.previous) if releases.previous.exists() else None,
        }

    async def models(self, _request: dict[str, Any], _report: Callable[[str], None]) -> Any:
        """Return TorchServe's description of the model."""
        return await self._releases.current.client.management.describe()

    async def scale(self, request: dict[str, Any], report: Callable[[str], None]) -> Any:
        """Change the number of workers of every release; return when so many are ready."""
        workers = int(request["workers"])
        if not 1 <= workers <= MAX_WORKERS:
            raise ManagementError(f"{workers} is not a whole number from 1 to {MAX_WORKERS}")
        async with self._releases.exclusive():
            releases = [one for one in (self._releases.current, self._releases.candidate) if one is not None]
            for release in releases:
                await release.client.management.scale(workers)
                await _scaled(release, workers)
                report(f"{release.archive.name} has {workers} workers")
            return await releases[0].client.management.describe()

    async def deploy(self, request: dict[str, Any], report: Callable[[str], None]) -> Any:
        """Bring up an archive; by a share of 1 it takes over."""
        share = float(request.get("share", 1.0))
        if not 0 <= share <= 1:
            raise ManagementError(f"{share} is not a share from 0 to 1")
        shadow = float(request.get("shadow", 0.0))
        if not 0 <= shadow <= 1:
            raise ManagementError(f"{shadow} is not a share from 0 to 1")
        await self._releases.deploy(Path(request["archive"]), share, report, shadow=shadow)
        return await self.versions(request, report)

    async def promote(self, request: dict[str, Any], report: Callable[[str], None]) -> Any:
        """Put the candidate in service."""
        await self._releases.promote(report)
        return await self.versions(request, report)

    async def abandon(self, request: dict[str, Any], report: Callable[[str], None]) -> Any:
        """End the candidate."""
        await self._releases.abandon(report)
        return await self.versions(request, report)

    async def rollback(self, request: dict[str, Any], report: Callable[[str], None]) -> Any:
        """Go back to the version before."""
        await self._releases.rollback(report)
        return await self.versions(request, report)


COMMANDS: dict[str, Command] = {
    "status": Control.status,
    "shadow": Control.shadow,
    "versions": Control.versions,
    "models": Control.models,
    "scale": Control.scale,
    "deploy": Control.deploy,
    "promote": Control.promote,
    "abandon": Control.abandon,
    "rollback": Control.rollback,
}


def _describe(release: Release) -> dict[str, Any]:
    return {
        "version": release.archive.version,
        "archive_sha256": release.archive.sha256,
        "state": str(release.readiness.state),
        "reason": release.readiness.reason,
        "workers": release.admission.workers,
        "films_waiting": release.admission.waiting,
        "films_in_torchserve": release.admission.in_torchserve,
        "ports": release.settings.torchserve_ports,
    }


async def _scaled(release: Release, workers: int) -> None:
    """Wait until so many workers are ready.

    Raises:
        ManagementError: They do not come up in time.
    """
    states: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(SCALE_TIMEOUT_S):
            while (states := await release.client.management.worker_states()) != ["READY"] * workers:
                await asyncio.sleep(POLL_S)
            return
    raise ManagementError(f"after {SCALE_TIMEOUT_S:g} s the workers are still {states}")
