"""The public API: `POST /predict` and `GET /health`, with their OpenAPI page at /docs."""

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from proxy.client import TorchServeClient
from proxy.errors import RequestError, SlowUploadError, error_body
from proxy.form import declared_size, read_film
from proxy.gate import Gate
from proxy.middleware import RequestId
from proxy.readiness import Prober, Readiness
from proxy.schemas import Error, FilmForm, Health, Prediction
from proxy.settings import Settings

DESCRIPTION = "Screens chest X-rays for pneumonia. High-recall screening model; not a medical device."

JSON = "application/json"

PREDICT_ERRORS = {
    HTTPStatus.REQUEST_TIMEOUT: "The film took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The film is over the size limit.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The file is not a JPEG or PNG.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "There is no film in the field `file`, or it cannot be read.",
    HTTPStatus.BAD_GATEWAY: "The model failed on this film.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No prediction can be had now; `Retry-After` says when to try again, in seconds.",
}

FILM_FORM: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FilmForm.model_json_schema()}}}
}
"""Given by hand: the endpoint reads the form itself, so FastAPI cannot see it."""


def create_app(
    settings: Settings, *, gate: Gate, client: TorchServeClient, readiness: Readiness, prober: Prober
) -> ASGIApp:
    """Builds the application around a TorchServe that somebody else keeps."""
    app = FastAPIOffline(title="Pneumonia screening", description=DESCRIPTION, version="1.0.0")

    async def film_of(request: Request) -> bytes:
        try:
            async with asyncio.timeout(settings.upload_timeout_s):
                return await read_film(request.headers, request.stream(), settings.max_film_bytes)
        except TimeoutError as exc:
            raise SlowUploadError(f"the film did not arrive within {settings.upload_timeout_s:g} s") from exc

    @app.post("/predict", responses=_errors(PREDICT_ERRORS), response_model=Prediction, openapi_extra=FILM_FORM)
    async def predict(request: Request) -> Response:
        """Screens one film, sent as multipart/form-data in the field `file`."""
        readiness.require()
        with gate.hold(declared_size(request.headers, settings.max_film_bytes)):
            film = await film_of(request)
            async with gate.slot():
                answer = await client.predict(film)
        if answer.status == HTTPStatus.OK:
            readiness.succeeded()
        return Response(answer.body, answer.status, media_type=JSON)

    @app.get("/health", responses=_errors({HTTPStatus.SERVICE_UNAVAILABLE: "It would not, and why."}))
    async def health() -> Health:
        """Says whether a prediction would succeed, having just made one."""
        if readiness.ready:
            await prober.probe()
        readiness.require()
        return Health(status="ok")

    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(Exception, _fault)
    return RequestId(app)


def _errors(descriptions: dict[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    return {int(status): {"model": Error, "description": text} for status, text in descriptions.items()}


async def _request_error(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestError):
        raise exc
    # The rest of a refused body is left unread, and the connection open: clients that listen while they send (curl)
    # stop, others get to the answer because uvicorn reads on and throws away. Closing would reset the connection
    # under the client before it sees why.
    return Response(error_body(exc.code, exc.message), exc.status, exc.headers, media_type=JSON)


async def _http_error(_: Request, exc: Exception) -> Response:
    """Unknown paths and wrong methods, which Starlette raises; keeps its Allow header."""
    if not isinstance(exc, HTTPException):
        raise exc
    status = HTTPStatus(exc.status_code)
    return Response(error_body(status.name.lower(), status.phrase), status, exc.headers, media_type=JSON)


async def _client_left(_: Request, _exc: Exception) -> Response:
    """Nobody reads this answer; it keeps a broken upload from being logged as a fault of ours."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _fault(_: Request, _exc: Exception) -> Response:
    """A fault of ours: the traceback goes to the log, not to the client."""
    return Response(
        error_body("internal_error", "the service failed"), HTTPStatus.INTERNAL_SERVER_ERROR, media_type=JSON
    )
