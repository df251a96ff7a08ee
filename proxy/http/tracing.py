"""Traces of requests by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector (OTLP over HTTP).

A span has the method, the path, the status and the model's version, and those within it the film's time in the queue
and in TorchServe: nothing of the film, and no value of a header field but the caller's place in its trace. The rest is
set by OpenTelemetry's own variables. Its packages are loaded only then: `make serve OTEL=1` installs them.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.availability.admission import film_stages
from proxy.errors import SettingsError
from proxy.http.predict import VERSION_HEADER

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

SERVICE = "pneumonia-screening"

FLUSH_S = 2.0
"""At the end, how long what is left may take to reach the collector."""


@contextmanager
def tracing(environ: Mapping[str, str] = os.environ) -> Iterator[Callable[[ASGIApp], ASGIApp]]:
    """Yield what has an application's requests traced; it changes nothing where no collector is named.

    Raises:
        SettingsError: One is named, and the packages are not installed.
    """
    if not environ.get(ENDPOINT):
        yield lambda app: app
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  (optional)
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as exc:
        raise SettingsError(f"{ENDPOINT} is set, and {exc.name} is not installed: make serve OTEL=1") from exc
    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", SERVICE)})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter())
    )  # from a thread of its own; drops what is too much
    try:
        yield lambda app: Trace(app, provider.get_tracer("proxy"))
    finally:
        # A collector that does not answer must not hold up the end.
        flush = threading.Thread(target=provider.shutdown, name="flush-traces", daemon=True)
        flush.start()
        flush.join(FLUSH_S)


class Trace:
    """Makes a span of each request, as plain ASGI."""

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context  # noqa: PLC0415  (optional)
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._app = app
        self._tracer = tracer
        self._within = set_span_in_context
        self._parent = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application in a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stages: list[tuple[str, float, float]] = []
        film_stages.set(stages)  # uvicorn runs each request in a context of its own
        zero_ns = time.time_ns() - round(1e9 * asyncio.get_running_loop().time())
        parent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"}
        span = self._tracer.start_span(scope["method"], self._parent(parent), kind=self._kind)
        span.set_attribute("http.request.method", scope["method"])

        async def traced_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(self._failed)
                if status not in (
                    HTTPStatus.NOT_FOUND,
                    HTTPStatus.UNAUTHORIZED,
                ):  # else it is whatever the client made up
                    span.update_name(f"{scope['method']} {scope['path']}")
                    span.set_attribute("url.path", scope["path"])
                for name, value in message["headers"]:
                    if name == VERSION_HEADER.lower().encode():
                        span.set_attribute("model.version", value.decode())
            await send(message)

        try:
            await self._app(scope, receive, traced_send)
        finally:
            for name, begin, end in stages:
                stage = self._tracer.start_span(name, self._within(span), start_time=zero_ns + round(1e9 * begin))
                stage.end(zero_ns + round(1e9 * end))
            span.end()
