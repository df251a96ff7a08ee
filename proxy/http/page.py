"""The page at `/` and its files under `/page/`, held in memory, as plain ASGI around what answers all else."""

import hashlib
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER = Path(__file__).parents[1] / "page"

INDEX: Final = ""
"""Path of the page itself: the slash at the end of a path is taken off before it is looked at."""

TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing of another host, nothing inline; pictures may also be of films that the user chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """Those that go with the content and with "not modified" alike."""
    etag: bytes
    content_type: bytes

    @classmethod
    def of(cls, path: Path) -> "_File":
        content = path.read_bytes()
        etag = b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()
        headers = (
            (b"etag", etag),
            (
                b"cache-control",
                b"no-cache",
            ),  # kept, and asked for again: never a page of one version with files of another
            (b"content-security-policy", POLICY.encode()),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        )
        return cls(content=content, headers=headers, etag=etag, content_type=TYPES[path.suffix])


FILES: Final = {
    INDEX if path.name == "index.html" else f"/page/{path.name}": _File.of(path)
    for path in sorted(FOLDER.iterdir())
    if path.suffix in TYPES
}
"""By path."""


class Page:
    """Answers for the page's files; anything else is the application's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file, or run the application."""
        file = FILES.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or scope["method"] not in (HTTPMethod.GET, HTTPMethod.HEAD):
            await self._app(scope, receive, send)
            return
        headers = list(file.headers)
        known = dict(scope["headers"]).get(b"if-none-match", b"")
        status = HTTPStatus.NOT_MODIFIED if file.etag in known else HTTPStatus.OK
        if status == HTTPStatus.OK:
            headers += [(b"content-type", file.content_type), (b"content-length", b"%d" % len(file.content))]
        sends_content = status == HTTPStatus.OK and scope["method"] == HTTPMethod.GET
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": file.content if sends_content else b""})
