"""Serves: starts TorchServe, waits for a right prediction, then opens the public port.

    python -m proxy

All settings are environment variables, see `proxy/settings.py`. Ends with 0 after Ctrl-C or SIGTERM, 2 for a bad
setting, 1 where TorchServe does not come up.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from proxy import rundir
from proxy.app import create_app
from proxy.client import TorchServeClient
from proxy.errors import SettingsError, StartError
from proxy.gate import BATCH_FILMS, Gate
from proxy.memory import FilmMemory
from proxy.protocol import HttpProtocol
from proxy.readiness import Prober, Readiness
from proxy.reference import ReferenceFilm, largest_film, load_reference_films
from proxy.rundir import RunDir
from proxy.settings import Settings
from proxy.supervisor import Supervisor
from proxy.torchserve import LIBC, check_archive

logger = logging.getLogger("proxy")

PROBE_TIMEOUT_S = 1.5
"""A health check is to be answered within two seconds, whatever the state."""

KEPT_BYTES = 2**25
"""Memory that is kept for the next film; as much as glibc lets be."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From <malloc.h>."""

KEEP_ALIVE_S = 75
"""Longer than what clients keep an idle connection, so that they, not we, close it."""


class Server(uvicorn.Server):
    """Uvicorn that tells when it listens, and leaves the signals alone: TorchServe must be stopped after it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leaves the signals to `serve`."""
        return nullcontext()


def main() -> int:
    """Runs the command; returns its exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _keep_memory()
    try:
        settings = Settings.from_environ(os.environ)
        check_archive(settings)
        films = load_reference_films(settings.reference)
        with rundir.claim(settings.run_dir) as run_dir, _public_socket(settings) as public:
            _check_free(settings)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(settings, run_dir, films, public))
    except SettingsError as exc:
        return _fail(exc, 2)
    except StartError as exc:
        return _fail(exc, 1)
    return 0


async def serve(settings: Settings, run_dir: RunDir, films: list[ReferenceFilm], public: socket.socket) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP, then finishes what is in flight and stops TorchServe.

    Raises:
        SettingsError: Something to start from is missing.
        StartError: TorchServe did not come up.
    """
    memory = FilmMemory(settings.max_held_bytes)
    async with TorchServeClient(settings, run_dir, memory.path) as client:
        gate = Gate(
            client.screen,
            workers=settings.workers,
            batch_films=BATCH_FILMS if memory.path else 1,
            queue_limit=settings.queue_limit,
            stall_s=settings.predict_timeout_s,
        )
        readiness = Readiness(gate, asyncio.get_running_loop().time)
        probe_timeout_s = min(PROBE_TIMEOUT_S, settings.predict_timeout_s)
        prober = Prober(client, films, readiness, memory=memory, timeout_s=probe_timeout_s)
        supervisor = Supervisor(settings, run_dir, client, readiness, prober)
        server = _server(settings, create_app(settings, gate=gate, memory=memory, readiness=readiness, prober=prober))
        stop = _on_signals(server, supervisor)
        gc.collect()
        gc.freeze()
        keeper = asyncio.create_task(supervisor.run())
        sweeper = asyncio.create_task(gate.watch())
        try:
            await _first(keeper, supervisor.ready_once.wait(), stop.wait())
            if not stop.is_set():
                await _open(settings, server, public, keeper, stop)
        finally:
            sweeper.cancel()
            keeper.cancel()
            await asyncio.gather(keeper, sweeper, return_exceptions=True)


async def _open(
    settings: Settings, server: Server, public: socket.socket, keeper: asyncio.Task[None], stop: asyncio.Event
) -> None:
    """Serves the public port until told to stop."""
    # What was made so far lives on: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    serving = asyncio.create_task(server.serve(sockets=[public]))
    try:
        await _first(serving, server.listening.wait())
        _greet(settings)
        await _first(keeper, serving, stop.wait())
    finally:
        server.should_exit = True
        await serving


async def _first(*awaitables: asyncio.Task[None] | Coroutine[Any, Any, object]) -> None:
    """Waits for the first to end, and raises what it raised."""
    tasks = [item if isinstance(item, asyncio.Task) else asyncio.create_task(item) for item in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        if task not in awaitables:
            task.cancel()
    for task in done:
        task.result()


def _server(settings: Settings, app: ASGIApp) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks for the client's address
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        )
    )


def _on_signals(server: Server, supervisor: Supervisor) -> asyncio.Event:
    """The first signal asks for an orderly end, any further one for a quick end, still leaving nothing behind."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            server.force_exit = True
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # started by nohup: meant to outlive its terminal
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _keep_memory() -> None:
    """Has glibc keep what a film took for the next film.

    Left to itself it mostly gives the read buffers, each of a film's size, back to the system and asks for them anew,
    page by page: a third of the proxy's time.
    """
    if LIBC is not None and hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        LIBC.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _public_socket(settings: Settings) -> socket.socket:
    """Takes the public port, without listening yet: until the service is ready, connections are refused.

    Raises:
        SettingsError: HOST is no address of this machine, or PORT is taken.
    """
    public = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        public = socket.socket(family, kind)
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        public.bind(address)
    except OSError as exc:
        if public is not None:
            public.close()
        raise SettingsError(f"HOST={settings.host!r}, PORT={settings.port} cannot be used: {exc.strerror}") from exc
    return public


def _check_free(settings: Settings) -> None:
    """Finds a taken port before TorchServe stumbles over it with a page of Java.

    Raises:
        SettingsError: Names the variable.
    """
    for name, port in settings.torchserve_ports.items():
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError as exc:
                raise SettingsError(f"{name}={port} cannot be used: {exc.strerror}") from exc


def _greet(settings: Settings) -> None:
    host = "localhost" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  (compared, not bound)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    film = largest_film(settings.reference)
    sys.stdout.write(f"Ready: {url}  (documentation: {url}/docs)\n")
    if film is not None:
        shown = os.path.relpath(film)
        sys.stdout.write(f"Try:   curl -F file=@{shown} {url}/predict\n")
    sys.stdout.flush()


def _fail(exc: Exception, status: int) -> int:
    sys.stderr.write(f"error: {exc}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
