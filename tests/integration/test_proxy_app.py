"""The public API in one process, with a stand-in for TorchServe on a real socket."""

import asyncio
import dataclasses
import gzip
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from pydantic import BaseModel
from yarl import URL

from handler.errors import DeferredFilm
from handler.parameters import FilmRequest, Parameters
from handler.response import Response as HandlerResponse
from handler.shared_films import SharedFilms, TransportNames, joined
from proxy.availability.archive import Archive, ReferenceFilm
from proxy.availability.release import Release, Releases
from proxy.errors import ProxyError
from proxy.http import schemas
from proxy.http.app import create_app
from proxy.http.openapi import EXAMPLES
from proxy.http.protocol import HttpProtocol
from proxy.settings import ROOT, Settings
from proxy.torchserve.client import Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm
from proxy.torchserve.run_dir import RunDir
from proxy.torchserve.transport import BodyTransport, SharedMemoryTransport, transport_for
from tests.models import contract

pytestmark = pytest.mark.integration

UPSTREAM_PORTS = ("inference_port", "management_port", "metrics_port")

ANSWER = b'{"prediction": "PNEUMONIA",  "p_pneumonia": 0.9, "note": "as it came"}'
FILM = ReferenceFilm(name="f", content=b"reference", p_pneumonia=0.9, tolerance=0.02)


class Response(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


class FakeTorchServe:
    """Answers like TorchServe's two APIs, and like the handler behind them; tests change how."""

    def __init__(self, transport: TransportNames) -> None:
        self.transport = transport
        self.requested: list[FilmRequest] = []
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self.defers = False
        """Whether films that share a request are left undone, all but the first."""
        self.raw: bytes | None = None
        """What it says instead of an answer to each film."""
        self.scaled: list[dict[str, str]] = []
        self.status = 200
        self.body = ANSWER
        self.description: object = [{"workers": [{"status": "READY"}, {"status": "UNLOADING"}]}]
        self.pause = asyncio.Event()
        self.pause.set()
        self.running = 0
        self.most_running = 0

    @property
    def films(self) -> list[bytes]:
        return [bytes(one.content) for one in self.requested]

    async def stop(self) -> None:
        """Leave its port; the fixture sets what does it."""
        raise NotImplementedError

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/predictions/pneumonia", self.predict)
        app.router.add_get("/models/pneumonia", self.describe)
        app.router.add_put("/models/pneumonia", self.scale)
        app.router.add_get("/metrics", self.metrics)
        return app

    async def predict(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        references = self.transport.memory is not None and request.content_type == self.transport.content_type
        sent = FilmRequest(content=content, parameters=Parameters.parse(request.headers.get("X-Parameters", "")))
        films = SharedFilms(Path(self.transport.memory or "")).read(content) if references else [sent]
        self.requested += [film for film in films if isinstance(film, FilmRequest)]
        self.requests += 1
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.pause.wait()
        finally:
            self.running -= 1
        if self.status == 0 and request.transport is not None:
            request.transport.abort()
        if self.raw is not None:
            return web.Response(body=self.raw)
        if references and (self.status == HTTPStatus.OK or b'"error":' in self.body):
            deferred = HandlerResponse.of(DeferredFilm("not begun"))
            answer = HandlerResponse(status=self.status, reason="", body=self.body)
            return web.Response(body=joined([answer] + [deferred if self.defers else answer] * (len(films) - 1)))
        return web.Response(body=self.body, status=self.status or 200, content_type="application/json")

    async def describe(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer man"
        return web.json_response(self.description)

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="ts_queue_latency 1\n")

    async def scale(self, request: web.Request) -> web.StreamResponse:
        self.scaled.append(dict(request.query))
        return web.json_response({"status": "Processing worker updates..."}, status=202)


class Bench:
    """The whole proxy but for the TorchServe process, listening on a real port."""

    def __init__(self, torchserve: FakeTorchServe, *, settings: Settings, buffer: FilmBuffer) -> None:
        self.torchserve = torchserve
        archive = Archive(
            path=Path("x.mar"),
            sha256="5" * 64,
            version="0.0.0-test",
            films=(FILM,),
            contract=dataclasses.asdict(contract()),
            contract_sha256="6" * 64,
            operating_point="rule_out",
            official_test=({"version": "0.0.0-test", "roc_auc": 0.99}, {"version": "0.0.0", "roc_auc": 0.9}),
            card="# Card",
        )
        self.release = Release(archive, settings, buffer)
        self.release.keeper = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        self.releases = Releases(settings, buffer)
        self.releases.current = self.release
        self.client = self.release.client
        self.shared = isinstance(self.client.inference.transport, SharedMemoryTransport)
        self.admission, self.readiness, self.prober = (
            self.release.admission,
            self.release.readiness,
            self.release.prober,
        )
        self.app = create_app(settings, releases=self.releases, buffer=buffer)
        self.url = f"http://127.0.0.1:{settings.port}"
        self.readiness.succeeded()

    async def predict(self, film: bytes = b"film", *, path: str = "/predict", **options: Any) -> Response:
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(film), filename="film.jpeg")
        return await self.send("POST", path, data=form, **options)

    async def send(self, method: str, path: str, **options: Any) -> Response:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, URL(self.url + path, encoded=True), **options) as response,
        ):
            return Response(response.status, await response.read(), response.headers)


