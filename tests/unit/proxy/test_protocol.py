import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import uvicorn
from aiohttp.test_utils import unused_port
from starlette.types import Receive, Scope, Send

from proxy import protocol
from proxy.protocol import HttpProtocol


async def refuse_unread(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    port = unused_port()
    server = uvicorn.Server(
        uvicorn.Config(refuse_unread, port=port, http=HttpProtocol, lifespan="off", log_config=None)
    )
    server.capture_signals = pytest.MonkeyPatch.context  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    server.should_exit = True
    await serving


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
