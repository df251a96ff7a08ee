import asyncio
import logging

import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy.http.request_id import RequestId, add_request_id


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b""})


async def ids(request_headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await RequestId(answer)({"type": "http", "headers": request_headers}, receive, send)
    assert (b"a", b"b") in sent[0]["headers"]
    return [value for name, value in sent[0]["headers"] if name == b"x-request-id"]


async def test_sane_id_is_echoed() -> None:
    assert await ids([(b"x-request-id", b"ward-7:42")]) == [b"ward-7:42"]


async def test_id_is_made_where_there_is_none() -> None:
    first, second = await ids([]), await ids([])
    assert first != second
    assert len(first) == len(second) == 1


@pytest.mark.parametrize("value", [b"", b"x" * 65, b"a b", b"a\r\nb: c", b"\xff", b"<script>"])
async def test_other_id_is_replaced(value: bytes) -> None:
    assert await ids([(b"x-request-id", value)]) != [value]


async def test_other_traffic_passes_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        return {}

    async def send(_message: Message) -> None:
        raise AssertionError

    await RequestId(app)({"type": "lifespan"}, receive, send)
    assert seen == [{"type": "lifespan"}]


async def test_log_lines_of_a_request_carry_its_id() -> None:
    record = logging.makeLogRecord({})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        add_request_id(record)
        await answer(scope, receive, send)

    async def receive() -> Message:
        return {}

    async def send(_message: Message) -> None:
        pass

    async def request() -> None:
        await RequestId(app)({"type": "http", "headers": [(b"x-request-id", b"ward-7:42")]}, receive, send)

    await asyncio.create_task(request())  # as uvicorn does, in a context of its own
    assert record.__dict__["request_id"] == "ward-7:42"
    add_request_id(record)
    assert record.__dict__["request_id"] == "-"
