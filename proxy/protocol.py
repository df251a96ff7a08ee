"""Uvicorn's HTTP protocol, with two edges of ours."""

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.errors import error_body

MAX_DISCARDED_BYTES = 200_000_000
"""Read and thrown away after a refusal, so that clients that send all before they listen get to the answer."""


class HttpProtocol(HttpToolsProtocol):
    """Answers malformed HTTP in the shared JSON shape, and does not read a refused body without end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._discarded_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Takes a piece of the request's body."""
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is not HTTP, and hangs up."""
        body = error_body("bad_request", msg)
        status = HTTPStatus.BAD_REQUEST
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
