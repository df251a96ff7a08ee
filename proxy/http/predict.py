"""`POST /predict` as plain ASGI: it stands in the path of every film."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send

from proxy.availability.release import Releases
from proxy.errors import RequestError, SlowUploadError, StoppingError, UpstreamError
from proxy.http.answer import send_error, send_json
from proxy.http.form import declared_size, read_film
from proxy.settings import Settings
from proxy.torchserve.client import Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm

logger = logging.getLogger(__name__)

VERSION_HEADER = "X-Model-Version"
"""On each result: the version of the model that gave it."""


class _ClientLeftError(Exception):
    """The client has hung up: nobody reads a reply."""


class Predict:
    """Takes a film out of its form, has it screened, and passes the answer on as it came."""

    def __init__(self, settings: Settings, *, releases: Releases, buffer: FilmBuffer) -> None:
        self._settings = settings
        self._releases = releases
        self._buffer = buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply, version = await self._screen(scope, receive)
        except RequestError as exc:
            if isinstance(exc, UpstreamError):
                logger.error("%s", exc.message)  # noqa: TRY400  (where it was raised says nothing more)
            await send_error(send, exc)
        except _ClientLeftError:
            await send_json(send, HTTPStatus.BAD_REQUEST, b"")
        except asyncio.CancelledError:
            # The time of those in flight is over.
            await send_error(send, StoppingError())
        except Exception:
            # A fault of ours: the traceback goes to the log, not to the client.
            logger.exception("a film could not be answered")
            await send_error(send, RequestError("the service failed"))
        else:
            await send_json(send, reply.status, reply.body, {VERSION_HEADER: version})

    async def _screen(self, scope: Scope, receive: Receive) -> tuple[Reply, str]:
        """Return the reply to the film, and the version of the model that gave it."""
        self._releases.current.readiness.require()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        size = declared_size(headers, self._settings.max_film_bytes)
        self._releases.current.admission.require_room()
        with self._buffer.place(size) as film:
            await self._read(headers, receive, film)
            release = self._releases.choose()  # now, not before the film came: a release may end meanwhile
            reply = await _while_connected(release.admission.screen(film), receive)
            if reply.status == HTTPStatus.OK:
                release.readiness.screened()
                if self._releases.shadow is not None and release is self._releases.current:
                    self._releases.shadow.offer(film, reply)
        return reply, release.archive.version

    async def _read(self, headers: dict[str, str], receive: Receive, film: HeldFilm) -> None:
        timeout_s = self._settings.upload_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await read_film(headers, _body(receive), film, self._settings.max_film_bytes)
        except TimeoutError as exc:
            raise SlowUploadError(f"the film did not arrive within {timeout_s:g} s") from exc


async def _while_connected(work: Coroutine[Any, Any, Reply], receive: Receive) -> Reply:
    """Wait for a reply as long as the client does; a film that nobody waits for is not screened."""
    screening = asyncio.create_task(work)
    leaving = asyncio.ensure_future(receive())  # after the body, there is nothing to receive but the disconnection
    try:
        await asyncio.wait({screening, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not screening.done():
            raise _ClientLeftError
        return screening.result()
    finally:
        screening.cancel()
        leaving.cancel()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The pieces of a request's body."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        yield message.get("body", b"")
        more = message.get("more_body", False)
