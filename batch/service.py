"""Screen films through a running service, several requests at once.

The service's own limits are kept: what it refuses for now, with 429 or 503, is sent again when it says. Films are sent
without their names.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from batch.errors import InputError, StoppedError
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
PATIENCE_S = 300.0
"""After so long without an answer to any film the run stops: the service is gone, and its films are not to blame."""
REQUEST_TIMEOUT_S = 120.0

IDENTITY_TIMEOUT_S = 10.0


class Service:
    """A service that films are sent to.

    Args:
        url: Its address, without a path.
        operating_point: Its name; by default the service's.
        requests: That are under way at once.
        max_film_bytes: Of a film that is read.
    """

    def __init__(self, url: str, *, operating_point: str | None, requests: int, max_film_bytes: int) -> None:
        self._url = url.rstrip("/")
        self._parameters = {"detail": "true"} | ({"operating_point": operating_point} if operating_point else {})
        self._requests = requests
        self._max_film_bytes = max_film_bytes
        key = os.environ.get(KEY_VARIABLE)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._heard_at = 0.0

    def identity(self) -> str:
        """Return what changes whenever its results may: model and operating point, as it says.

        Raises:
            InputError: There is no service, it wants another key, or has no such operating point.
        """
        return asyncio.run(self._identity())

    def screen(self, tasks: Iterator[Task], done: Done) -> None:
        """Screen films.

        Raises:
            StoppedError: The service is gone, or takes the key no more.
        """
        asyncio.run(self._screen(tasks, done))

    async def _identity(self) -> str:
        timeout = aiohttp.ClientTimeout(total=IDENTITY_TIMEOUT_S)
        try:
            async with self._session(timeout) as session, session.get(f"{self._url}/model") as answer:
                found = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise InputError(f"{self._url}: no screening service answers there: {exc or type(exc).__name__}") from exc
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{self._url}: the service wants an API key: set {KEY_VARIABLE}")
        if answer.status != HTTPStatus.OK:
            raise InputError(f"{self._url}: the service does not say what model it has ({answer.status})")
        return self._checked(found)

    def _checked(self, model: Mapping[str, Any]) -> str:
        point = self._parameters.get("operating_point", model["served_operating_point"])
        names = [known["name"] for known in model["operating_points"]]
        if point not in names:
            raise InputError(f"operating point {point!r}: unknown, the service has {', '.join(names)}")
        return json.dumps([model["sha256"]["archive"], point])

    async def _screen(self, tasks: Iterator[Task], done: Done) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        async with self._session(timeout) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._requests):
                        group.create_task(self._send_all(session, tasks, done))
            except* StoppedError as errors:
                raise errors.exceptions[0] from None

    def _session(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=timeout, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())

    async def _send_all(self, session: aiohttp.ClientSession, tasks: Iterator[Task], done: Done) -> None:
        for task in tasks:  # shared by all
            try:
                data = await asyncio.to_thread(from_text(task.place).read, self._max_film_bytes)
            except FilmError as exc:
                done(task, Row.of(exc))
                continue
            done(task, await self._row(session, data))

    async def _row(self, session: aiohttp.ClientSession, data: bytes) -> Row:
        """Send a film until there is an answer to it."""
        loop = asyncio.get_running_loop()
        while True:
            wait_s, reason = WAIT_S, ""
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
                    self._heard_at = loop.time()
                    return row_of(answer.status, content, answer.headers, data)
                wait_s, reason = _wait_s(answer.headers), f"it answers {answer.status}"
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                    self._heard_at = loop.time()  # a limit is a sign of life
            if loop.time() - self._heard_at > PATIENCE_S:
                raise StoppedError(f"{self._url}: no film was answered for {PATIENCE_S:g} s: {reason}")
            await asyncio.sleep(wait_s)


def row_of(status: int, content: bytes, headers: Mapping[str, str], data: bytes) -> Row:
    """Return the row that an answer of `POST /predict?detail=true` makes."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        answer = json.loads(content)
        if status != HTTPStatus.OK:
            error = answer["error"]
            return Row(
                status=status,
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


def _wait_s(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "")
    return min(float(value), LONGEST_WAIT_S) if value.isascii() and value.isdecimal() else WAIT_S
