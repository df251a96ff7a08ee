"""`POST /predict` as plain ASGI: it stands in the path of every film."""

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from proxy.client import Answer
from proxy.errors import RequestError, SlowUploadError, error_body
from proxy.form import declared_size, read_film
from proxy.gate import Gate
from proxy.memory import Film, FilmMemory
from proxy.readiness import Readiness
from proxy.settings import Settings

logger = logging.getLogger(__name__)


class _ClientLeftError(Exception):
    """The client hung up before the film was whole: nobody reads an answer."""


class Predict:
    """Takes a film out of its form, has it screened, and passes the answer on as it came."""

    def __init__(self, settings: Settings, *, gate: Gate, memory: FilmMemory, readiness: Readiness) -> None:
        self._settings = settings
        self._gate = gate
        self._memory = memory
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        extra: dict[str, str] = {}
        try:
            answer = await self._screen(scope, receive)
        except RequestError as exc:
            # The rest of a refused body is left unread, and the connection open: clients that listen while they send
            # (curl) stop, others get to the answer because uvicorn reads on and throws away. Closing would reset the
            # connection under the client before it sees why.
            answer, extra = Answer(exc.status, error_body(exc.code, exc.message)), exc.headers
        except _ClientLeftError:
            answer = Answer(HTTPStatus.BAD_REQUEST, b"")
        except Exception:
            # A fault of ours: the traceback goes to the log, not to the client.
            logger.exception("a film could not be answered")
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, error_body("internal_error", "the service failed"))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        headers += [(name.lower().encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _screen(self, scope: Scope, receive: Receive) -> Answer:
        self._readiness.require()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        size = declared_size(headers, self._settings.max_film_bytes)
        self._gate.require_room()
        with self._memory.place(size) as film:
            await self._read(headers, receive, film)
            answer = await self._gate.screen(film)
        if answer.status == HTTPStatus.OK:
            self._readiness.succeeded()
        return answer

    async def _read(self, headers: dict[str, str], receive: Receive, film: Film) -> None:
        timeout_s = self._settings.upload_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await read_film(headers, _body(receive), film, self._settings.max_film_bytes)
        except TimeoutError as exc:
            raise SlowUploadError(f"the film did not arrive within {timeout_s:g} s") from exc


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The pieces of a request's body."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        yield message.get("body", b"")
        more = message.get("more_body", False)
