"""The public API, with its OpenAPI page at /docs."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.availability.release import Releases
from proxy.errors import ParameterError, RequestError, StoppingError, error_body
from proxy.http.access import Access
from proxy.http.answer import JSON
from proxy.http.batch import PATH as BATCH_PATH
from proxy.http.batch import Batch
from proxy.http.metrics import Metrics, Observe
from proxy.http.model import describe
from proxy.http.openapi import (
    CARD,
    HEALTH,
    METRICS,
    MODEL,
    MODEL_ERRORS,
    NOT_READY,
    answer,
    document_films,
    errors,
)
from proxy.http.page import Page
from proxy.http.predict import FILM_PATHS, Predict
from proxy.http.request_id import RequestId
from proxy.http.schemas import Health, Model, ModelQuery
from proxy.keys import Keys
from proxy.settings import Settings
from proxy.torchserve.film_buffer import FilmBuffer

DESCRIPTION = "Screens chest X-rays for pneumonia. High-recall screening model; not a medical device."


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

    document_films(app)

    @app.get("/health/live", responses={HTTPStatus.OK: answer(HEALTH), **errors()})
    def live() -> Health:
        """Say that the process answers; whether TorchServe does is not asked."""
        return Health(status="ok")

    @app.get("/health/ready", responses={HTTPStatus.OK: answer(HEALTH), **NOT_READY})
    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses={HTTPStatus.OK: answer(HEALTH), **NOT_READY})
    async def health() -> Health:
        """Say whether a prediction would succeed, having just made one."""
        if releases.stopping:
            raise StoppingError
        release = releases.current
        if release.readiness.ready:
            await release.prober.probe()
        releases.current.readiness.require()  # looked at again: the probed one may have been taken out of service
        return Health(status="ok")

    @app.get(
        "/model", response_model=None, responses={HTTPStatus.OK: {"model": Model, **answer(MODEL)}, **MODEL_ERRORS}
    )
    def model(query: Annotated[ModelQuery, Query()]) -> dict[str, Any]:
        """Describe the model in service: digests, operating points with intervals, results on the official test films.

        With a prevalence, the share of films with pneumonia, also what answers are worth there: PPV and NPV.
        """
        return describe(releases.current.archive, prevalence=query.prevalence)

    @app.get(
        "/model/card",
        response_class=Response,
        responses={HTTPStatus.OK: answer(CARD, media_type="text/markdown"), **errors(HTTPStatus.UNAUTHORIZED)},
    )
    def card() -> Response:
        """Return the model card."""
        return Response(releases.current.archive.card, media_type="text/markdown; charset=utf-8")

    @app.get(
        "/metrics",
        response_class=Response,
        responses={HTTPStatus.OK: answer(METRICS, media_type="text/plain"), **errors(HTTPStatus.UNAUTHORIZED)},
    )
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
