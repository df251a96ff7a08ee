"""A whole answer, JSON by default, written straight to ASGI."""

from collections.abc import Mapping

from starlette.types import Send

from proxy.errors import RequestError, error_body

JSON = "application/json"


async def send_whole(
    send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, content_type: str = JSON
) -> None:
    """Send a whole answer."""
    lines = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    lines += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: RequestError) -> None:
    """Send an error as its answer.

    The rest of a refused body is left unread, and the connection open: clients that listen while they send (curl) stop,
    others get to the answer because uvicorn reads on and throws away. Closing would reset the connection under the
    client before it sees why.
    """
    await send_whole(send, error.status, error_body(error.code, error.message), error.headers)