@pytest.fixture
def buffer() -> Iterator[FilmBuffer]:
    buffer = FilmBuffer(8_000_000)
    yield buffer
    buffer.close()


@pytest.fixture
def upload_timeout_s() -> float:
    """Tests that wait for it override it."""
    return 10


@pytest.fixture
def patience_s() -> float:
    """How long a film, or a health check, waits for TorchServe; tests in which it waits in vain override it."""
    return 20


@pytest.fixture
def access_log() -> bool:
    """Whether requests are logged; tests of it override it."""
    return False


@pytest.fixture(params=[True, False], ids=["shared", "travelling"])
async def bench(  # noqa: PLR0913  (each is what some test overrides)
    tmp_path: Path,
    buffer: FilmBuffer,
    *,
    upload_timeout_s: float,
    patience_s: float,
    access_log: bool,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Bench]:
    """A proxy that shares its memory with the workers, and one that cannot."""
    transport = transport_for(buffer) if request.param else BodyTransport()
    transport.batch_films = min(transport.batch_films, 2)
    monkeypatch.setattr("proxy.availability.release.transport_for", lambda _: transport)
    torchserve = FakeTorchServe(TransportNames.from_environ(transport.worker_environment))
    async with TestServer(torchserve.app(), host="127.0.0.1") as upstream:
        assert upstream.port is not None
        torchserve.stop = upstream.close  # type: ignore[method-assign]
        settings = Settings.from_environ(
            {
                "MAX_FILM_BYTES": "3000000",
                "WORKERS": "1",
                "QUEUE_LIMIT": "4",
                "ACCESS_LOG": str(access_log),
                "UPLOAD_TIMEOUT_S": str(upload_timeout_s),
                "PREDICT_TIMEOUT_S": str(patience_s),
            }
        ).model_copy(update=dict.fromkeys(UPSTREAM_PORTS, upstream.port) | {"port": unused_port(), "run_dir": tmp_path})
        run_dir = RunDir(tmp_path)
        run_dir.keys.write_text(json.dumps({"inference": {"key": "inf"}, "management": {"key": "man"}}))
        bench = Bench(torchserve, settings=settings, buffer=buffer)
        async with bench.client as client:
            client.authorise(run_dir)
            server = uvicorn.Server(
                uvicorn.Config(bench.app, port=settings.port, http=HttpProtocol, lifespan="off", log_config=None)
            )
            server.capture_signals = pytest.MonkeyPatch.context  # type: ignore[method-assign,assignment]
            serving = asyncio.create_task(server.serve())
            watch = asyncio.create_task(bench.admission.watch())
            while not server.started:
                await asyncio.sleep(0.01)
            yield bench
            torchserve.pause.set()
            watch.cancel()
            server.should_exit = True
            await serving


def fits(name: str, value: object) -> bool:
    """Return whether a value is of a schema, and has no key that this does not have."""
    model: type[BaseModel] = getattr(schemas, name)
    return model.model_validate(value).model_dump(exclude_unset=True) == value


DOCUMENTED = {example.code for examples in EXAMPLES.values() for example in examples}


def error(body: bytes) -> dict[str, str]:
    shape = json.loads(body)
    assert shape["error"]["code"] in DOCUMENTED | {"not_found", "method_not_allowed", "batch_too_large"}
    assert set(shape) == {"error"}
    assert set(shape["error"]) == {"code", "message"}
    found: dict[str, str] = shape["error"]
    return found


async def test_film_goes_raw_and_its_answer_comes_unchanged(bench: Bench) -> None:
    status, body, headers = await bench.predict(b"film", headers={"X-Request-ID": "mine"})
    assert (status, body) == (200, ANSWER)
    assert bench.torchserve.films == [b"film"]
    sent = bench.torchserve.headers[0]
    assert sent["Authorization"] == "Bearer inf"
    assert sent["Content-Type"] == bench.client.inference.transport.content_type
    assert headers["X-Request-ID"] == "mine"
    assert headers["Content-Type"] == "application/json"


