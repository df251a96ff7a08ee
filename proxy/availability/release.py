"""Releases: versions of the model, each in a TorchServe of its own.

One is in service. A further one is brought up beside it, checked, given a share of the films, and takes over, or goes
again. TorchServe's own registering of a version beside another one strands films when the old one is removed.
"""

import asyncio
import hashlib
import logging
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from proxy.availability.admission import PATIENCE, Admission
from proxy.availability.archive import Archive
from proxy.availability.pace import paced
from proxy.availability.prober import Prober
from proxy.availability.readiness import Readiness
from proxy.availability.shadow import Shadow
from proxy.availability.supervisor import Supervisor
from proxy.errors import DeployError, ProxyError, StartError
from proxy.files import file_version
from proxy.machine import require_disk
from proxy.settings import MODEL_NAME, Settings
from proxy.torchserve.client import Reply, TorchServeClient
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm
from proxy.torchserve.process import free_ports
from proxy.torchserve.run_dir import CURRENT, RunDir
from proxy.torchserve.transport import transport_for

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 1.5
"""A health check is to be answered within two seconds, whatever the state."""

IDLE_POLL_S = 0.05
EXCHANGE_POLL_S = 5.0
"""How often the archive on disk is compared with the one in service."""

PUT_HERE = f".{MODEL_NAME}.put-here"
"""A file beside the archive, newer than it where the service put it there: make must not take that, being new, for what
it would make of the sources."""

Report = Callable[[str], None]
"""Takes a line about the progress of a command."""


