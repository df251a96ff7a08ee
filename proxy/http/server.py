"""Uvicorn's server and the public socket."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from proxy.errors import SettingsError
from proxy.http.cut_off import CutOff
from proxy.http.protocol import HttpProtocol
from proxy.machine import most_connections
from proxy.settings import Settings

KEEP_ALIVE_S = 75
"""Longer than what clients keep an idle connection, so that they, not we, close it."""


class Server(uvicorn.Server):
    """Uvicorn's, which says when it listens, and does not handle signals: TorchServe must be stopped after it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(  # type: ignore[arg-type]  # called as the class would be
                    HttpProtocol, cut_off=CutOff(), most_connections=most_connections(settings.workers)
                ),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=settings.trusted_proxies is not None,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_keep_alive=KEEP_ALIVE_S,
                ssl_certfile=settings.tls_certfile,
                ssl_keyfile=settings.tls_keyfile,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
            )
        )
        self.settings = settings
        self.listening = asyncio.Event()
        self.forced = asyncio.Event()
        """Set when the end is urgent."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the signals to `proxy.__main__`."""
        return nullcontext()


def public_socket(settings: Settings) -> socket.socket:
    """Take the public port, without listening yet: until the service is ready, connections are refused.

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