async def test_handler_hears_what_is_asked_of_a_film(bench: Bench) -> None:
    await bench.predict()
    await bench.predict(path="/predict?detail=true&operating_point=balanced")
    await bench.predict(path="/explain")
    await bench.predict(path="/explain?opacity=0.25", headers={"Accept": "image/png"})
    assert [one.parameters for one in bench.torchserve.requested] == [
        Parameters(),
        Parameters(detail=True, operating_point="balanced"),
        Parameters(answer="explanation"),
        Parameters(answer="picture", opacity=0.25),
    ]


async def test_receipt_is_completed_by_what_the_handler_cannot_know(bench: Bench) -> None:
    bench.torchserve.body = b'{"prediction": "NORMAL", "detail": {"receipt": {"film_sha256": "f"}}}'
    reply = await bench.predict(path="/predict?detail=true", headers={"X-Request-ID": "ward-7"})
    receipt = {"film_sha256": "f", "archive_sha256": "5" * 64, "request_id": "ward-7"}
    assert json.loads(reply.body) == {"prediction": "NORMAL", "detail": {"receipt": receipt}}


async def test_receipt_is_completed_however_the_query_is_written(bench: Bench) -> None:
    bench.torchserve.body = b'{"prediction": "NORMAL", "detail": {"receipt": {}}}'
    reply = await bench.predict(path="/predict?de%74ail=%74rue")
    assert set(json.loads(reply.body)["detail"]["receipt"]) == {"archive_sha256", "request_id"}


async def test_explanation_may_be_a_picture(bench: Bench) -> None:
    bench.torchserve.body = b"\x89PNG\r\n\x1a\n"
    reply = await bench.predict(path="/explain?detail=true", headers={"Accept": "image/png"})
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
    assert reply.body == bench.torchserve.body


async def test_error_of_an_explanation_is_no_picture(bench: Bench) -> None:
    bench.torchserve.status = 422
    bench.torchserve.body = b'{"error": {"code": "damaged_film", "message": "x"}}'
    reply = await bench.predict(path="/explain", headers={"Accept": "image/png"})
    assert (reply.status, reply.headers["Content-Type"]) == (422, "application/json")


@pytest.mark.parametrize("query", ["detail", "a=" + "b" * 500, "=&=", "answer=picture", "opacity=0.3", "a=1&" * 9])
async def test_query_that_cannot_be_read_is_refused_before_the_film(bench: Bench, query: str) -> None:
    reply = await bench.predict(path=f"/predict?{query}")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (422, "invalid_parameter")
    assert not bench.torchserve.requested


async def test_large_film_arrives_whole(bench: Bench) -> None:
    film = bytes(range(256)) * 10_000
    assert (await bench.predict(film))[0] == 200
    assert bench.torchserve.films == [film]


@pytest.mark.parametrize("status", [413, 415, 422])
async def test_handlers_word_on_a_film_is_passed_on(bench: Bench, status: int) -> None:
    bench.torchserve.status = status
    bench.torchserve.body = b'{"error": {"code": "c",   "message": "m"}}'
    found, body, _ = await bench.predict()
    assert (found, body) == (status, bench.torchserve.body)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}', 502),
        (503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}', 503),
        (507, b'{"code": 507, "type": "InternalServerException", "message": "Out of resources"}', 502),
        (400, b'{"code": 400, "type": "InvalidKeyException", "message": "Token ..."}', 503),
        (503, b'{"code": 503, "type": "InternalServerException", "message": "Prediction failed"}', 502),
        (404, b'{"code": 404, "type": "ModelNotFoundException", "message": "..."}', 502),
        (413, b"", 502),
        (415, b"<html>", 502),
        (422, b'["error"]', 502),
        (0, b"", 503),
    ],
)
async def test_torchserves_own_errors_are_put_into_our_shape(
    bench: Bench, status: int, body: bytes, expected: int
) -> None:
    bench.torchserve.status, bench.torchserve.body = status, body
    found, answer, headers = await bench.predict()
    assert found == expected
    assert error(answer)
    assert ("Retry-After" in headers) == (expected == 503)
    assert bench.torchserve.requests == (
        2 if b"Worker died" in body or status == HTTPStatus.INSUFFICIENT_STORAGE else 1
    ), "only a dead worker's film is tried again"


async def test_lost_torchserve_is_unavailable(bench: Bench) -> None:
    bench.torchserve.status = 0  # it hangs up
    assert (await bench.predict())[0] == 503
    await bench.torchserve.stop()  # and takes no connection any more
    assert (await bench.predict())[0] == 503


