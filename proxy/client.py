"""The way to TorchServe: films to its inference API, questions and scaling to its management API."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from proxy.errors import ProxyError, RequestError, UnavailableError, UpstreamError
from proxy.memory import Film
from proxy.rundir import RunDir
from proxy.settings import MODEL_NAME, Settings
from proxy.upstream import Upstream

PREDICTIONS = f"/predictions/{MODEL_NAME}"
MODEL = f"/models/{MODEL_NAME}"

MANAGEMENT_TIMEOUT_S = 1.0
"""The management API answers in milliseconds, or is in trouble."""

OURS = frozenset(
    {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses with which the handler says what is wrong with a film."""


REFERENCES = "application/x-film-references"
"""A request that names films in the shared memory, one a line; `handler/film_memory.py` says how."""

ALONE = b"Alone: yes\r\n"
"""Added where TorchServe has no other request: all cores are free for this one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the handler said of one film: the body is JSON and passed on as it is."""

    status: int
    body: bytes


class TorchServeClient:
    """Keeps connections to one TorchServe open between requests. Use as an asynchronous context manager."""

    def __init__(self, settings: Settings, run_dir: RunDir, film_memory: str | None) -> None:
        self._run_dir = run_dir
        self.film_memory = film_memory
        """Where the workers find the films that a request names, or None where films have to travel."""
        self._inference = Upstream(settings.inference_port)
        self._management = Upstream(settings.management_port)
        self._film_headers = b""
        self._management_headers = b""
        self._under_way = 0
        """Requests with films that TorchServe has."""

    async def __aenter__(self) -> "TorchServeClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._inference.close()
        self._management.close()

    def read_tokens(self) -> None:
        """Reads the tokens that TorchServe made at its start.

        Raises:
            ProxyError: It has not come so far yet.
        """
        kind = REFERENCES if self.film_memory else "application/octet-stream"
        self._film_headers = _bearer(self._run_dir.token("inference")) + f"Content-Type: {kind}\r\n".encode()
        self._management_headers = _bearer(self._run_dir.token("management"))

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer | RequestError | None]:
        """Has films screened in one request; without shared memory it takes one film.

        A film is None that was not begun, because others in the request took long: it is to be sent again.

        Never tried twice: a film that kills its worker must not kill the next.

        Raises:
            UnavailableError: TorchServe or the worker died, or has no room.
            UpstreamError: The handler failed on the whole request.
        """
        if self.film_memory is None:
            (film,) = films
            status, content = await self._post(bytes(film))
            return [_answer(status, content)]
        status, content = await self._post(b"\n".join(film.reference for film in films))
        if status != HTTPStatus.OK:
            raise _trouble(status, content)
        answers = [_answer(*_split(line)) for line in content.split(b"\n")]
        if len(answers) != len(films):
            raise UpstreamError(f"{len(answers)} answers to {len(films)} films")
        return answers

    async def _post(self, content: bytes) -> tuple[int, bytes]:
        headers = self._film_headers if self._under_way else self._film_headers + ALONE
        self._under_way += 1
        try:
            return await self._inference.request("POST", PREDICTIONS, headers, content)
        except ConnectionError as exc:
            raise UnavailableError("TorchServe broke off") from exc
        finally:
            self._under_way -= 1

    async def ready_workers(self) -> int:
        """How many workers have loaded the model and live.

        Raises:
            ProxyError: TorchServe does not say.
        """
        description = await self._manage("GET", MODEL)
        try:
            return sum(worker["status"] == "READY" for worker in description[0]["workers"])
        except (LookupError, TypeError) as exc:
            raise ProxyError("TorchServe describes the model in a way we do not know") from exc

    async def scale(self, workers: int) -> None:
        """Asks for so many workers, without waiting for them.

        Raises:
            ProxyError: TorchServe refuses or does not answer.
        """
        await self._manage("PUT", f"{MODEL}?min_worker={workers}&max_worker={workers}")

    async def _manage(self, method: str, path: str) -> Any:
        try:
            async with asyncio.timeout(MANAGEMENT_TIMEOUT_S):
                status, content = await self._management.request(method, path, self._management_headers)
            if status >= HTTPStatus.BAD_REQUEST:
                raise ProxyError(f"TorchServe's management API answered {status}")
            return json.loads(content)
        except TimeoutError as exc:
            raise ProxyError("TorchServe's management API does not answer") from exc
        except (ConnectionError, ValueError) as exc:
            raise ProxyError("TorchServe's management API cannot be reached") from exc


def _bearer(token: str) -> bytes:
    return f"Authorization: Bearer {token}\r\n".encode()


def _split(line: bytes) -> tuple[int, bytes]:
    """The status and the JSON of one film among several."""
    status, _, content = line.partition(b" ")
    try:
        return int(status), content
    except ValueError as exc:
        raise UpstreamError("the handler answered in a way we do not know") from exc


def _answer(status: int, content: bytes) -> Answer | RequestError | None:
    """Tells a prediction and the handler's word on a film from troubles."""
    if status == HTTPStatus.OK:
        return Answer(status, content)
    if status == HTTPStatus.TOO_EARLY:
        return None
    if isinstance(_json(content).get("error"), dict):
        return Answer(status, content) if status in OURS else UpstreamError("the model failed on this film")
    return _trouble(status, content)


def _trouble(status: int, content: bytes) -> RequestError:
    """Puts TorchServe's own errors into ours."""
    message = str(_json(content).get("message", ""))
    if status == HTTPStatus.SERVICE_UNAVAILABLE and message == "Prediction failed":
        return UpstreamError("the model failed on this film")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.BAD_REQUEST:
        return UpstreamError(f"TorchServe answered {status}")
    # Worker died (500), no worker or queue full (503), out of memory (507), stale token after a restart (400).
    return UnavailableError(f"TorchServe cannot screen films now ({status})")


def _json(content: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(content)
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}
