"""`POST /predict/batch`: several films in a form, each with its own status, as plain ASGI.

Each film goes the way of a lone one, through the same admission, as soon as it has come whole, while the next ones
arrive. A request has no more films under way than keep the workers busy: it waits for them before it reads on, so that
it holds little memory and leaves the queue to others.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from proxy.availability.admission import REQUESTS_PER_WORKER
from proxy.availability.release import Releases
from proxy.errors import BatchLimitError, RequestError, SlowUploadError, error_body
from proxy.http.access import SPEND
from proxy.http.answer import send_whole
from proxy.http.exchange import answer_to, body_pieces, errors_answered, while_connected
from proxy.http.form import declared_size, read_films
from proxy.http.metrics import Metrics
from proxy.http.parameters import film_parameters
from proxy.http.predict import VERSION_HEADER, with_origin
from proxy.settings import Settings
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm

PATH = "/predict/batch"

Spend = Callable[[], Awaitable[None]]
"""Counts a film against its client's rate limit; raises a RateLimitError where it is over."""


class Batch:
    """Takes films out of their form, has them screened, and answers with all results in the order of the parts."""

    def __init__(self, settings: Settings, *, releases: Releases, buffer: FilmBuffer, metrics: Metrics) -> None:
        self._settings = settings
        self._releases = releases
        self._buffer = buffer
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        films = None
        async with errors_answered(send):
            films = await self._screen(scope, receive)
        if films is not None:
            versions = {VERSION_HEADER: ", ".join(sorted(films.versions))} if films.versions else {}
            await send_whole(send, HTTPStatus.OK, json.dumps({"results": films.results}).encode(), versions)

    async def _screen(self, scope: Scope, receive: Receive) -> "_Films":
        self._releases.current.readiness.require()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parameters = film_parameters(scope["query_string"], "result")
        most = self._settings.max_batch_bytes
        declared = declared_size(headers, most, BatchLimitError.of_bytes(most))
        self._releases.current.admission.require_room()
        most = min(declared, self._settings.max_film_bytes)  # of a film
        async with _Films(
            self._releases, self._buffer, self._metrics, parameters=parameters, most=most, spend=scope.get(SPEND)
        ) as films:
            await self._read(headers, receive, films)
            await while_connected(films.all(), receive)
            return films

    async def _read(self, headers: Mapping[str, str], receive: Receive, films: "_Films") -> None:
        timeout_s = self._settings.upload_timeout_s
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                await read_films(
                    headers,
                    self._paced(receive, films, deadline),
                    films,
                    max_film_bytes=self._settings.max_film_bytes,
                    max_films=self._settings.max_batch_films,
                    max_bytes=self._settings.max_batch_bytes,
                )
        except TimeoutError as exc:
            raise SlowUploadError(f"a film did not arrive within {timeout_s:g} s") from exc

    async def _paced(self, receive: Receive, films: "_Films", deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Return the pieces of the body as fast as its films are screened; each film has its own time to arrive."""
        come = 0
        async for piece in body_pieces(receive):
            yield piece
            if len(films.results) > come:
                come = len(films.results)
                deadline.reschedule(None)
                await films.room()
                deadline.reschedule(asyncio.get_running_loop().time() + self._settings.upload_timeout_s)


class _Films:
    """The films of one request. Use as an asynchronous context manager: what is left of them at its end is given up."""

    def __init__(  # noqa: PLR0913  (each is of another origin)
        self,
        releases: Releases,
        buffer: FilmBuffer,
        metrics: Metrics,
        *,
        parameters: str,
        most: int,
        spend: Spend | None,
    ) -> None:
        self._releases = releases
        self._buffer = buffer
        self._metrics = metrics
        self._parameters = parameters
        self._most = most
        self._spend = spend
        self._began = 0.0
        self._film: HeldFilm
        self._place = ExitStack()
        """Of the film that is arriving."""
        self._turns = asyncio.Semaphore(REQUESTS_PER_WORKER * max(1, releases.current.admission.workers))
        """As many films as keep the workers busy are in admission; small ones may all have come at once."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.results: list[dict[str, Any]] = []
        """In the order of the parts; those of films that are not answered yet have no status."""
        self.versions: set[str] = set()
        """Of the models that gave results."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._place.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self, name: str) -> HeldFilm:
        """Begin a film; see `form.Films`."""
        self.results.append({"file": name})
        self._began = time.perf_counter()
        self._place = ExitStack()
        self._film = self._place.enter_context(self._buffer.place(self._most))
        self._film.parameters = self._parameters
        return self._film

    def end(self, error: RequestError | None) -> None:
        """End a film, and have it screened; see `form.Films`."""
        place, self._place = self._place, ExitStack()
        if error is not None:
            place.close()
            self._answer(self.results[-1], self._began, error.status, error_body(error.code, error.message))
            return
        task = asyncio.create_task(self._screen(self.results[-1], self._film, place, self._began))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: place.close())  # a task that is cancelled at once never runs

    async def room(self) -> None:
        """Wait until a film that came now would have its turn."""
        while self._turns.locked():
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def all(self) -> None:
        """Wait until all films are answered."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _screen(self, result: dict[str, Any], film: HeldFilm, place: ExitStack, began: float) -> None:
        """Screen one film; whatever goes wrong is its own answer."""
        try:
            with place:
                async with self._turns:
                    if self._spend is not None:
                        await self._spend()
                    release = self._releases.choose()
                    reply = await release.admission.screen(film)
                if reply.status == HTTPStatus.OK:
                    self._releases.screened(release, film, reply)
                    self.versions.add(release.archive.version)
            status, body = reply.status, with_origin(reply.body, release.archive)
        except Exception as exc:
            error = answer_to(exc)
            status, body = error.status, error_body(error.code, error.message)
        self._answer(result, began, status, body)

    def _answer(self, result: dict[str, Any], began: float, status: int, body: bytes) -> None:
        result |= {"status": int(status), **json.loads(body)}
        self._metrics.answered(status, body, time.perf_counter() - began)
