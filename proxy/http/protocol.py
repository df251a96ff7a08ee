"""Uvicorn's HTTP protocol, with six edges of ours."""

import asyncio
import math
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.errors import error_body

MAX_HEAD_BYTES = 65_536
"""The request line and all header fields of a request; more is 431. Tokens of the longest kind take a few thousand."""

MAX_DISCARDED_BYTES = 200_000_000
"""Read and thrown away after a refusal, so that clients that send all before they listen get to the answer."""


HEAD_TIMEOUT_S = 10.0
"""From the connection, or the first byte of a further request, to the end of the request's head."""

DISCARD_TIMEOUT_S = 60.0
"""How long the rest of a refused body may take to arrive."""

LEFT_PROBES_S = (0.25, 0.35)
"""When a client that has closed its side is sent an interim answer: after the time in which most are answered."""

LINGER_S = 2.0
"""After a refusal the connection is read this long at most: closed at once, it would be reset under a client that still
sends, before it sees why."""


class HttpProtocol(HttpToolsProtocol):
    """Differs from uvicorn's in what clients in the field need.

    - Malformed HTTP is answered in the shared JSON shape.
    - A head without end, or one that takes long, is refused: the parser would collect it, ever more slowly, and let all
      others wait. A connection over which no request comes is closed.
    - A refused body is not read without end.
    - An offer to change the protocol is ignored, and the request's body is read: Java's HttpClient and `curl --http2`
      offer HTTP/2 with their first request, film and all (RFC 9110, section 7.8).
    - A client that closes its side of the connection after its request gets its answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._discarded_bytes = 0
        self._head_bytes: float = 0
        """What has arrived of a head that is not complete."""
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None
        """Of a head that is not complete, or of a refused body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._met_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self._parse(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            message = f"the request's line and header fields are over the limit of {MAX_HEAD_BYTES} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", message)
        elif self._head_bytes > 0 and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def _parse(self, data: memoryview) -> None:
        """Parse what arrived, and anew, without its offer, each request that offers another protocol.

        llhttp takes what follows such a head for the other protocol, and has no setting against it.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as exc:
                data = data[exc.args[0] :]
                self.parser.feed_data(self._head_without_offer())
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is to be parsed anew."""
        self._head_bytes = -math.inf  # what follows is a body
        self._met_deadline()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy to elsewhere")  # a 400; it would be an upgrade however often parsed

    def on_message_complete(self) -> None:
        """End a request, unless it is to be parsed anew."""
        self._head_bytes = 0
        self._met_deadline()
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's may, uvicorn's never does
        """Keep the connection of a client that has closed its side after a whole request, until it is answered.

        One that has left altogether looks the same, until something is sent to it: its system then resets the
        connection, which is noticed at the next write. An interim answer does no harm (RFC 9110, section 15.2).
        """
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        if self.scope["http_version"] == "1.1":
            for delay_s in LEFT_PROBES_S:
                self.loop.call_later(delay_s, self._ask_whether_left, self.cycle)
        return True

    def _ask_whether_left(self, cycle: RequestResponseCycle) -> None:
        if not cycle.response_started and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the request's body."""
        super().on_body(body)
        if self.cycle.response_complete:
            if self._deadline is None:
                self._deadline = self.loop.call_later(DISCARD_TIMEOUT_S, self.transport.close)
            self._discard(len(body))

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and hang up."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        body = error_body(code, message)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._refused = True
        self._met_deadline()
        if self.cycle is not None:  # an earlier request of this connection: its answer would be taken for this one
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():  # TLS cannot
            with suppress(OSError):  # it has left
                self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.transport.close()

    def _give_up_head(self) -> None:
        if self._head_bytes > 0:
            message = f"the request's line and header fields did not arrive within {HEAD_TIMEOUT_S:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "header_timeout", message)
        else:
            self.transport.close()

    def _met_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
