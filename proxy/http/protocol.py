"""Uvicorn's HTTP protocol, with edges of ours."""

import asyncio
import heapq
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.errors import error_body
from proxy.http.cut_off import CutOff

MAX_HEAD_BYTES = 65_536
"""The request line and all header fields of a request, or what a body has beside its content; more is 431."""

MAX_DISCARDED_BYTES = 200_000_000
"""Read and thrown away after a refusal, so that clients that send all before they listen get to the answer."""


FRAMING_BYTES = 16
"""What a piece of a chunked body may have beside its content."""

MAX_PIPELINED = 16
"""Requests that a client may send ahead of its answers; each costs some kilobytes."""

WRITE_TIMEOUT_S = 60.0
"""How long a client may leave its answers unread."""

HEAD_TIMEOUT_S = 10.0
"""From the connection, or the first byte of a further request, to the end of the request's head."""

DISCARD_TIMEOUT_S = 60.0
"""How long the rest of a refused body may take to arrive."""

LEFT_PROBES_S = (0.25, 0.35)
"""When a client that has closed its side is sent an interim answer: after the time in which most are answered."""

REFUSED_PAUSE_S = 1.0
"""Before the rest of a refused body is read: clients that try again at once would take the processor from films that
were let in. The answer does not wait."""

SILENT_S = 0.5
"""A connection that has said nothing for so long may be ended for a new one, where there are too many."""

TOO_MANY = "more connections than the limit of open files allows"

LINGER_S = 2.0
"""After a refusal the connection is read this long at most: closed at once, it would be reset under a client that still
sends, before it sees why."""


class HttpProtocol(HttpToolsProtocol):
    """Differs from uvicorn's in what clients in the field need, and in what others must not do.

    - Malformed HTTP is answered in the shared JSON shape.
    - Heads, trailers and chunk extensions without end are refused, as are heads that take long: the parser would
      collect them, ever more slowly, and let all others wait. A connection over which no request comes is closed, and
      one over which requests come without their answers being read.
    - A refused body is not read without end.
    - Where there are more connections than the system lets us have, those end that have been silent longest.
    - An offer to change the protocol is ignored, and the request's body is read: Java's HttpClient and `curl --http2`
      offer HTTP/2 with their first request, film and all (RFC 9110, section 7.8).
    - A client that closes its side of the connection after its request gets its answer.
    """

    def __init__(
        self, *args: Any, cut_off: CutOff | None = None, most_connections: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._cut_off = cut_off or CutOff()
        self._most_connections = most_connections
        self._requests = 0
        """That came over this connection."""
        self._active_at = self.loop.time()
        """When it was opened, or last said something of a request."""
        self._in_body = False
        self._framing_bytes = 0
        """What has arrived of a head, or beside the content of a body."""
        self._discarded_bytes = 0
        self._refused = False
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; further ones may have been parsed."""
        self._deadline: asyncio.TimerHandle | None = None
        """Of a head that is not complete, or of a refused body."""
        self._write_deadline: asyncio.TimerHandle | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)
        if self._most_connections is not None and len(self.connections) > self._most_connections:
            self._make_room(self._most_connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines, and have nothing more answered."""
        self._met_deadline()
        self.resume_writing()
        self._disconnect_requests()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._framing_bytes += len(data)
        try:
            self._parse(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._framing_bytes > MAX_HEAD_BYTES:
            message = f"the request's line and header fields are over the limit of {MAX_HEAD_BYTES} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", message)
        elif self._deadline is None:
            if self._in_body and self.cycle.response_complete:
                self._deadline = self.loop.call_later(DISCARD_TIMEOUT_S, self._close_for, "a refused body without end")
            elif not self._in_body and self._framing_bytes > 0:
                self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

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

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(WRITE_TIMEOUT_S, self._abort_unread)

    def resume_writing(self) -> None:
        """The client has read."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    # Parser

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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; a trailer is dropped."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is to be parsed anew."""
        self._framing_bytes = 0
        self._met_deadline()
        self._requests += 1
        self._active_at = self.loop.time()
        if not self.parser.should_upgrade():
            if len(self.pipeline) >= MAX_PIPELINED:
                raise ValueError("too many requests ahead of their answers")  # a 400
            self._in_body = True
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy to elsewhere")  # a 400; it would be an upgrade however often parsed

    def on_body(self, body: bytes) -> None:
        """Take a piece of the request's body."""
        self._framing_bytes -= len(body) + FRAMING_BYTES
        self._active_at = self.loop.time()
        super().on_body(body)
        if self.cycle.response_complete:
            if not self._discarded_bytes:
                self.transport.pause_reading()
                self.loop.call_later(REFUSED_PAUSE_S, self._resume_reading)
            self._discard(len(body))

    def on_message_complete(self) -> None:
        """End a request, unless it is to be parsed anew."""
        self._in_body = False
        self._framing_bytes = self._discarded_bytes = 0
        self._met_deadline()
        if not self.parser.should_upgrade():
            super().on_message_complete()

    # Answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the next request; note one that was refused before all of it had come."""
        if self._running is not None and self._running.more_body:
            self._cut_off.count("refused before the body had come")
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and hang up."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        """Answer what cannot be parsed on, and read no more than lets the client see why."""
        self._cut_off.count(code)
        body = error_body(code, message)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        begun = self._running is not None and self._running.response_started and not self._running.response_complete
        self._refused = True
        self._met_deadline()
        self._disconnect_requests()  # the answer to one of them would be taken for this one
        if not begun:
            self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():  # TLS cannot
            with suppress(OSError):  # it has left
                self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _disconnect_requests(self) -> None:
        """Have requests that are not answered yet answered to nobody."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _ask_whether_left(self, cycle: RequestResponseCycle) -> None:
        if not cycle.response_started and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES and not self.transport.is_closing():
            self._close_for("a refused body without end")

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _give_up_head(self) -> None:
        if self._framing_bytes > 0:
            message = f"the request's line and header fields did not arrive within {HEAD_TIMEOUT_S:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "header_timeout", message)
        else:
            self._close_for("no request in time")

    def _close_for(self, reason: str) -> None:
        self._cut_off.count(reason)
        self.transport.close()

    def _abort_unread(self) -> None:
        self._cut_off.count("answers left unread")
        self.transport.abort()

    @property
    def _waits_for_client(self) -> bool:
        """Whether a request, or the rest of one, is to come."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    @property
    def _unused(self) -> bool:
        """Whether nothing has come over it."""
        return not self._requests and not self._framing_bytes

    def _make_room(self, most: int) -> None:
        """End those of the connections that have been silent longest, or, where none is, this one.

        Before the system has no file for one more: then nobody could be heard, the workers included. Those over which
        no request has come go first: a client may be about to use the others.
        """
        silent = self.loop.time() - SILENT_S
        others = [
            one
            for one in self.connections
            if isinstance(one, HttpProtocol) and one is not self and not one.transport.is_closing()
        ]
        if len(others) < most:
            return  # enough are about to end
        waiting = [one for one in others if one._waits_for_client and (one._unused or one._active_at < silent)]
        oldest = heapq.nsmallest(1 + most // 20, waiting, key=lambda one: (one._requests > 0, one._active_at))
        for connection in oldest or [self]:
            connection._close_for(TOO_MANY)

    def _met_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
