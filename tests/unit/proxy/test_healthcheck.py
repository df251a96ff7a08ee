import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.healthcheck import main


class Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/ready" else 404)
        self.end_headers()
        self.wfile.write(b"it died")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def service(status: int, tls: Path | None = None) -> Iterator[str]:
    """The port of a service with that health."""
    handler = type("Handler", (Health,), {"status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield str(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=screening.example"]
    command = ["openssl", "req", "-x509", *options, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_ready_service_is_healthy(host: str) -> None:
    with service(200) as port:
        assert main({"HOST": host, "PORT": port}) == 0


def test_service_behind_tls_is_asked_by_https(certificate: Path) -> None:
    with service(200, certificate) as port:
        assert main({"PORT": port, "TLS_CERTFILE": str(certificate)}) == 0
        assert main({"PORT": port}) == 1


def test_service_that_is_not_ready_is_not_healthy_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with service(503) as port:
        assert main({"PORT": port}) == 1
    assert "answered 503: it died" in capsys.readouterr().err


def test_service_that_is_not_there_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"PORT": "9"}) == 1
    assert "does not answer" in capsys.readouterr().err


def test_little_is_loaded_for_it() -> None:
    probe = "import sys, proxy.healthcheck; print('asyncio' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False\n"
