"""HTTP to one TorchServe: films to its inference API, questions and scaling to its management API."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from proxy.errors import ManagementError, RequestError, UnavailableError, UpstreamError, WorkerDiedError
from proxy.settings import MODEL_NAME, Settings
from proxy.torchserve.film_buffer import HeldFilm
from proxy.torchserve.run_dir import RunDir
from proxy.torchserve.transport import LONE_HEADER, FilmTransport

MANAGEMENT_TIMEOUT_S = 1.0
"""The management API answers in milliseconds, or is in trouble."""

WORKER_DIED = "Worker died"
"""TorchServe's message then, with status 500, or another one with 507, as where the worker had no memory left."""

REFUSED = frozenset(
    {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses with which the handler says what is wrong with a film."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The handler's word on one film: the body is JSON and passed on as it is."""

    status: int
    body: bytes


class _Api:
    """One of TorchServe's APIs, over connections that are kept open. Use as an asynchronous context manager."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._headers: dict[str, str] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(limit=0),  # admission control bounds the requests
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the callers bound the time
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    def authorise(self, token: str) -> None:
        """Use the token that TorchServe made for this API at its start."""
        self._headers["Authorization"] = f"Bearer {token}"

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | io.BytesIO = b""
    ) -> tuple[int, bytes]:
        async with self._session.request(method, path, headers=headers, data=body) as response:
            return response.status, await response.read()


class InferenceClient(_Api):
    """Has films screened."""

    def __init__(self, settings: Settings, transport: FilmTransport) -> None:
        super().__init__(settings.inference_port)
        self.transport = transport
        self._headers["Content-Type"] = transport.content_type
        self._under_way = 0
        """Requests that TorchServe has."""

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply | RequestError | None]:
        """Have films screened in one request, at most as many as the transport takes.

        A film is None that was not begun, because others in the request took long: it is to be sent again.

        Raises:
            WorkerDiedError: The worker died, of one of the films or of something else.
            UnavailableError: TorchServe died, or has no room.
            UpstreamError: The handler failed on the whole request.
        """
        lone = {} if self._under_way else {LONE_HEADER: "yes"}
        body, fields = self.transport.encode(films)
        self._under_way += 1
        try:
            status, content = await self._request(
                "POST", f"/predictions/{MODEL_NAME}", {**self._headers, **lone, **fields}, body
            )
            items = self.transport.decode(status, content)
        except aiohttp.ClientError as exc:
            raise UnavailableError("TorchServe broke off") from exc
        except ValueError as exc:
            raise UpstreamError("the handler answered in a way we do not know") from exc
        finally:
            self._under_way -= 1
        if items is None:
            raise _failure(status, content)
        if len(items) != len(films):
            raise UpstreamError(f"{len(items)} answers to {len(films)} films")
        return [_reply(*item) for item in items]


class ManagementClient(_Api):
    """Describes and scales the one model."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        super().__init__(settings.management_port)
        self._timeout_s = timeout_s

    async def describe(self) -> Any:
        """Return TorchServe's description of the model, its workers among it.

        Raises:
            ManagementError: TorchServe does not give it.
        """
        return await self._call("GET")

    async def worker_states(self) -> list[str]:
        """Return the state of each worker; "READY" is one that has loaded the model and lives.

        Raises:
            ManagementError: TorchServe does not say.
        """
        description = await self.describe()
        try:
            return [worker["status"] for worker in description[0]["workers"]]
        except (LookupError, TypeError) as exc:
            raise ManagementError("TorchServe describes the model in a way we do not know") from exc

    async def ready_workers(self) -> int:
        """Return how many workers have loaded the model and live.

        Raises:
            ManagementError: TorchServe does not say.
        """
        return (await self.worker_states()).count("READY")

    async def scale(self, workers: int) -> None:
        """Ask for so many workers, without waiting for them.

        Raises:
            ManagementError: TorchServe refuses or does not answer.
        """
        await self._call("PUT", f"?min_worker={workers}&max_worker={workers}")

    async def _call(self, method: str, query: str = "") -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                status, content = await self._request(method, f"/models/{MODEL_NAME}{query}", self._headers)
            answer = json.loads(content)
        except TimeoutError as exc:
            raise ManagementError("TorchServe's management API does not answer") from exc
        except aiohttp.ClientError as exc:
            raise ManagementError("TorchServe's management API cannot be reached: is the service running?") from exc
        except ValueError as exc:
            raise ManagementError(f"TorchServe's management API answered {status} without JSON") from exc
        if status >= HTTPStatus.BAD_REQUEST:
            raise ManagementError(f"TorchServe's management API answered {status}: {_message(content)}")
        return answer


class MetricsClient(_Api):
    """Reads TorchServe's metrics."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.metrics_port)

    async def text(self) -> bytes:
        """Return them in Prometheus' text format; nothing where TorchServe does not answer."""
        try:
            async with asyncio.timeout(MANAGEMENT_TIMEOUT_S):
                status, content = await self._request("GET", "/metrics", {})
        except (TimeoutError, aiohttp.ClientError):
            return b""
        return content if status == HTTPStatus.OK else b""


class TorchServeClient:
    """The clients of its APIs. Use as an asynchronous context manager."""

    def __init__(self, settings: Settings, transport: FilmTransport) -> None:
        self.inference = InferenceClient(settings, transport)
        self.management = ManagementClient(settings, timeout_s=MANAGEMENT_TIMEOUT_S)
        self.metrics = MetricsClient(settings)

    async def __aenter__(self) -> Self:
        for api in (self.inference, self.management, self.metrics):
            await api.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for api in (self.inference, self.management, self.metrics):
            await api.__aexit__()

    def authorise(self, run_dir: RunDir) -> None:
        """Use the tokens that TorchServe made at its start.

        Raises:
            ProxyError: It has not come so far yet.
        """
        self.inference.authorise(run_dir.token("inference"))
        self.management.authorise(run_dir.token("management"))


def _reply(status: int, content: bytes) -> Reply | RequestError | None:
    """Sort results, the handler's refusals of a film, and failures."""
    if status == HTTPStatus.OK:
        return Reply(status, content)
    if status == HTTPStatus.TOO_EARLY:
        return None
    if isinstance(_json(content).get("error"), dict):
        return Reply(status, content) if status in REFUSED else UpstreamError("the model failed on this film")
    return _failure(status, content)


def _failure(status: int, content: bytes) -> RequestError:
    """Translate TorchServe's own errors."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and _message(content) == "Prediction failed":
        return UpstreamError("the model failed on this film")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.BAD_REQUEST:
        return UpstreamError(f"TorchServe answered {status}")
    if status == HTTPStatus.INSUFFICIENT_STORAGE or WORKER_DIED in _message(content):
        return WorkerDiedError()
    # No worker or queue full (503), stale token after a restart (400).
    return UnavailableError(f"TorchServe cannot screen films now ({status})")


def _message(content: bytes) -> str:
    return str(_json(content).get("message", ""))


def _json(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
