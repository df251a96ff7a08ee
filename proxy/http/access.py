"""Who may use the service, and how much: API keys and a rate limit, both optional, as plain ASGI."""

import ipaddress
import math
import time
from functools import partial
from typing import NoReturn

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.errors import RateLimitError, RequestError, UnauthorisedError
from proxy.http import page
from proxy.http.answer import send_error
from proxy.http.predict import FILM_PATHS
from proxy.keys import Keys

OPEN = frozenset({"/health", "/health/live", "/health/ready", *page.FILES})
"""Paths that need no key: those who watch the service have none, and the page asks for one."""

BATCH = ("POST", "/predict/batch")
SPEND = "proxy.spend"
"""Of the scope of a request with several films: counts one of them; awaitable, raises a RateLimitError."""

BEARER = b"bearer "


def network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 that an IPv6 address is one of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address  # noqa: PLR2004


class Access:
    """Refuses requests without a key, and films beyond the rate limit of a key, or of an address without keys."""

    def __init__(self, app: ASGIApp, *, keys: Keys | None, rate_limit: RateLimitItem | None) -> None:
        self._app = app
        self._keys = keys
        self._rate_limit = rate_limit
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or refuse."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                client = self._client(scope)
                if scope["method"] == "POST" and scope["path"] in FILM_PATHS:
                    await self._spend(client)
                elif (scope["method"], scope["path"]) == BATCH:
                    await self._require_some(client)
                    scope = {**scope, SPEND: partial(self._spend, client)}
            except RequestError as exc:
                await send_error(send, exc)
                return
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> str:
        """Return whose rate limit counts: the key's name, or the address."""
        if self._keys is None:
            return network(scope["client"][0]) if scope.get("client") else ""
        headers = dict(scope["headers"])
        authorisation = headers.get(b"authorization", b"")
        is_bearer = authorisation[: len(BEARER)].lower() == BEARER
        key = authorisation[len(BEARER) :].strip() if is_bearer else headers.get(b"x-api-key", b"")
        owner = self._keys.owner(key) if key else None
        if owner is None:
            raise UnauthorisedError
        return owner

    async def _spend(self, client: str) -> None:
        """Count a film."""
        if self._rate_limit is not None and not await self._limiter.hit(self._rate_limit, client):
            await self._refuse(self._rate_limit, client)

    async def _require_some(self, client: str) -> None:
        """Refuse films, before they are read, of which none would be screened."""
        if self._rate_limit is not None and not await self._limiter.test(self._rate_limit, client):
            await self._refuse(self._rate_limit, client)

    async def _refuse(self, rate_limit: RateLimitItem, client: str) -> NoReturn:
        reset_at = (await self._limiter.get_window_stats(rate_limit, client)).reset_time
        raise RateLimitError(str(rate_limit), retry_after_s=max(1, math.ceil(reset_at - time.time())))
