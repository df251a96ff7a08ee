import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from aiohttp.test_utils import unused_port
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.http import cut_off, protocol
from proxy.http.cut_off import CutOff
from proxy.http.protocol import MAX_HEAD_BYTES, HttpProtocol


async def refuse_unread(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the method, the target and the body."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    result = [scope["method"].encode(), target, dict(scope["headers"]).get(b"x-name", b"-")]
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        result.append(message.get("body", b""))
        more = message.get("more_body", False)
    await asyncio.sleep(0.02)  # so that what follows the request is there before its answer
    body = b" ".join([*result[:3], b"".join(result[3:])])
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """The port of a server that runs the application, with options of the protocol."""
    port = unused_port()
    http: Any = partial(HttpProtocol, **options)
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=http, ws="none", lifespan="off", log_config=None))
    server.capture_signals = pytest.MonkeyPatch.context  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def connect(app: ASGIApp) -> AsyncIterator[Connection]:
    """A connection to a server that runs the application."""
    async with served(app) as port, connection_to(port) as connection:
        yield connection


@asynccontextmanager
async def connection_to(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with connect(refuse_unread) as connection:
        yield connection


@pytest.fixture
async def telling() -> AsyncIterator[Connection]:
    async with connect(tell) as connection:
        yield connection


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    return await reader.readexactly(int(length.split(b":")[1]))


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
LENGTH = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Name: n\r\n%bContent-Length: 4\r\n\r\nfilm"
CHUNKED = (
    b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Name: n\r\nTransfer-Encoding: chunked\r\n%b\r\n"
    b"2\r\nfi\r\n2\r\nlm\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 40, 10_000], ids=["bytes", "pieces", "whole"])
@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("request_with", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_offer_of_another_protocol_is_ignored(
    telling: Connection, request_with: bytes, offer: bytes, step: int
) -> None:
    reader, writer = telling
    request = request_with % offer
    for _ in range(2):  # the connection lives on
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await asyncio.sleep(0)
        assert await answer(reader) == b"POST /a?b=c n film"


async def test_offer_without_a_body_is_ignored(telling: Connection) -> None:
    reader, writer = telling
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"\r\n")
    assert await answer(reader) == b"GET /health - "


async def test_offers_one_after_the_other_are_ignored(telling: Connection) -> None:
    reader, writer = telling
    writer.write(LENGTH % b"" + LENGTH % H2C + CHUNKED % H2C + LENGTH % WEBSOCKET + LENGTH % b"")
    for _ in range(5):
        assert await answer(reader) == b"POST /a?b=c n film"


async def test_offer_leaves_the_body_as_it_is(telling: Connection) -> None:
    """A body that looks like a request is none."""
    reader, writer = telling
    body = LENGTH % H2C
    writer.write(b"POST / HTTP/1.1\r\n" + H2C + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert await answer(reader) == b"POST / - " + body


async def test_expectation_beside_an_offer_is_met(telling: Connection) -> None:
    reader, writer = telling
    head, _, body = (LENGTH % (H2C + b"Expect: 100-continue\r\n")).partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert await answer(reader) == b"POST /a?b=c n film"


@pytest.mark.parametrize("offer", [b"", H2C], ids=["plain", "h2c"])
async def test_tunnel_is_refused(telling: Connection, offer: bytes) -> None:
    reader, writer = telling
    writer.write(b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def exchange_with_half_closed(count: int) -> list[bytes]:
    async with connect(tell) as (reader, writer):
        writer.write(LENGTH % b"" * count)
        writer.write_eof()
        answers = [await answer(reader) for _ in range(count)]
        assert await reader.read() == b""
        return answers


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("count", [1, 3])
def test_client_that_closes_its_side_gets_its_answers(loop: "type[asyncio.AbstractEventLoop]", count: int) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(exchange_with_half_closed(count)) == [b"POST /a?b=c n film"] * count


@pytest.mark.parametrize("sent", [b"", b"POST / HT", (LENGTH % b"")[:-1], LENGTH % b""])
async def test_client_that_closes_its_side_and_awaits_nothing_is_left(telling: Connection, sent: bytes) -> None:
    reader, writer = telling
    writer.write(sent)
    if sent == LENGTH % b"":
        await answer(reader)
    writer.write_eof()
    assert await reader.read() == b""


async def test_malformed_http_is_answered_in_the_shared_shape(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"what is this\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body)["error"]["code"] == "bad_request"


async def send_body(connection: Connection, size: int) -> bytes:
    reader, writer = connection
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"x" * size)
    await writer.drain()
    return answer


async def test_refused_body_is_read_and_the_connection_lives_on(connection: Connection) -> None:
    assert b" 413 " in await send_body(connection, 1_000_000)
    assert b" 413 " in await send_body(connection, 1_000_000)


async def test_refused_body_is_not_read_without_end(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_DISCARDED_BYTES", 1000)
    await send_body(connection, 100_000)
    with suppress(ConnectionError):
        assert await connection[0].read() == b""


@pytest.mark.parametrize(
    "piece",
    [b"X-Field: " + b"x" * 1000, b"x" * 1000 + b": y\r\n", b"\r\n" * 500],
    ids=["one field", "many fields", "blank lines"],
)
async def test_head_without_end_is_refused(connection: Connection, piece: bytes) -> None:
    reader, writer = connection
    if piece.strip():
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    with suppress(ConnectionError):
        for _ in range(MAX_HEAD_BYTES // len(piece) + 100):
            writer.write(piece)
            await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(await reader.read())["error"]["code"] == "header_too_large"


async def test_heads_of_many_requests_do_not_add_up(telling: Connection) -> None:
    reader, writer = telling
    for _ in range(5):
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * (MAX_HEAD_BYTES // 3) + b"\r\n\r\n")
        assert (await answer(reader)).startswith(b"GET /a")


async def test_body_is_no_head_however_it_is_cut(telling: Connection) -> None:
    reader, writer = telling
    for _ in range(3):
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + b"x" * 300_000)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"x" * 100_000)
        assert len(await answer(reader)) > 400_000


async def test_head_that_takes_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    async with connect(refuse_unread) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(await reader.read())["error"]["code"] == "header_timeout"


async def test_head_of_a_further_request_may_not_take_long_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.5)
    async with connect(tell) as (reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await answer(reader)
        writer.write(b"GET /b HTTP/1.1\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")


async def test_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    async with connect(refuse_unread) as (reader, _):
        assert await reader.read() == b""


async def test_slow_body_is_no_slow_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    async with connect(tell) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
        await asyncio.sleep(0.4)
        writer.write(b"y")
        assert (await answer(reader)).endswith(b"xy")


async def test_refused_body_that_takes_long_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "DISCARD_TIMEOUT_S", 0.2)
    async with connect(refuse_unread) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(50):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        assert writer.transport.is_closing() or reader.at_eof()


@pytest.mark.parametrize("piece", [b"X-Trailer: " + b"x" * 1000 + b"\r\n", b"X: " + b"x" * 2000])
@pytest.mark.parametrize("app", [refuse_unread, tell])
async def test_trailers_without_end_are_refused(app: ASGIApp, piece: bytes) -> None:
    async with connect(app) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        with suppress(ConnectionError):
            for _ in range(2 * MAX_HEAD_BYTES // len(piece)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
        assert writer.transport.is_closing() or reader.at_eof()


async def test_chunk_extension_without_end_is_refused(telling: Connection) -> None:
    reader, writer = telling
    writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    with suppress(ConnectionError):
        for _ in range(1000):  # more than one read of the server's, whose beginning may not be counted
            writer.write(b"x" * 1000)
            await writer.drain()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431 ")


async def test_trailer_is_no_header_field(telling: Connection) -> None:
    reader, writer = telling
    writer.write(
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Name: forged\r\n\r\n"
    )
    assert await answer(reader) == b"POST /a - x"


async def test_body_in_many_small_chunks_is_read(telling: Connection) -> None:
    reader, writer = telling
    count = 20_000
    writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count)
    writer.write(b"0\r\n\r\n")
    assert (await answer(reader)).endswith(b"x" * count)


async def test_requests_far_ahead_of_their_answers_are_refused(telling: Connection) -> None:
    reader, writer = telling
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert b"HTTP/1.1 400 " in await reader.read()


async def test_garbage_behind_a_request_is_refused_without_a_traceback(
    telling: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = telling
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"\x00garbage\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    await asyncio.sleep(0.05)
    assert "Traceback" not in caplog.text


async def test_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_S", 0.2)
    ended = asyncio.Event()

    async def pour(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(2000):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        finally:
            ended.set()

    async with connect(pour) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await ended.wait()


WHOLE = LENGTH % b""
UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegun"


@pytest.mark.parametrize("crowd", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", UPLOAD], ids=["idle", "heads", "uploads"])
async def test_silent_connections_give_way_where_there_are_too_many(
    crowd: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "SILENT_S", 0.05)
    monkeypatch.setattr(cut_off, "FIRST_S", 0.05)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tell, cut_off=CutOff(), most_connections=5))
        reader, writer = await stack.enter_async_context(connection_to(port))
        for _ in range(6):
            silent = await stack.enter_async_context(connection_to(port))
            silent[1].write(crowd)
        await asyncio.sleep(0.1)
        for _ in range(4):  # each needs one more
            newest = await stack.enter_async_context(connection_to(port))
            newest[1].write(WHOLE)
            assert await answer(newest[0]) == b"POST /a?b=c n film"
        await asyncio.sleep(0.1)
    del reader, writer
    assert "more connections than the limit of open files allows" in caplog.text


async def test_connection_that_has_been_used_outlives_those_that_never_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SILENT_S", 0.05)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tell, most_connections=5))
        reader, writer = await stack.enter_async_context(connection_to(port))
        writer.write(WHOLE)
        await answer(reader)
        for _ in range(8):
            await stack.enter_async_context(connection_to(port))
            await asyncio.sleep(0.06)
        writer.write(WHOLE)
        assert await answer(reader) == b"POST /a?b=c n film"


async def test_burst_of_connections_without_a_word_shuts_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SILENT_S", 60)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tell, most_connections=20))
        for _ in range(40):
            await stack.enter_async_context(connection_to(port))
        reader, writer = await stack.enter_async_context(connection_to(port))
        writer.write(WHOLE)
        assert await answer(reader) == b"POST /a?b=c n film"


async def test_where_all_are_busy_the_newcomer_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SILENT_S", 60)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tell, most_connections=1))
        first = await stack.enter_async_context(connection_to(port))
        first[1].write(WHOLE[:-1])
        await asyncio.sleep(0.05)
        second = await stack.enter_async_context(connection_to(port))
        assert await second[0].read() == b""
        first[1].write(WHOLE[-1:])
        assert await answer(first[0]) == b"POST /a?b=c n film"


async def test_cut_off_connections_are_logged_together_and_rarely(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    monkeypatch.setattr(cut_off, "FIRST_S", 0.2)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tell, cut_off=CutOff()))
        for _ in range(3):
            await stack.enter_async_context(connection_to(port))
        slow = await stack.enter_async_context(connection_to(port))
        slow[1].write(b"GET / HTTP/1.1\r\n")
        nonsense = await stack.enter_async_context(connection_to(port))
        nonsense[1].write(b"nonsense\r\n\r\n")
        await asyncio.sleep(0.4)
        await stack.enter_async_context(connection_to(port))
        await asyncio.sleep(0.4)
    lines = [record.getMessage() for record in caplog.records if record.name == cut_off.__name__]
    assert lines == ["connections refused or cut off: 3 (no request in time), 1 (bad_request), 1 (header_timeout)"]


async def test_upload_that_is_refused_before_it_has_come_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cut_off, "FIRST_S", 0.1)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(refuse_unread, cut_off=CutOff()))
        for request in (UPLOAD, UPLOAD, LENGTH % b""):
            reader, writer = await stack.enter_async_context(connection_to(port))
            writer.write(request)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        await asyncio.sleep(0.2)
    assert "refused or cut off: 2 (refused before the body had come)" in caplog.text
