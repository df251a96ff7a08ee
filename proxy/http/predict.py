"""`POST /predict` and `POST /explain` as plain ASGI: they stand in the path of every film."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from proxy.availability.archive import Archive
from proxy.availability.release import Releases
from proxy.errors import SlowUploadError
from proxy.http.answer import JSON, send_whole
from proxy.http.exchange import body_pieces, errors_answered, while_connected
from proxy.http.form import declared_size, read_film
from proxy.http.parameters import content_type, explanation_answer, film_parameters
from proxy.http.request_id import current_request_id
from proxy.settings import Settings
from proxy.torchserve.client import Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm

VERSION_HEADER = "X-Model-Version"
"""On each result: the version of the model that gave it."""


PREDICT, EXPLAIN = "/predict", "/explain"
FILM_PATHS = frozenset({PREDICT, EXPLAIN})


class Predict:
    """Takes a film out of its form, has it screened, and passes the answer on as it came."""

    def __init__(self, settings: Settings, *, releases: Releases, buffer: FilmBuffer) -> None:
        self._settings = settings
        self._releases = releases
        self._buffer = buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        screened = None
        async with errors_answered(send):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            answer = explanation_answer(headers) if scope["path"] == EXPLAIN else "result"
            parameters = film_parameters(scope["query_string"], answer)
            screened = await self._screen(headers, parameters, receive)
        if screened is not None:
            reply, archive = screened
            kind = content_type(reply.status, answer)
            detailed = kind == JSON and "detail=true" in parameters.split("&")
            body = with_origin(reply.body, archive) if detailed else reply.body
            await send_whole(send, reply.status, body, {VERSION_HEADER: archive.version}, content_type=kind)

    async def _screen(self, headers: Mapping[str, str], parameters: str, receive: Receive) -> tuple[Reply, Archive]:
        """Return the reply to the film, and the archive of the model that gave it."""
        self._releases.current.readiness.require()
        size = declared_size(headers, self._settings.max_film_bytes)
        self._releases.current.admission.require_room()
        with self._buffer.place(size) as film:
            film.parameters = parameters
            await self._read(headers, receive, film)
            release = self._releases.choose()  # now, not before the film came: a release may end meanwhile
            reply = await while_connected(release.admission.screen(film), receive)
            if reply.status == HTTPStatus.OK:
                self._releases.screened(release, film, reply)
        return reply, release.archive

    async def _read(self, headers: Mapping[str, str], receive: Receive, film: HeldFilm) -> None:
        timeout_s = self._settings.upload_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await read_film(headers, body_pieces(receive), film, self._settings.max_film_bytes)
        except TimeoutError as exc:
            raise SlowUploadError(f"the film did not arrive within {timeout_s:g} s") from exc


def with_origin(body: bytes, archive: Archive) -> bytes:
    """Return an answer with what the receipt in its detail lacks: what the handler cannot know."""
    answer = json.loads(body)
    if "detail" in answer:
        answer["detail"]["receipt"] |= {"archive_sha256": archive.sha256, "request_id": current_request_id()}
    return json.dumps(answer).encode()
