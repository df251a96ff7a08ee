"""The public API, with its OpenAPI page at /docs."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.availability.release import Releases
from proxy.errors import ParameterError, RequestError, StoppingError, error_body
from proxy.http.access import Access
from proxy.http.answer import JSON
from proxy.http.batch import PATH as BATCH_PATH
from proxy.http.batch import Batch
from proxy.http.form import DICOM_TYPE
from proxy.http.metrics import Metrics, Observe
from proxy.http.model import describe
from proxy.http.page import Page
from proxy.http.predict import FILM_PATHS, Predict
from proxy.http.request_id import RequestId
from proxy.http.schemas import (
    BatchForm,
    BatchResults,
    DetailedPrediction,
    Error,
    ExplainedPrediction,
    FilmForm,
    Health,
    Opacity,
    OperatingPointName,
    Prevalence,
)
from proxy.keys import Keys
from proxy.settings import Settings
from proxy.torchserve.film_buffer import FilmBuffer

DESCRIPTION = "Screens chest X-rays for pneumonia. High-recall screening model; not a medical device."


def _errors(descriptions: dict[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    return {int(status): {"model": Error, "description": text} for status, text in descriptions.items()}


PREDICT_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The request is not HTTP.",
    HTTPStatus.UNAUTHORIZED: "There is no API key, or an unknown one; only where the service has keys.",
    HTTPStatus.REQUEST_TIMEOUT: "The film took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The film is over the size limit.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The file is no JPEG, PNG, JPEG 2000 or DICOM file, or the body is compressed.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "There is no film in the body, or it cannot be read.",
    HTTPStatus.TOO_MANY_REQUESTS: "The client is over its rate limit; `Retry-After` says when to try again.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The header fields are over the size limit.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The service failed.",
    HTTPStatus.BAD_GATEWAY: "The model failed on this film.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No prediction can be had now; `Retry-After` says when to try again, in seconds.",
}

NOT_READY = _errors({HTTPStatus.SERVICE_UNAVAILABLE: "It would not, and why."})

FILM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": FilmForm.model_json_schema()},
            DICOM_TYPE: {"schema": {"type": "string", "format": "binary", "description": "A DICOM file, as it is."}},
        },
    }
}
"""Given by hand: the endpoint reads the form itself, so FastAPI cannot see it."""


def create_app(settings: Settings, *, releases: Releases, buffer: FilmBuffer) -> ASGIApp:
    """Build the application around releases that somebody else keeps.

    Films go past the framework: its routing, validation and responses cost more than all the rest of the proxy. It
    does what is not in the path of every film, and documents those that are by endpoints that are never run.
    """
    metrics = Metrics(releases, buffer)
    predict = Predict(settings, releases=releases, buffer=buffer)
    batch = Batch(settings, releases=releases, buffer=buffer, metrics=metrics)
    past: dict[str, ASGIApp] = {**dict.fromkeys(FILM_PATHS, predict), BATCH_PATH: batch}
    others = Page(_framework(releases, metrics))

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if releases.stopping:
            send = _closing(send)
        posted = scope["type"] == "http" and scope["method"] == "POST"
        await (past.get(scope["path"], others) if posted else others)(scope, receive, send)

    app: ASGIApp = route
    if settings.keys_file is not None or settings.rate_limit is not None:
        keys = Keys(settings.keys_file) if settings.keys_file is not None else None
        app = Access(app, keys=keys, rate_limit=settings.rate_limit)
    observed = Observe(app, metrics, log=settings.access_log)

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].removesuffix("/")}  # served, not redirected to what Host says
        await observed(scope, receive, send)

    return RequestId(outermost)


def _framework(releases: Releases, metrics: Metrics) -> FastAPI:
    """Return the endpoints but for films, the documentation, and the answers to errors."""
    app: FastAPI = FastAPIOffline(
        title="Pneumonia screening", description=DESCRIPTION, version="1.0.0", redirect_slashes=False
    )

    _document_films(app)

    @app.get("/health/live")
    def live() -> Health:
        """Say that the process answers; whether TorchServe does is not asked."""
        return Health(status="ok")

    @app.get("/health/ready", responses=NOT_READY)
    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses=NOT_READY)
    async def health() -> Health:
        """Say whether a prediction would succeed, having just made one."""
        if releases.stopping:
            raise StoppingError
        release = releases.current
        if release.readiness.ready:
            await release.prober.probe()
        releases.current.readiness.require()  # looked at again: the probed one may have been taken out of service
        return Health(status="ok")

    @app.get("/model", responses=_errors({HTTPStatus.UNPROCESSABLE_ENTITY: "The prevalence is no share."}))
    def model(prevalence: Prevalence = None) -> dict[str, Any]:
        """Describe the model in service: digests, operating points with intervals, results on the official test films.

        With a prevalence, the share of films with pneumonia, also what answers are worth there: PPV and NPV.
        """
        return describe(releases.current.archive, prevalence=prevalence)

    @app.get("/model/card", response_class=PlainTextResponse)
    def card() -> Response:
        """Return the model card."""
        return Response(releases.current.archive.card, media_type="text/markdown; charset=utf-8")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Return the metrics of the service and of its TorchServe, in Prometheus' text format."""
        return Response(
            metrics.text() + await releases.current.client.metrics.text(), media_type="text/plain; version=0.0.4"
        )

    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    return app


