import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy.http.server import Server
from proxy.settings import Settings


async def seen_client(environ: dict[str, str], peer: str, forwarded: str) -> str:
    """Return the client's address as the application behind the server sees it."""
    seen = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["client"][0])

    async def receive() -> Message:
        raise NotImplementedError

    async def send(_message: Message) -> None:
        raise NotImplementedError

    server = Server(app, Settings.from_environ(environ))
    server.config.load()
    scope = {"type": "http", "client": (peer, 9), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    await server.config.loaded_app(scope, receive, send)
    return str(seen[0])


@pytest.mark.parametrize(
    ("environ", "peer", "forwarded", "client"),
    [
        ({}, "127.0.0.1", "192.0.2.7", "127.0.0.1"),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, "127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ({"TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8"}, "10.1.2.3", "192.0.2.7", "192.0.2.7"),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, "192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, "127.0.0.1", "198.51.100.1, 192.0.2.7", "192.0.2.7"),
    ],
    ids=["nobody is trusted", "a proxy", "a network", "somebody else", "what its client forged"],
)
async def test_forwarded_address_is_believed_of_trusted_proxies_only(
    environ: dict[str, str], peer: str, forwarded: str, client: str
) -> None:
    assert await seen_client(environ, peer, forwarded) == client
