import asyncio
import builtins
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.types import Message, Receive, Scope, Send

from proxy.availability.admission import film_stages
from proxy.errors import SettingsError
from proxy.http.tracing import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def screen(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer as the service does, having noted where the film was."""
    stages = film_stages.get()
    if stages is not None:
        now = asyncio.get_running_loop().time()
        stages += [("queue", now - 0.3, now - 0.2), ("torchserve", now - 0.2, now)]
    status = {"/predict": 200, "/nowhere": 404, "/broken": 500}[scope["path"]]
    headers = [(b"x-request-id", b"mine"), (b"x-model-version", b"1.2.3")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def spans(path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the spans of one request, by name, as a collector gets them."""
    found: dict[str, Any] = {}

    async def collect(request: web.Request) -> web.Response:
        content = ExportTraceServiceRequest.FromString(await request.read())
        for resource in content.resource_spans:
            service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            assert service == "pneumonia-screening"
            found.update({span.name: span for scope in resource.scope_spans for span in scope.spans})
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app, host="127.0.0.1") as collector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
            opened = tracing()
            traced = opened.__enter__()(screen)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise NotImplementedError

        lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"secret=1", "headers": lines}
        await traced(scope, receive, send)
        await asyncio.to_thread(opened.__exit__, None, None, None)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


async def test_request_is_a_span_with_the_films_stages_in_it() -> None:
    found = await spans("/predict")
    request = found["POST /predict"]
    assert set(found) == {"POST /predict", "queue", "torchserve"}
    for name, seconds in (("queue", 0.1), ("torchserve", 0.2)):
        stage = found[name]
        assert stage.parent_span_id == request.span_id
        assert (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e9 == pytest.approx(seconds, abs=0.01)
        assert abs(stage.end_time_unix_nano - request.end_time_unix_nano) < 1e9


async def test_span_has_nothing_of_the_film_and_no_header_value() -> None:
    found = await spans("/predict", {"x-request-id": "mine", "user-agent": "secret", "authorization": "Bearer secret"})
    assert attributes(found["POST /predict"]) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "model.version": "1.2.3",
    }
    assert "secret" not in str(found)
    assert "mine" not in str(found)


async def test_path_that_a_client_made_up_is_left_out() -> None:
    found = await spans("/nowhere")
    assert "url.path" not in attributes(found["POST"])


async def test_fault_is_an_error() -> None:
    found = await spans("/broken")
    assert found["POST /broken"].status.code == 2


async def test_trace_of_the_client_goes_on() -> None:
    found = await spans("/predict", {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert found["POST /predict"].trace_id.hex() == TRACE
    assert found["POST /predict"].parent_span_id.hex() == "00f067aa0ba902b7"


async def test_collector_that_is_not_there_holds_up_neither_films_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("proxy.http.tracing.FLUSH_S", 0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def ignore(_message: Message) -> None:
        pass

    async def receive() -> Message:
        raise NotImplementedError

    with tracing() as traced:
        await traced(screen)({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, ignore)
    assert loop.time() - began < 5


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("opentelemetry.sdk"):
            raise ImportError(name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        pytest.raises(SettingsError, match=r"opentelemetry\.sdk\.\w+ is not installed: make serve OTEL=1"),
        tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
    ):
        pass


def test_without_a_collector_nothing_is_loaded_and_the_application_is_left_as_it_is() -> None:
    with tracing({}) as traced:
        assert traced(screen) is screen
    probe = "import sys, proxy.__main__; print('opentelemetry.sdk' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert result == "False\n"
