"""What requests with films have in common: the pieces of a body, a client that may leave, and answers to errors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.types import Receive, Send

from proxy.errors import RequestError, StoppingError, UpstreamError
from proxy.http.answer import send_error, send_whole

logger = logging.getLogger(__name__)

T = TypeVar("T")


class ClientLeftError(Exception):
    """The client has hung up: nobody reads a reply."""


def answer_to(exc: Exception) -> RequestError:
    """Return the answer to an error, and log what operators should know of it."""
    if not isinstance(exc, RequestError):
        # A fault of ours: the traceback goes to the log, not to the client.
        logger.error("a film could not be answered", exc_info=exc)
        return RequestError("the service failed")
    if isinstance(exc, UpstreamError):
        logger.error("%s", exc.message)  # where it was raised says nothing more
    return exc


@asynccontextmanager
async def errors_answered(send: Send) -> AsyncIterator[None]:
    """Answer what goes wrong inside, where nothing has been sent yet."""
    try:
        yield
    except ClientLeftError:
        await send_whole(send, HTTPStatus.BAD_REQUEST, b"")
    except asyncio.CancelledError:
        # The time of those in flight is over.
        await send_error(send, StoppingError())
    except Exception as exc:
        await send_error(send, answer_to(exc))


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Wait for work as long as the client does; what nobody waits for is cancelled."""
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(receive())  # after the body, there is nothing to receive but the disconnection
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def body_pieces(receive: Receive) -> AsyncIterator[bytes]:
    """Return the pieces of a request's body."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        yield message.get("body", b"")
        more = message.get("more_body", False)