class Release:
    """One version, what talks to its TorchServe, and what watches over it."""

    def __init__(self, archive: Archive, settings: Settings, buffer: FilmBuffer, *, beside: bool = False) -> None:
        self.archive = archive
        self.settings = settings
        self._buffer = buffer
        self.client = TorchServeClient(settings, transport_for(buffer))
        self.admission = Admission(
            self.client.inference,
            workers=settings.workers,
            queue_limit=settings.queue_limit,
            stall_s=settings.predict_timeout_s,
        )
        self.readiness = Readiness(self.admission, asyncio.get_running_loop().time)
        self.prober = Prober(
            self.client,
            archive.films,
            readiness=self.readiness,
            buffer=buffer,
            timeout_s=min(PROBE_TIMEOUT_S, settings.predict_timeout_s),
        )
        self.run_dir = RunDir(settings.run_dir)
        self.supervisor = Supervisor(settings, self.run_dir, self.client, self.prober, beside=beside)
        self.keeper: asyncio.Task[None]
        """Runs as long as the release does; raises what ended it."""
        self._sweeper: asyncio.Task[None]

    async def start(self) -> None:
        """Start its TorchServe, without waiting for it."""
        await self.client.__aenter__()
        self.keeper = asyncio.create_task(self.supervisor.run())
        self._sweeper = asyncio.create_task(self.admission.watch())

    async def ready(self) -> None:
        """Wait until it has screened every reference film as expected.

        Raises:
            ProxyError: It cannot; the message says why in one line.
        """
        waiter = asyncio.create_task(self.supervisor.ready_once.wait())
        try:
            await asyncio.wait({waiter, self.keeper}, return_when=asyncio.FIRST_COMPLETED)
            if self.keeper.done():
                self.keeper.result()
        finally:
            waiter.cancel()

    async def idle(self) -> None:
        """Wait until no film is in it, or those that are have had their time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE * self.settings.predict_timeout_s):
                await asyncio.sleep(IDLE_POLL_S)  # a film that has just been given to it is not in it yet
                while self.admission.waiting or self.admission.in_torchserve:
                    await asyncio.sleep(IDLE_POLL_S)

    async def stop(self) -> None:
        """Stop its TorchServe; films in it are answered 503."""
        self.readiness.admission.close("the release is being stopped")
        self.keeper.cancel()
        self._sweeper.cancel()
        await asyncio.gather(self.keeper, self._sweeper, return_exceptions=True)
        await self.client.__aexit__()
        self.prober.release_films()
        shutil.rmtree(self.settings.model_store, ignore_errors=True)
        shutil.rmtree(self.run_dir.path, ignore_errors=True)


class Releases:
    """The release in service, and perhaps a candidate for it."""

    def __init__(self, settings: Settings, buffer: FilmBuffer) -> None:
        self._settings = settings
        self._buffer = buffer
        self._number = 0
        self._command = asyncio.Lock()
        self.current: Release
        self.candidate: Release | None = None
        self.share = 0.0
        """Of the films that the candidate screens, 0 to 1."""
        self.shadow: Shadow | None = None
        """What compares the candidate's results with those of the release in service, where that was asked for."""
        self._ending: set[Release] = set()
        """Out of service, and not stopped yet."""
        self.stopping = False
        """Whether the service is about to end: films are still screened, and /health sends no new clients."""

    def choose(self) -> Release:
        """Return the release that screens the next film."""
        candidate = self.candidate
        if candidate is None or random.random() >= self.share:  # noqa: S311
            return self.current
        return candidate if candidate.readiness.ready and not candidate.keeper.done() else self.current

    def screened(self, release: Release, film: HeldFilm, reply: Reply) -> None:
        """Note that a release gave a film's result: predictions succeed, and a shadow may have the film as well."""
        release.readiness.screened()
        if self.shadow is not None and release is self.current:
            self.shadow.offer(film, reply)

    async def begin(self, archive: Archive) -> Release:
        """Start the first release, without waiting for it."""
        self.current = await self._release(archive, self._settings)
        await self.current.start()
        self._point_at(self.current)
        return self.current

    async def run(self) -> None:
        """Run until the release in service ends by itself, and raise why."""
        while True:
            release = self.current
            await asyncio.wait({release.keeper})
            if release is self.current:
                release.keeper.result()
                return

    async def deploy(self, path: Path, share: float, report: Report, *, shadow: float = 0.0) -> None:
        """Bring up a version beside the one in service; with a share of 1 it takes over as soon as it is ready.

        Of the films that it does not screen for clients, it screens a share of `shadow` to be compared.

        Raises:
            ProxyError: The archive is none, or the version does not come up, or answers reference films wrongly: the
                one in service stays.
        """
        async with self.exclusive():
            if not self.current.supervisor.ready_once.is_set():
                raise DeployError(f"{self.current.archive.name} is still starting")
            if self.candidate is not None:
                raise DeployError(f"{self.candidate.archive.name} is a candidate already: promote or abandon it")
            archive = await asyncio.to_thread(Archive.read, path)
            candidate = await self._release(archive, self._beside(), beside=True)
            report(f"starting {archive.name} beside {self.current.archive.name}")
            if archive.sha256 == self.current.archive.sha256:
                report("they are the same archive")
            self.candidate, self.share = candidate, 0.0
            await candidate.start()
            try:
                async with paced(candidate.supervisor, self.current.admission):
                    await candidate.ready()
                report(f"{archive.name} screens the reference films as expected")
                if share >= 1:
                    await self._promote(report)
            except BaseException as exc:
                if self.candidate is candidate:  # else it is in service already
                    self.candidate = None
                    await candidate.stop()
                if isinstance(exc, ProxyError) and not isinstance(exc, DeployError):
                    stays = f"{self.current.archive.name} stays"
                    raise DeployError(f"{archive.name} does not serve, {stays}: {str(exc).splitlines()[0]}") from exc
                raise
            if share < 1:
                self.share = share
                beside = f" and {shadow:.0%} of the others in the shadow" if shadow else ""
                if shadow:
                    self.shadow = Shadow(
                        live=self.current.admission, candidate=candidate.readiness, buffer=self._buffer, share=shadow
                    )
                report(f"{archive.name} screens {share:.0%} of the films{beside}: promote or abandon it")

    async def promote(self, report: Report) -> None:
        """Put the candidate in service.

        Raises:
            DeployError: There is none, it is not ready, or the archive cannot be kept for the next start.
        """
        async with self.exclusive():
            await self._promote(report)

    async def abandon(self, report: Report) -> None:
        """End the candidate.

        Raises:
            DeployError: There is none.
        """
        async with self.exclusive():
            if self.candidate is None:
                raise DeployError("there is no candidate")
            candidate = self.candidate
            self._decided(report)
            await self._end(candidate, report)

    async def rollback(self, report: Report) -> None:
        """Abandon the candidate, or else put the version that was in service before in service again.

        Raises:
            ProxyError: There is neither.
        """
        if self.candidate is not None:
            await self.abandon(report)
        elif not self.previous.exists():
            raise DeployError("there is no earlier version to go back to")
        else:
            await self.deploy(self.previous, 1.0, report)

    @property
    def previous(self) -> Path:
        """The archive that was in service before the current one."""
        return self._settings.model_store / f"{MODEL_NAME}.previous.mar"

    async def watch_disk(self) -> None:
        """Log when the archive on disk is exchanged, which by itself changes nothing."""
        seen = self.current.archive.sha256
        version = None
        while True:
            await asyncio.sleep(EXCHANGE_POLL_S)
            if version == (version := file_version(self._settings.archive)):
                continue
            with suppress(ProxyError):
                on_disk = await asyncio.to_thread(Archive.read, self._settings.archive)
                if on_disk.sha256 not in {seen, self.current.archive.sha256}:
                    logger.warning(
                        "%s was exchanged for %s; %s stays in service until `make deploy`",
                        self._settings.archive,
                        on_disk.name,
                        self.current.archive.name,
                    )
                seen = on_disk.sha256

    async def stop(self) -> None:
        """Stop all."""
        for release in self._all():
            await release.stop()

    def kill(self) -> None:
        """Kill every TorchServe now: the end is urgent, and nothing must stay behind."""
        for release in self._all():
            release.supervisor.kill()

    def _all(self) -> list[Release]:
        return [self.current, *([self.candidate] if self.candidate else []), *self._ending]

    async def _promote(self, report: Report) -> None:
        candidate, old = self.candidate, self.current
        if candidate is None:
            raise DeployError("there is no candidate")
        if not candidate.readiness.ready:
            raise DeployError(f"{candidate.archive.name} is not ready: {candidate.readiness.reason}")
        await asyncio.to_thread(self._keep, candidate.archive, old.archive)
        self._decided(report)
        self.current = candidate
        self._point_at(candidate)
        report(f"{candidate.archive.name} is in service")
        await self._end(old, report)

    def _decided(self, report: Report) -> None:
        """Note that there is no candidate any more."""
        if self.shadow is not None:
            report(str(self.shadow.comparison))
        self.candidate, self.share, self.shadow = None, 0.0, None

    async def _end(self, release: Release, report: Report) -> None:
        self._ending.add(release)
        await release.idle()
        await release.stop()
        self._ending.discard(release)
        report(f"{release.archive.name} is ended")

    def _keep(self, new: Archive, old: Archive) -> None:
        """Have the next start serve the new version, and a rollback find the old one.

        Each file is replaced whole, the old version's first: a kill in between leaves a version that serves. One that
        is there already is left as it is, and the time of its making with it.
        """
        kept = {self.previous: old, self._settings.archive: new}
        copies = {path.with_name(f".{path.name}"): path for path, archive in kept.items() if not _holds(path, archive)}
        try:
            for copy, path in copies.items():
                shutil.copyfile(kept[path].path, copy)
            for copy, path in copies.items():
                copy.replace(path)
            if self._settings.archive in copies.values():
                (self._settings.model_store / PUT_HERE).touch()
        except OSError as exc:
            for copy in copies:
                copy.unlink(missing_ok=True)
            raise DeployError(f"MODEL_STORE cannot be written, the next start would not serve it: {exc}") from exc

    async def _release(self, archive: Archive, settings: Settings, *, beside: bool = False) -> Release:
        """Return a release with a copy of its archive: what happens to the file on disk does not reach it."""
        self._number += 1
        store = settings.run_dir / "archives" / str(self._number)
        served = await asyncio.to_thread(_copied, archive, store, settings.run_dir)  # films are screened meanwhile
        own = settings.model_copy(update={"model_store": store, "run_dir": settings.run_dir / str(self._number)})
        return Release(served, own, self._buffer, beside=beside)

    def _beside(self) -> Settings:
        """Return settings with the configured ports for TorchServe, or, while those are taken, with free ones."""
        names = [name.lower() for name in self._settings.torchserve_ports]
        if self.current.settings.torchserve_ports != self._settings.torchserve_ports:
            return self._settings
        return self._settings.model_copy(update=dict(zip(names, free_ports(len(names)), strict=True)))

    def _point_at(self, release: Release) -> None:
        """Have RUN_DIR/current name the folder of the release in service, for those who want its tokens."""
        link = self._settings.run_dir / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(release.run_dir.path.name)
        link.replace(self._settings.run_dir / CURRENT)

    def exclusive(self) -> asyncio.Lock:
        """Return the lock of commands that change releases.

        Raises:
            DeployError: Another one is under way.
        """
        if self._command.locked():
            raise DeployError("another command is under way")
        return self._command


def _copied(archive: Archive, store: Path, run_dir: Path) -> Archive:
    """Copy an archive to a new folder in RUN_DIR, and read the copy.

    Raises:
        StartError: There is no room for it, or it cannot be copied.
    """
    copy = store / f"{MODEL_NAME}.mar"
    try:
        store.mkdir(mode=0o700, parents=True)
        require_disk(run_dir, archive.run_bytes)
        shutil.copyfile(archive.path, copy)
        return Archive.read(copy)
    except (OSError, ProxyError) as exc:
        shutil.rmtree(store, ignore_errors=True)
        if isinstance(exc, StartError):
            raise
        raise StartError(f"{archive.path} cannot be copied to RUN_DIR: {exc}") from exc


def _holds(path: Path, archive: Archive) -> bool:
    """Return whether a file is the archive."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == archive.sha256
    except OSError:
        return False
