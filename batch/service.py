"""Screen films through a running service, several requests at once.

The service's own limits are kept: what it refuses for now, with 429 or 503, is sent again when it says. Each film is
tried for a time of its own, so that one that is never answered keeps nothing from the others. Films are sent without
their names.
"""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from batch.errors import InputError, NoAnswer, StoppedError
from batch.journal import Task
from batch.place import from_text
from batch.processes import Done
from batch.row import Row, readable
from handler.errors import FilmError

KEY_VARIABLE = "API_KEY"
"""Of the environment: on a command line others could read it."""

PASSING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What the service says when it has no time now."""

WAIT_S = 2.0
"""Before a film is sent again, where the service does not say when."""
LONGEST_WAIT_S = 60.0
FILM_TIME_S = 300.0
"""That a film is tried for, without the time in which a rate limit refuses it."""
LIMITED_TIME_S = 86_400.0
"""That rate limits may refuse it, while no other film is answered either: some are of so many films a day."""
READY_TIME_S = 300.0
"""That the service may take to be ready again after a film without an answer: else it is gone, and the run stops."""
REQUEST_TIMEOUT_S = 120.0

START_TIMEOUT_S = 10.0
"""Of what is asked before the first film."""

NOT_THERE = (aiohttp.ClientError, TimeoutError, ValueError)
"""What a request raises where nothing answers, or something else than a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What films' times are measured by."""

    now: Callable[[], float] = time.monotonic
    """Seconds."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


CLOCK = Clock()


class Service:
    """A service that films are sent to.

    Args:
        url: Its address, without a path.
        operating_point: Its name; by default the service's.
        requests: That are under way at once.
        max_film_bytes: Of a film that is read.
        clock: Of films' times.
    """

    def __init__(
        self, url: str, *, operating_point: str | None, requests: int, max_film_bytes: int, clock: Clock = CLOCK
    ) -> None:
        self._url = url.rstrip("/")
        self._parameters = {"detail": "true"} | ({"operating_point": operating_point} if operating_point else {})
        self._requests = requests
        self._max_film_bytes = max_film_bytes
        self._clock = clock
        key = os.environ.get(KEY_VARIABLE)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._answered_at = 0.0
        """When a film was, the last time."""

    def identity(self) -> str:
        """Return what changes whenever its results may: model and operating point, as it says.

        Raises:
            InputError: There is no service, it wants another key, or has no such operating point.
            StoppedError: The service is not ready.
        """
        return asyncio.run(self._identity())

    def screen(self, tasks: Iterator[Task], done: Done) -> None:
        """Screen films.

        Raises:
            StoppedError: The service is gone, or takes the key no more.
        """
        asyncio.run(self._screen(tasks, done))

    async def _identity(self) -> str:
        try:
            async with self._session(START_TIMEOUT_S) as session:
                if trouble := await self._trouble(session):
                    raise StoppedError(f"{self._url}: the service is not ready: {trouble}")
                async with session.get(f"{self._url}/model") as answer:
                    found = await answer.json()
        except NOT_THERE as exc:
            raise InputError(f"{self._url}: no screening service answers there: {exc or type(exc).__name__}") from exc
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{self._url}: the service wants an API key: set {KEY_VARIABLE}")
        if answer.status != HTTPStatus.OK:
            raise InputError(f"{self._url}: the service does not say what model it has ({answer.status})")
        return self._checked(found)

    async def _trouble(self, session: aiohttp.ClientSession) -> str | None:
        """Return why the service is not ready; None where it is.

        Raises:
            aiohttp.ClientError, TimeoutError, ValueError: Nothing answers there, or something else.
        """
        async with session.get(f"{self._url}/health/ready") as answer:
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return _message(await answer.read()) or f"it answers {answer.status}"
            answer.raise_for_status()
            return None

    def _checked(self, model: Mapping[str, Any]) -> str:
        point = self._parameters.get("operating_point", model["served_operating_point"])
        names = [known["name"] for known in model["operating_points"]]
        if point not in names:
            raise InputError(f"operating point {point!r}: unknown, the service has {', '.join(names)}")
        return json.dumps([model["sha256"]["archive"], point])

    async def _screen(self, tasks: Iterator[Task], done: Done) -> None:
        self._answered_at = self._clock.now()
        async with self._session(REQUEST_TIMEOUT_S) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._requests):
                        group.create_task(self._send_all(session, tasks, done))
            except* StoppedError as errors:
                raise errors.exceptions[0] from None

    def _session(self, timeout_s: float) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        return aiohttp.ClientSession(timeout=timeout, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())

    async def _send_all(self, session: aiohttp.ClientSession, tasks: Iterator[Task], done: Done) -> None:
        unanswered = False
        for task in tasks:  # shared by all
            if unanswered:  # only now: after the last film, the table is due whether the service is ready or not
                await self._wait_until_ready(session)
                unanswered = False
            digest = None
            try:
                data = await asyncio.to_thread(from_text(task.place).read, self._max_film_bytes)
                digest = hashlib.sha256(data).hexdigest()
                row = await self._row(session, data)
            except FilmError as exc:
                row, unanswered = Row.of(exc, digest), isinstance(exc, NoAnswer)
            done(task, row)

    async def _row(self, session: aiohttp.ClientSession, data: bytes) -> Row:
        """Send a film until there is an answer to it.

        Raises:
            NoAnswer: There was none in its time.
            StoppedError: The service does not take the key.
        """
        began = tried_from = self._clock.now()
        while True:
            wait_s = WAIT_S
            try:
                form = aiohttp.FormData()
                form.add_field("file", data, filename="film")
                async with session.post(f"{self._url}/predict", params=self._parameters, data=form) as answer:
                    content = await answer.read()
            except (aiohttp.ClientError, TimeoutError) as exc:
                reason = str(exc) or type(exc).__name__
            else:
                if answer.status == HTTPStatus.UNAUTHORIZED:
                    raise StoppedError(f"{self._url}: the service does not take the key in {KEY_VARIABLE}")
                if answer.status not in PASSING:
                    self._answered_at = self._clock.now()
                    return row_of(answer.status, content, answer.headers, data)
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                    tried_from = self._clock.now()
                wait_s = _wait_s(answer.headers)
                reason = f"it answers {answer.status}, {_message(content) or 'without a reason'}"
            now = self._clock.now()
            if now - tried_from > FILM_TIME_S or now - max(began, self._answered_at) > LIMITED_TIME_S:
                raise NoAnswer(f"the service gave no answer to this film in {now - began:.0f} s: {reason}")
            await self._clock.sleep(wait_s)

    async def _wait_until_ready(self, session: aiohttp.ClientSession) -> None:
        """Wait for the service: the film without an answer may have been what it broke by.

        Raises:
            StoppedError: It is not ready in time.
        """
        began = self._clock.now()
        while True:
            try:
                trouble = await self._trouble(session)
            except NOT_THERE as exc:
                trouble = str(exc) or type(exc).__name__
            if trouble is None:
                return
            if self._clock.now() - began > READY_TIME_S:
                raise StoppedError(f"{self._url}: the service is not ready for {READY_TIME_S:g} s: {trouble}")
            await self._clock.sleep(WAIT_S)


def row_of(status: int, content: bytes, headers: Mapping[str, str], data: bytes) -> Row:
    """Return the row that an answer of `POST /predict?detail=true` makes."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        answer = json.loads(content)
        if status != HTTPStatus.OK:
            error = answer["error"]
            return Row(
                status=status,
                gate=_codes(error["reasons"]) if "reasons" in error else None,
                error_code=readable(error["code"]),
                error_message=readable(error["message"]),
                film_sha256=digest,
            )
        detail = answer["detail"]
        return Row(
            status=status,
            prediction=answer["prediction"],
            p_pneumonia=answer["p_pneumonia"],
            uncertain=detail["uncertain"],
            gate=_codes(detail["gate"]["reasons"]),
            note=readable(answer["note"]),
            operating_point=detail["operating_point"]["name"],
            threshold=detail["operating_point"]["threshold"],
            model_version=headers.get("X-Model-Version", detail["model_version"]),
            film_sha256=digest,
            urgency=detail["p_pneumonia"],
        )
    except (ValueError, KeyError, TypeError):
        return Row(
            status=HTTPStatus.BAD_GATEWAY,
            error_code="unknown_answer",
            error_message=f"the service answered {status} in a way that is not known here",
            film_sha256=digest,
        )


def _codes(reasons: Sequence[str]) -> str:
    return readable(" ".join(reasons))


def _message(content: bytes) -> str | None:
    """Return what an error says, where it is one of the service's."""
    try:
        return readable(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _wait_s(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "")
    return min(float(value), LONGEST_WAIT_S) if value.isascii() and value.isdecimal() else WAIT_S
