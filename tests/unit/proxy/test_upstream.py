import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Server:
    """Answers each request with the next of its answers; None hangs up. Remembers requests and connections."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.pause_s = 0.0
        self.writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        assert self.writer is not None
        self.writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                await asyncio.sleep(self.pause_s)
                if answer is None:
                    break
                for piece in (answer[:9], answer[9:]):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Upstream]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    upstream = Upstream(listening.sockets[0].getsockname()[1])
    yield server, upstream
    upstream.close()
    listening.close()
    await asyncio.sleep(0.02)


Pair = tuple[Server, Upstream]


async def test_request_and_answer_are_whole(server: Pair) -> None:
    fake, upstream = server
    body = bytes(range(256)) * 5000
    assert await upstream.request("POST", "/path?a=b", b"X: y\r\n", body) == (200, b"hi")
    head, _, sent = fake.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /path?a=b HTTP/1.1\r\n")
    assert b"X: y" in head.split(b"\r\n")
    assert sent == body


async def test_connection_is_used_again(server: Pair) -> None:
    fake, upstream = server
    for _ in range(3):
        assert await upstream.request("GET", "/", b"") == (200, b"hi")
    assert fake.connections == 1


async def test_requests_at_once_have_connections_of_their_own(server: Pair) -> None:
    fake, upstream = server
    fake.pause_s = 0.02
    await asyncio.gather(*(upstream.request("GET", "/", b"") for _ in range(3)))
    assert fake.connections == 3


async def test_chunked_answer_is_put_together(server: Pair) -> None:
    fake, upstream = server
    fake.answers = [b"HTTP/1.1 202 x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"]
    assert await upstream.request("GET", "/", b"") == (202, b"abc")


async def test_announced_end_of_the_connection_is_heeded(server: Pair) -> None:
    fake, upstream = server
    fake.answers = [b"HTTP/1.1 500 x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"]
    assert await upstream.request("GET", "/", b"") == (500, b"x")
    assert await upstream.request("GET", "/", b"") == (200, b"hi")
    assert fake.connections == 2


async def test_connection_that_was_closed_meanwhile_is_not_used(server: Pair) -> None:
    fake, upstream = server
    fake.answers = [OK, None]
    await upstream.request("GET", "/", b"")
    with pytest.raises(ConnectionError):
        await upstream.request("GET", "/", b"")
    assert await upstream.request("GET", "/", b"") == (200, b"hi")
    assert fake.connections == 2


@pytest.mark.parametrize("answer", [None, b"what is this\r\n\r\n"])
async def test_broken_answer_is_a_broken_connection_and_not_tried_again(server: Pair, answer: bytes | None) -> None:
    fake, upstream = server
    fake.answers = [answer]
    with pytest.raises(ConnectionError):
        await upstream.request("GET", "/", b"")
    assert len(fake.requests) == 1


async def test_answer_that_stops_short_is_a_broken_connection(server: Pair) -> None:
    fake, upstream = server
    fake.answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", None]
    first = asyncio.create_task(upstream.request("GET", "/", b""))
    await asyncio.sleep(0.02)
    fake.close()
    with pytest.raises(ConnectionError):
        await first


async def test_answer_to_a_request_that_was_left_reaches_no_other(server: Pair) -> None:
    fake, upstream = server
    fake.pause_s = 0.05
    fake.answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"]
    left = asyncio.create_task(upstream.request("GET", "/", b""))
    await asyncio.sleep(0.02)
    left.cancel()
    await asyncio.sleep(0)
    fake.pause_s = 0
    assert await upstream.request("GET", "/", b"") == (200, b"hi")
    await asyncio.sleep(0.05)
    assert await upstream.request("GET", "/", b"") == (200, b"hi")


async def test_nobody_there_is_a_connection_error() -> None:
    with pytest.raises(ConnectionError):
        await Upstream(1).request("GET", "/", b"")
