import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from limits import RateLimitItem, parse
from starlette.types import Message, Receive, Scope, Send

from proxy.http.access import Access
from proxy.keys import Keys


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path = tmp_path / "keys"
    path.write_text("".join(f"{name} {hashlib.sha256(name.encode() * 3).hexdigest()}\n" for name in ("a", "b")))
    path.chmod(0o600)
    return Keys(path)


class Client:
    def __init__(self, keys: Keys | None = None, rate_limit: RateLimitItem | None = None) -> None:
        self._app = Access(answer, keys=keys, rate_limit=rate_limit)

    async def send(self, path: str = "/predict", address: str = "1.2.3.4", **headers: str) -> tuple[int, Any, Any]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {}

        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        method = "POST" if path == "/predict" else "GET"
        scope = {"type": "http", "method": method, "path": path, "headers": lines, "client": (address, 9)}
        await self._app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer aaa"}, {"authorization": "bearer aaa"}, {"x_api_key": "bbb"}]
)
async def test_key_lets_in(keys: Keys, headers: dict[str, str]) -> None:
    status, _, _ = await Client(keys).send(**headers)
    assert status == 200


@pytest.mark.parametrize("path", ["/predict", "/metrics", "/docs"])
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer "}, {"authorization": "Basic aaa"}, {"x_api_key": "c"}]
)
async def test_no_key_is_401(keys: Keys, path: str, headers: dict[str, str]) -> None:
    status, fields, body = await Client(keys).send(path, **headers)
    assert (status, fields[b"www-authenticate"], body["error"]["code"]) == (401, b"Bearer", "unauthorised")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "", "/page/app.js"])
async def test_health_and_page_need_no_key(keys: Keys, path: str) -> None:
    status, _, _ = await Client(keys).send(path)
    assert status == 200


async def test_films_over_the_limit_of_an_address_are_429() -> None:
    client = Client(rate_limit=parse("2/minute"))
    statuses = [(await client.send())[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await client.send(address="5.6.7.8"))[0] == 200
    assert (await client.send("/metrics"))[0] == 200
    _, fields, body = await client.send()
    assert body["error"]["code"] == "rate_limited"
    assert 1 <= int(fields[b"retry-after"]) <= 60


async def test_limit_is_of_the_key_where_there_are_keys(keys: Keys) -> None:
    client = Client(keys, parse("1/minute"))
    assert (await client.send(x_api_key="aaa", address="1.1.1.1"))[0] == 200
    assert (await client.send(x_api_key="aaa", address="2.2.2.2"))[0] == 429
    assert (await client.send(x_api_key="bbb", address="1.1.1.1"))[0] == 200


async def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    client = Client(rate_limit=parse("1/minute"))
    assert (await client.send(address="2001:db8::1"))[0] == 200
    assert (await client.send(address="2001:db8::2"))[0] == 429
    assert (await client.send(address="2001:db8:0:1::1"))[0] == 200
