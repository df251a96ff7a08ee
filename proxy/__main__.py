"""Serve: start TorchServe, wait for right predictions, then open the public port.

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
from typing import Any

import uvloop

from proxy.availability.admission import Admission
from proxy.availability.prober import Prober
from proxy.availability.readiness import Readiness
from proxy.availability.reference import ReferenceFilm, largest_film, load_reference_films
from proxy.availability.supervisor import Supervisor
from proxy.errors import SettingsError, StartError
from proxy.http.app import create_app
from proxy.http.metrics import access_log
from proxy.http.request_id import add_request_id
from proxy.http.server import Server, public_socket
from proxy.settings import Settings
from proxy.torchserve.client import TorchServeClient
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.process import LIBC, check_archive
from proxy.torchserve.run_dir import RunDir, claim
from proxy.torchserve.transport import transport_for

logger = logging.getLogger("proxy")

PROBE_TIMEOUT_S = 1.5
"""A health check is to be answered within two seconds, whatever the state."""

KEPT_BYTES = 2**25
"""Memory that is kept for the next film; as much as glibc lets be."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From <malloc.h>."""


def main() -> int:
    """Run the command; return its exit status."""
    handler = logging.StreamHandler()
    handler.addFilter(add_request_id)
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(request_id)s %(message)s", level=logging.INFO, handlers=[handler]
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    access_log.addHandler(logging.StreamHandler(sys.stdout))  # whole lines of JSON
    access_log.propagate = False
    _keep_memory()
    try:
        settings = Settings.from_environ(os.environ)
        check_archive(settings)
        films = load_reference_films(settings.reference)
        with claim(settings.run_dir) as run_dir, public_socket(settings) as public:
            _check_free(settings)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(settings, run_dir, films, public))
    except SettingsError as exc:
        return _fail(exc, 2)
    except StartError as exc:
        return _fail(exc, 1)
    return 0


async def serve(settings: Settings, run_dir: RunDir, films: list[ReferenceFilm], public: socket.socket) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish what is in flight and stop TorchServe.

    Raises:
        SettingsError: Something to start from is missing.
        StartError: TorchServe did not come up.
    """
    buffer = FilmBuffer(settings.max_held_bytes)
    async with TorchServeClient(settings, transport_for(buffer)) as client:
        admission = Admission(
            client.inference,
            workers=settings.workers,
            queue_limit=settings.queue_limit,
            stall_s=settings.predict_timeout_s,
        )
        readiness = Readiness(admission, asyncio.get_running_loop().time)
        timeout_s = min(PROBE_TIMEOUT_S, settings.predict_timeout_s)
        prober = Prober(client, films, readiness=readiness, buffer=buffer, timeout_s=timeout_s)
        supervisor = Supervisor(settings, run_dir, client, prober)
        app = create_app(settings, client=client, buffer=buffer, prober=prober)
        server = Server(app, settings)
        stop = _on_signals(server, supervisor)
        gc.collect()
        gc.freeze()
        keeper = asyncio.create_task(supervisor.run())
        sweeper = asyncio.create_task(admission.watch())
        try:
            await _first(keeper, supervisor.ready_once.wait(), stop.wait())
            if not stop.is_set():
                await _open(server, public, keeper, stop, readiness)
        finally:
            sweeper.cancel()
            keeper.cancel()
            await asyncio.gather(keeper, sweeper, return_exceptions=True)


async def _open(
    server: Server, public: socket.socket, keeper: asyncio.Task[None], stop: asyncio.Event, readiness: Readiness
) -> None:
    """Serve the public port until `stop`."""
    # What was made so far lives on: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    serving = asyncio.create_task(server.serve(sockets=[public]))
    try:
        await _first(serving, server.listening.wait())
        _greet(server.settings)
        await _first(keeper, serving, stop.wait())
        if stop.is_set():
            readiness.stopping = True
            await _first(keeper, asyncio.sleep(server.settings.lame_duck_s), server.forced.wait())
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


def _on_signals(server: Server, supervisor: Supervisor) -> asyncio.Event:
    """Have the first signal ask for an orderly end, any further one for a quick end; neither leaves anything behind."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            server.force_exit = True
            server.forced.set()
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # started by nohup: meant to outlive its terminal
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _keep_memory() -> None:
    """Have glibc keep what a film took for the next film.

    Left to itself it mostly gives the read buffers, each of a film's size, back to the system and asks for them anew,
    page by page: a third of the proxy's time.
    """
    if LIBC is not None and hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        LIBC.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


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
