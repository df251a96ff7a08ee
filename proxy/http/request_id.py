"""A request id on every answer and log line, and security header fields, as plain ASGI in the path of every film."""

import logging
import re
import secrets
from contextvars import ContextVar
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = b"x-request-id"

SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""Of every answer that does not say otherwise: no result is kept by a cache, guessed to be a page, or framed by one."""

SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
"""Ids worth echoing: nothing that could break a log line or a header."""

_current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestId:
    """Echoes the client's X-Request-ID, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with an answer that carries the id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = next((value for name, value in scope["headers"] if name == HEADER), b"")
        if not SANE.fullmatch(request_id):
            request_id = secrets.token_hex(8).encode()
        _current.set(request_id.decode())  # uvicorn runs each request in a context of its own

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                security = (field for field in SECURITY if field[0] not in own)
                message["headers"] = [*message["headers"], *security, (HEADER, request_id)]
            await send(message)

        await self._app(scope, receive, send_with_id)


def current_request_id() -> str:
    """Return the id of the request that is being answered, "-" outside of requests."""
    return _current.get()


def add_request_id(record: logging.LogRecord) -> bool:
    """Give a log record the attribute `request_id`, "-" outside of requests; a filter for log handlers."""
    record.request_id = current_request_id()
    return True
