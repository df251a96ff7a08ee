"""Serve: start TorchServe, wait for right predictions, then open the public port.

    python -m proxy

All settings are environment variables, see `proxy/settings.py`. Ends with 0 after Ctrl-C or SIGTERM, 2 for a bad
setting, 1 where TorchServe does not come up.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from starlette.types import ASGIApp

from proxy.availability.archive import Archive
from proxy.availability.release import Releases
from proxy.control import Control
from proxy.errors import SettingsError, StartError
from proxy.files import allow_open_files
from proxy.http.app import create_app
from proxy.http.metrics import access_log
from proxy.http.request_id import add_request_id
from proxy.http.server import Server, public_socket
from proxy.http.tracing import tracing
from proxy.machine import most_connections, require_memory
from proxy.settings import ROOT, Settings
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.run_dir import claim

logger = logging.getLogger("proxy")


def main() -> int:
    """Run the command; return its exit status."""
    handler = logging.StreamHandler()
    handler.addFilter(add_request_id)
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(request_id)s %(message)s", level=logging.INFO, handlers=[handler]
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    allow_open_files()
    access_log.addHandler(logging.StreamHandler(sys.stdout))  # whole lines of JSON
    access_log.propagate = False
    try:
        settings = Settings.from_environ(os.environ)
        most_connections(settings.workers)
        archive = Archive.read(settings.archive)
        with claim(settings.run_dir), public_socket(settings) as public:
            _check_free(settings)
            require_memory(settings.workers)
            with tracing() as traced, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(settings, archive, public, traced))
    except SettingsError as exc:
        return _fail(exc, 2)
    except StartError as exc:
        return _fail(exc, 1)
    return 0


async def serve(
    settings: Settings, archive: Archive, public: socket.socket, traced: Callable[[ASGIApp], ASGIApp]
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish what is in flight and stop TorchServe.

    Raises:
        SettingsError: Something to start from is missing.
        StartError: TorchServe did not come up.
    """
    buffer = FilmBuffer(settings.max_held_bytes)
    releases = Releases(settings, buffer)
    control = Control(releases)
    first = await releases.begin(archive)
    server = Server(traced(create_app(settings, releases=releases, buffer=buffer)), settings)
    stop = _on_signals(server, releases)
    running = asyncio.create_task(releases.run())
    watching = asyncio.create_task(releases.watch_disk())
    listening = await control.listen(settings.run_dir)
    try:
        await _first(running, first.supervisor.ready_once.wait(), stop.wait())
        if not stop.is_set():
            await _open(server, public, running, stop, releases)
    finally:
        listening.close()
        watching.cancel()
        running.cancel()
        await control.close()
        await releases.stop()


async def _open(
    server: Server, public: socket.socket, running: asyncio.Task[None], stop: asyncio.Event, releases: Releases
) -> None:
    """Serve the public port until `stop`."""
    serving = asyncio.create_task(server.serve(sockets=[public]))
    try:
        await _first(serving, server.listening.wait())
        _greet(server.settings)
        await _first(running, serving, stop.wait())
        if stop.is_set():
            releases.stopping = True
            await _first(running, asyncio.sleep(server.settings.lame_duck_s), server.forced.wait())
    finally:
        server.should_exit = True
        await serving


async def _first(*awaitables: asyncio.Task[None] | Coroutine[Any, Any, object]) -> None:
    """Wait for the first to end, and raise what it raised."""
    tasks = [item if isinstance(item, asyncio.Task) else asyncio.create_task(item) for item in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        if task not in awaitables:
            task.cancel()
    for task in done:
        task.result()


def _on_signals(server: Server, releases: Releases) -> asyncio.Event:
    """Have the first signal ask for an orderly end, any further one for a quick end; neither leaves anything behind."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            server.force_exit = True
            server.forced.set()
            releases.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # started by nohup: meant to outlive its terminal
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _check_free(settings: Settings) -> None:
    """Find a taken port before TorchServe stumbles over it with a page of Java.

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
    scheme = "https" if settings.tls_certfile else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
    if settings.keys_file is None and settings.host not in {"127.0.0.1", "localhost", "::1"}:
        logger.warning("HOST=%s without KEYS_FILE: whoever reaches the port can have films screened", settings.host)
    films = sorted((ROOT / "reference").glob("*.jpeg"), key=lambda film: film.stat().st_size)
    sys.stdout.write(f"Ready: {url}  (documentation: {url}/docs)\n")
    if films:  # the largest: real films are large
        shown = os.path.relpath(films[-1])
        sys.stdout.write(f"Try:   curl -F file=@{shown} {url}/predict\n")
    sys.stdout.flush()


def _fail(exc: Exception, status: int) -> int:
    sys.stderr.write(f"error: {exc}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