async def test_films_with_torchserve_are_few_and_the_rest_wait(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    films = [asyncio.create_task(bench.predict()) for _ in range(8)]
    while bench.torchserve.running < 2 or sum(film.done() for film in films) < 2:
        await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    answers = [await film for film in films]
    assert [status for status, _, _ in answers].count(200) == 6
    refused = [body for status, body, _ in answers if status == 503]
    assert [error(body)["code"] for body in refused] == ["saturated"] * 2
    assert bench.torchserve.most_running == 2


async def crowd(bench: Bench) -> list[bytes]:
    """Send eight films at once, of which two are screened, four wait and two are refused; returns those answered."""
    bench.torchserve.pause.clear()
    sent = {b"film %d" % i: asyncio.create_task(bench.predict(b"film %d" % i)) for i in range(8)}
    while bench.torchserve.running < 2 or sum(film.done() for film in sent.values()) < 2:
        await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    replies = {film: await reply for film, reply in sent.items()}
    assert sorted(reply.status for reply in replies.values()) == [200] * 6 + [503] * 2
    return [film for film, reply in replies.items() if reply[:2] == (200, ANSWER)]


async def test_films_that_waited_share_a_request(bench: Bench) -> None:
    answered = await crowd(bench)
    assert sorted(bench.torchserve.films) == answered
    assert bench.torchserve.requests == (4 if bench.shared else 6)


async def test_film_that_was_not_begun_goes_again(bench: Bench) -> None:
    bench.torchserve.defers = True
    answered = await crowd(bench)
    assert sorted(set(bench.torchserve.films)) == answered
    again = len(bench.torchserve.films) - len(answered)
    assert again > 0 if bench.shared else again == 0


async def test_client_tells_what_was_not_begun(bench: Bench, buffer: FilmBuffer) -> None:
    bench.torchserve.status = 425
    bench.torchserve.body = b'{"error": {"code": "deferred", "message": "not begun"}}'
    with buffer.place(4) as film:
        film.append(b"film")
        assert await bench.client.inference.screen([film]) == [None]


async def test_torchserve_hears_which_film_is_alone(bench: Bench) -> None:
    await bench.predict(b"first")
    bench.torchserve.pause.clear()
    films = [asyncio.create_task(bench.predict(b"film %d" % i)) for i in range(2)]
    while bench.torchserve.running < 2:
        await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    await asyncio.gather(*films)
    await bench.predict(b"last")
    assert [sent.get("Lone") for sent in bench.torchserve.headers] == ["yes", "yes", None, "yes"]


@pytest.mark.parametrize("body", [b"", b"x", b"200 {}\n200 {}", b"2x0 {}"])
async def test_strange_answer_is_a_bad_gateway(bench: Bench, body: bytes) -> None:
    bench.torchserve.raw = body
    status, answer, _ = await bench.predict()
    if bench.shared:
        assert (status, error(answer)["code"]) == (502, "prediction_failed")


async def test_client_that_hangs_up_is_forgotten(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    host, port = bench.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n--x\r\n".encode())
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.1)
    assert not caplog.records
    assert (await bench.predict())[0] == 200


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n--x--\r\n'


class Wire:
    """A connection on which a test writes what no client library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> Response:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Response(int(head[0].split()[1]), body, headers)


@asynccontextmanager
async def wire(bench: Bench) -> AsyncIterator[Wire]:
    host, port = bench.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(30):
            yield Wire(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("body_later", [False, True])
@pytest.mark.parametrize("offer", [b"h2c\r\nHTTP2-Settings: AAMAAABk", b"websocket\r\nSec-WebSocket-Key: x"])
async def test_film_beside_an_offer_of_another_protocol_is_screened(
    bench: Bench, offer: bytes, *, body_later: bool
) -> None:
    body = FORM % (b"f.jpg", b"film" * 100)
    head = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (
        offer,
        len(body),
    )
    async with wire(bench) as connection:
        for _ in range(2):
            connection.writer.write(head)
            if body_later:
                await asyncio.sleep(0.02)
            connection.writer.write(body)
            assert (await connection.reply())[:2] == (200, ANSWER)
    assert bench.torchserve.films == [b"film" * 100] * 2


async def test_client_that_closes_its_side_gets_its_answer(bench: Bench) -> None:
    body = FORM % (b"f.jpg", b"film")
    bench.torchserve.pause.clear()
    async with wire(bench) as connection:
        connection.writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.writer.write_eof()
        await asyncio.sleep(0.05)
        bench.torchserve.pause.set()
        assert (await connection.reply())[:2] == (200, ANSWER)
        assert await connection.reader.read() == b""


async def test_client_that_hangs_up_before_its_answer_is_forgotten(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    body = FORM % (b"f.jpg", b"film")
    bench.torchserve.pause.clear()
    async with wire(bench) as connection:
        connection.writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while not bench.torchserve.running:
            await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    assert (await bench.predict())[:2] == (200, ANSWER)
    assert not caplog.records


@pytest.mark.parametrize("length", [b"Transfer-Encoding: chunked", b"Content-Length: 3000000"])
async def test_slow_uploads_shut_out_nobody(bench: Bench, length: bytes) -> None:
    """Held is what has arrived, not what may come: the 8 MB of `buffer` hold two films of the largest size."""
    async with AsyncExitStack() as stack:
        uploads = []
        for _ in range(40):
            upload = await stack.enter_async_context(wire(bench))
            upload.writer.write(HEAD + length + b"\r\n\r\n")
            uploads.append(upload)
        await asyncio.sleep(0.05)
        assert (await bench.predict(bytes(2_500_000)))[:2] == (200, ANSWER)
        for upload in uploads:
            if length.startswith(b"T"):
                body = FORM % (b"f.jpg", bytes(99_000))
                upload.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            else:
                upload.writer.write(FORM % (b"f.jpg", bytes(3_000_000 - len(FORM % (b"f.jpg", b"")))))
            assert (await upload.reply())[:2] == (200, ANSWER)


async def test_what_arrives_is_bounded_over_all_uploads(bench: Bench, buffer: FilmBuffer) -> None:
    """The 8 MB of `buffer` hold two of these films, and not a third."""
    body = FORM % (b"f.jpg", bytes(2_999_000))
    async with AsyncExitStack() as stack:
        uploads = []
        for _ in range(3):
            upload = await stack.enter_async_context(wire(bench))
            upload.writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-10])
            uploads.append(upload)
        replies = [asyncio.create_task(upload.reply()) for upload in uploads]
        done, _ = await asyncio.wait(replies, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [await reply for reply in done]
        assert (refused.status, error(refused.body)["code"]) == (503, "saturated")
        assert "retry-after" in refused.headers
        for upload in uploads:
            upload.writer.write(body[-10:])
        assert sorted([(await reply).status for reply in replies]) == [200, 200, 503]
    assert (await bench.predict())[:2] == (200, ANSWER)
    with buffer.place(8_000_000) as film:
        film.append(bytes(8_000_000))  # all has been given back


async def test_chunked_film_is_screened(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, 300_000, 1000):
            yield form[start : start + 1000]

    form = FORM % (b"f.jpg", bytes(290_000))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await bench.send("POST", "/predict", data=pieces(), headers=headers))[:2] == (200, ANSWER)
    assert bench.torchserve.films == [bytes(290_000)]


async def test_file_name_in_any_encoding_does_not_matter(bench: Bench) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = FORM % ("Größe.jpg".encode("latin-1"), b"film")
    assert (await bench.send("POST", "/predict", data=body, headers=headers))[:2] == (200, ANSWER)


async def test_dicom_body_is_screened(bench: Bench) -> None:
    headers = {"Content-Type": "application/dicom"}
    assert (await bench.send("POST", "/predict", data=b"film", headers=headers))[:2] == (200, ANSWER)
    assert bench.torchserve.films == [b"film"]


async def test_compressed_body_is_refused_saying_so(bench: Bench) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    status, body, answered = await bench.send(
        "POST", "/predict", data=gzip.compress(FORM % (b"f.jpg", b"film")), headers=headers
    )
    assert (status, error(body)["code"]) == (415, "unsupported_encoding")
    assert "compressed" in error(body)["message"]
    assert answered["Accept-Encoding"] == "identity"


async def test_request_without_a_body_is_refused_with_what_it_lacks(bench: Bench) -> None:
    async with wire(bench) as connection:
        connection.writer.write(HEAD + b"\r\n")
        status, body, _ = await connection.reply()
    assert (status, error(body)["code"]) == (422, "missing_file")
    assert "Content-Length" in error(body)["message"]


async def test_slash_at_the_end_changes_nothing(bench: Bench) -> None:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"film"), filename="film.jpeg")
    status, body, _ = await bench.send("POST", "/predict/", data=form, allow_redirects=False)
    assert (status, body) == (200, ANSWER)
    assert (await bench.send("GET", "/health/", allow_redirects=False)).status == 200


async def test_page_is_at_the_root(bench: Bench) -> None:
    status, body, headers = await bench.send("GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (await bench.send("GET", "/", headers={"If-None-Match": headers["ETag"]})).status == 304
    for module in re.findall(r'(?:src|href)="(page/[^"]+)"', body.decode()):
        assert (await bench.send("GET", f"/{module}")).status == 200


@pytest.mark.parametrize("path", ["//", "/nowhere/", "/docs//", "//elsewhere.example/predict/"])
async def test_nothing_is_redirected(bench: Bench, path: str) -> None:
    async with wire(bench) as connection:
        connection.writer.write(b"GET %b HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n" % path.encode())
        assert (await connection.reply()).status == 404


@pytest.mark.parametrize(("workers", "expected"), [("READY", 200), ("UNLOADING", 503)])
async def test_head_of_health_is_answered_like_get(bench: Bench, workers: str, expected: int) -> None:
    bench.torchserve.description = [{"workers": [{"status": workers}]}]
    head, got = await bench.send("HEAD", "/health"), await bench.send("GET", "/health")
    assert (head.status, got.status, head.body) == (expected, expected, b"")
    assert head.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
async def test_predict_tells_its_one_method(bench: Bench, method: str) -> None:
    status, _, headers = await bench.send(method, "/predict")
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("patience_s", [0.3])
@pytest.mark.usefixtures("patience_s")
async def test_stalled_torchserve_does_not_hang_a_film(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    status, body, headers = await bench.predict()
    assert status == 503
    assert error(body)["code"] == "timeout"
    assert "Retry-After" in headers


async def test_leaving_ready_answers_films_in_flight(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    film = asyncio.create_task(bench.predict())
    while not bench.torchserve.running:
        await asyncio.sleep(0.01)
    bench.readiness.loading()
    status, body, _ = await film
    assert status == 503
    assert "loading" in error(body)["message"]
    status, body, _ = await bench.predict()
    assert (status, error(body)["code"]) == (503, "loading")


@pytest.mark.parametrize("upload_timeout_s", [0.2])
@pytest.mark.usefixtures("upload_timeout_s")
async def test_slow_upload_is_given_up(bench: Bench) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"--edge\r\n"
        await asyncio.sleep(1)

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    status, body, _ = await bench.send("POST", "/predict", data=trickle(), headers=headers)
    assert (status, error(body)["code"]) == (408, "upload_timeout")


async def test_film_over_the_limit_is_refused(bench: Bench) -> None:
    status, body, _ = await bench.predict(b"x" * 3_000_001)
    assert status == 413
    assert "3000000" in error(body)["message"]
    assert not bench.torchserve.films


async def test_body_without_film_is_refused(bench: Bench) -> None:
    status, body, _ = await bench.send("POST", "/predict", data=b"film")
    assert status == 422
    assert "'file'" in error(body)["message"]


async def test_unknown_path_and_wrong_method_are_json(bench: Bench) -> None:
    status, body, _ = await bench.send("GET", "/nowhere")
    assert (status, error(body)["code"]) == (404, "not_found")
    status, body, headers = await bench.send("DELETE", "/predict")
    assert (status, error(body)["code"]) == (405, "method_not_allowed")
    assert headers["Allow"] == "POST"


async def test_fault_of_ours_shows_no_traceback(bench: Bench) -> None:
    async def fault(film: HeldFilm) -> Reply:
        raise RuntimeError(f"secret {film!r}")

    bench.admission.screen = fault  # type: ignore[method-assign]
    status, body, headers = await bench.predict()
    assert (status, error(body)["code"]) == (500, "internal_error")
    assert b"secret" not in body
    assert "X-Request-ID" in headers


async def test_health_is_found_out_by_a_prediction(bench: Bench) -> None:
    assert (await bench.send("GET", "/health"))[:2] == (200, b'{"status":"ok"}')
    assert bench.torchserve.films == [b"reference"]


async def test_health_says_why_not(bench: Bench) -> None:
    bench.torchserve.description = [{"workers": [{"status": "UNLOADING"}]}]
    status, body, headers = await bench.send("GET", "/health")
    assert status == 503
    assert "no worker" in error(body)["message"]
    assert "Retry-After" in headers


@pytest.mark.parametrize("patience_s", [0.3])
@pytest.mark.usefixtures("patience_s")
async def test_health_does_not_wait_for_a_hanging_torchserve(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    assert (await bench.send("GET", "/health"))[0] == 503


async def test_openapi_describes_the_form_and_the_answers(bench: Bench) -> None:
    schema = json.loads((await bench.send("GET", "/openapi.json"))[1])
    predict = schema["paths"]["/predict"]["post"]
    form = predict["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["format"] == "binary"
    assert form["required"] == ["file"]
    assert "DICOM" in form["properties"]["file"]["description"]
    assert predict["requestBody"]["content"]["application/dicom"]["schema"]["format"] == "binary"
    assert {"200", "408", "413", "415", "422", "502", "503"} <= set(predict["responses"])
    answer = schema["components"]["schemas"]["DetailedPrediction"]
    assert set(answer["required"]) == {"prediction", "p_pneumonia", "note"}
    assert set(answer["properties"]) == {"prediction", "p_pneumonia", "note", "detail"}
    assert {one["name"] for one in predict["parameters"]} == {"operating_point", "detail"}
    explain = schema["paths"]["/explain"]["post"]
    assert {one["name"] for one in explain["parameters"]} == {"operating_point", "detail", "opacity"}
    assert "image/png" in explain["responses"]["200"]["content"]
    assert list(schema["paths"]["/model/card"]["get"]["responses"]["200"]["content"]) == ["text/markdown"]
    for path in ("/model", "/model/card", "/metrics", "/predict", "/explain", "/predict/batch"):
        (described,) = schema["paths"][path].values()
        assert "401" in described["responses"], path


async def test_openapi_has_examples_of_every_answer_that_fit_their_schemas(bench: Bench) -> None:
    schema = json.loads((await bench.send("GET", "/openapi.json"))[1])
    answers = [
        (f"{path} {status} {media_type}", content)
        for path, methods in schema["paths"].items()
        for described in methods.values()
        for status, response in described["responses"].items()
        for media_type, content in response["content"].items()
        if media_type != "image/png"
    ]
    assert len(answers) > 60
    for name, content in answers:
        examples = [one["value"] for one in content["examples"].values()] if "examples" in content else []
        examples += [content["example"]] if "example" in content else []
        assert examples, name
        for example in examples:
            if content["schema"].get("type") != "string":
                assert fits(content["schema"]["$ref"].rpartition("/")[2], example), name


def test_keys_that_are_not_described_do_not_fit() -> None:
    assert fits("Health", {"status": "ok"})
    assert not fits("Health", {"status": "ok", "since": 1})


async def test_model_fits_what_openapi_says(bench: Bench) -> None:
    for path in ("/model", "/model?prevalence=0.1", "/model?prevalence=0"):
        assert fits("Model", json.loads((await bench.send("GET", path)).body))


async def test_model_is_described(bench: Bench) -> None:
    found = json.loads((await bench.send("GET", "/model")).body)
    assert (found["version"], found["served_operating_point"]) == ("0.0.0-test", "rule_out")
    assert found["sha256"]["archive"] == "5" * 64
    assert found["official_test"]["roc_auc"] == 0.99
    assert [one["version"] for one in found["official_test_of_other_versions"]] == ["0.0.0"]
    assert found["operating_points"][0]["sensitivity"] == {"value": 0.9, "low": 0.8, "high": 1.0}
    assert "ppv" not in found["operating_points"][0]


async def test_model_says_what_answers_are_worth_at_a_prevalence(bench: Bench) -> None:
    found = json.loads((await bench.send("GET", "/model?prevalence=0.1")).body)
    point = found["operating_points"][0]  # sensitivity and specificity are 0.9 [0.8, 1.0]
    assert point["ppv"] == {"value": 0.5, "low": round(0.08 / 0.26, 6), "high": 1.0}
    assert point["npv"]["value"] == round(0.81 / 0.82, 6)
    nobody = json.loads((await bench.send("GET", "/model?prevalence=0")).body)["operating_points"][0]
    assert (nobody["ppv"]["high"], nobody["npv"]["value"]) == (None, 1.0)


@pytest.mark.parametrize("value", ["2", "-0.1", "much", ""])
async def test_prevalence_that_is_no_share_is_refused(bench: Bench, value: str) -> None:
    reply = await bench.send("GET", f"/model?prevalence={value}")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (422, "invalid_parameter")
    assert "prevalence" in json.loads(reply.body)["error"]["message"]


async def test_model_card_is_served(bench: Bench) -> None:
    reply = await bench.send("GET", "/model/card")
    assert (reply.body, reply.headers["Content-Type"]) == (b"# Card", "text/markdown; charset=utf-8")


async def test_documentation_page_needs_no_other_host(bench: Bench) -> None:
    status, page = (await bench.send("GET", "/docs"))[:2]
    assert status == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert {asset.rsplit(".", 1)[1] for asset in assets} == {"css", "js", "png"}
    for asset in assets:
        assert asset.startswith("/")
        assert (await bench.send("GET", asset))[0] == 200


async def test_workers_are_counted_and_scaled(bench: Bench) -> None:
    assert await bench.client.management.ready_workers() == 1
    await bench.client.management.scale(3)
    assert bench.torchserve.scaled == [{"min_worker": "3", "max_worker": "3"}]


@pytest.mark.parametrize("description", [{}, [], [{}], [{"workers": [{}]}], [{"workers": 3}], 5])
async def test_strange_description_is_an_error(bench: Bench, description: object) -> None:
    bench.torchserve.description = description
    with pytest.raises(ProxyError, match="describes"):
        await bench.client.management.ready_workers()


async def samples(bench: Bench) -> dict[str, float]:
    """Return the metrics by their names and labels."""
    status, body, _ = await bench.send("GET", "/metrics")
    assert status == 200
    lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_metrics_count_results_and_refusals(bench: Bench) -> None:
    await bench.predict(b"film")
    await bench.predict(b"film")
    await bench.send("POST", "/predict", data=b"", headers={"Content-Type": "text/plain"})
    found = await samples(bench)
    assert found['screening_answers_total{status="200"}'] == 2
    assert found['screening_answers_total{status="422"}'] == 1
    assert found['screening_predictions_total{prediction="PNEUMONIA"}'] == 2
    assert found['screening_p_pneumonia_bucket{le="0.9"}'] == 2
    assert found["screening_seconds_count"] == 2
    assert found["screening_ready"] == 1
    assert found["screening_films_waiting"] == found["screening_held_bytes"] == 0
    assert found['screening_state_changes_total{state="ready"}'] == 1
    assert found["ts_queue_latency"] == 1


async def test_metrics_say_when_it_is_not_ready(bench: Bench) -> None:
    bench.readiness.failed("it died")
    await bench.torchserve.stop()
    assert (await samples(bench))["screening_ready"] == 0


async def test_liveness_does_not_ask_torchserve(bench: Bench) -> None:
    bench.readiness.failed("it died")
    assert (await bench.send("GET", "/health/live")).status == 200
    assert (await bench.send("GET", "/health/ready")).status == 503


@pytest.mark.parametrize("access_log", [True])
async def test_access_log_has_a_line_a_request(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "proxy.access"):
        await bench.predict(headers={"X-Request-ID": "mine"})
        await bench.send("GET", "/nowhere?secret=1")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "proxy.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/predict", 200),
        ("GET", "/nowhere", 404),
    ]
    assert lines[0]["request_id"] == "mine"
    assert set(lines[0]) == {"time", "request_id", "method", "path", "status", "ms"}


async def test_requests_are_not_logged_unless_asked_for(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "proxy.access"):
        await bench.predict()
    assert not [record for record in caplog.records if record.name == "proxy.access"]


async def test_film_with_a_slash_behind_its_path_is_counted_and_guarded_alike(bench: Bench) -> None:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"film"), filename="film.jpeg")
    assert (await bench.send("POST", "/predict/", data=form)).status == 200
    assert (await samples(bench))['screening_answers_total{status="200"}'] == 1


async def test_service_that_stops_serves_on_and_sends_no_new_clients(bench: Bench) -> None:
    bench.releases.stopping = True
    status, body, _ = await bench.send("GET", "/health")
    assert (status, error(body)["code"]) == (503, "stopping")
    status, _, headers = await bench.predict()
    assert (status, headers["Connection"]) == (200, "close")


async def test_answers_are_not_kept_or_guessed_at(bench: Bench) -> None:
    _, _, headers = await bench.predict()
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


async def test_result_names_the_version_that_gave_it(bench: Bench) -> None:
    _, _, headers = await bench.predict()
    assert headers["X-Model-Version"] == "0.0.0-test"


async def test_error_names_no_version(bench: Bench) -> None:
    bench.readiness.failed("it died")
    _, _, headers = await bench.predict()
    assert "X-Model-Version" not in headers


async def test_release_is_chosen_when_the_film_has_come(bench: Bench) -> None:
    """A film that is still on its way when its release ends is screened by the next."""
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nfi'
        begun.set()
        await asyncio.sleep(0.1)
        yield b"lm\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    film = asyncio.create_task(bench.send("POST", "/predict", data=pieces(), headers=headers))
    await begun.wait()
    with mock.patch.object(bench.releases, "choose", wraps=bench.releases.choose) as choose:
        assert (await film).status == 200
    choose.assert_called_once()


async def test_film_of_a_client_that_left_is_not_screened(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    busy = [asyncio.create_task(bench.predict(b"%d" % number)) for number in range(2)]
    while bench.torchserve.running < 2:
        await asyncio.sleep(0.01)
    impatient = asyncio.create_task(bench.predict(b"left"))
    while not bench.admission.waiting:
        await asyncio.sleep(0.01)
    impatient.cancel()
    while bench.admission.waiting:
        await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    assert [(await film).status for film in busy] == [200, 200]
    assert b"left" not in bench.torchserve.films


@pytest.mark.parametrize("name", ["alerts.yaml", "grafana-dashboard.json"])
async def test_every_metric_of_the_dashboard_and_the_alerts_is_there(bench: Bench, name: str) -> None:
    await bench.predict()
    there = {sample.partition("{")[0] for sample in await samples(bench)}
    wanted = set(re.findall(r"\bscreening_\w+", (ROOT / "deploy" / name).read_text()))
    assert wanted
    assert wanted <= there
