"""HTTP to one port of TorchServe, over connections that are kept open.

No more of HTTP than TorchServe speaks on loopback: a client for everything takes longer, docs/architecture.md says by
how much.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

Reply = tuple[int, bytes]
"""Status and body."""


class Upstream:
    """A pool of connections; as many as there are requests at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[_Connection] = deque()

    def close(self) -> None:
        """Closes what is open."""
        while self._idle:
            self._idle.pop().close()

    async def request(self, method: str, path: str, headers: bytes, body: bytes = b"") -> Reply:
        """Sends one request and waits for its answer; the callers bound the time.

        Args:
            method: GET, POST or PUT.
            path: With its query.
            headers: Whole lines, each with its line break.
            body: The content.

        Raises:
            ConnectionError: There is no connection to be had, or it broke before the answer was whole. The request is
                not tried again.
        """
        connection = await self._connection()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n".encode()
        try:
            reply = await connection.exchange(b"%b%b\r\n%b" % (head, headers, body))
        except BaseException:
            connection.close()  # an answer still to come would be taken for the next request's
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    async def _connection(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()  # the latest: the others grow idle and are closed
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        except OSError as exc:
            raise ConnectionRefusedError(f"nobody answers on port {self._port}") from exc
        return connection


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, its answer put together from httptools' callbacks."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._reply: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self.reusable = True

    async def exchange(self, request: bytes) -> Reply:
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._pieces = []
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._break(exc)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        self._break(exc)

    # httptools' callbacks

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((self._parser.get_status_code(), b"".join(self._pieces)))

    def _break(self, cause: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            broken = ConnectionResetError("the connection broke")
            broken.__cause__ = cause
            self._reply.set_exception(broken)