def _document_films(app: FastAPI) -> None:
    """Add the endpoints for films, which are never run: films go past the framework."""

    @app.post(
        "/predict",
        responses=_errors(PREDICT_ERRORS),
        response_model=DetailedPrediction,
        openapi_extra=FILM_BODY,
    )
    def _predict(operating_point: OperatingPointName = None, *, detail: bool = False) -> None:
        """Screen one film, sent as multipart/form-data in the field `file`, or as a body of type application/dicom.

        With `detail=true` the answer has what stands behind the result: facts of the film, whether the result is
        uncertain, and a receipt by which it can be computed again.
        """

    @app.post(
        "/explain",
        responses={**_errors(PREDICT_ERRORS), HTTPStatus.OK: {"content": {"image/png": {}}}},
        response_model=ExplainedPrediction,
        openapi_extra=FILM_BODY,
    )
    def _explain(operating_point: OperatingPointName = None, opacity: Opacity = 0.5) -> None:
        """Screen one film, and show where the model found what it says: its class-activation map.

        As JSON, or with `Accept: image/png` as a picture of the film with the map over it.
        """

    @app.post(
        BATCH_PATH,
        responses={**_errors(PREDICT_ERRORS), HTTPStatus.OK: {"description": "Each film with its own status."}},
        response_model=BatchResults,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": BatchForm.model_json_schema()}},
            }
        },
    )
    def _batch(operating_point: OperatingPointName = None, *, detail: bool = False) -> None:
        """Screen several films, each sent in a field `file`: 32 of them and 200 MB at most, unless set otherwise.

        The answer is 200 where the form could be read, and has a status for each film, as `POST /predict` would give
        it, in the order of the form. What is wrong with one film is not the others' matter: a status of 429 or 503 says
        that this one is to be sent again later. `X-Model-Version` names the model.
        """


def _closing(send: Send) -> Send:
    """Have answers close their connection, so that the client's next one goes elsewhere."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_and_close


async def _request_error(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestError):
        raise exc
    return Response(error_body(exc.code, exc.message), exc.status, exc.headers, media_type=JSON)


async def _parameter_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestValidationError):
        raise exc
    first = exc.errors()[0]
    return await _request_error(request, ParameterError(f"{first['loc'][-1]}: {first['msg']}"))


async def _http_error(_: Request, exc: Exception) -> Response:
    """Unknown paths and wrong methods, which Starlette raises; keeps its Allow header."""
    if not isinstance(exc, HTTPException):
        raise exc
    status = HTTPStatus(exc.status_code)
    return Response(error_body(status.name.lower(), status.phrase), status, exc.headers, media_type=JSON)


async def _fault(request: Request, _exc: Exception) -> Response:
    """A fault of ours: the traceback goes to the log, not to the client."""
    return await _request_error(request, RequestError("the service failed"))
