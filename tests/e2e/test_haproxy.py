"""The service behind HAProxy, as `deploy/haproxy.cfg` sets it up."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from bench.haproxy import CONFIG, program, refused
from tests.e2e.service import Service, free_ports, running, wait_for

pytestmark = pytest.mark.skipif(program() is None, reason="HAProxy is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    command = ["openssl", "req", "-x509", *options, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


class Front:
    """HAProxy before a service."""

    def __init__(self, service: Service, certificate: Path) -> None:
        self.service = service
        self.certificate = certificate
        (self.port,) = free_ports(1)
        self.environ = {
            "PUBLIC": f"127.0.0.1:{self.port}",
            "SERVICE": f"127.0.0.1:{service.ports['PORT']}",
            "CERT": str(certificate),
        }

    def session(self, address: str = "127.0.0.1") -> requests.Session:
        """A client with an address of the loopback."""

        class From(HTTPAdapter):
            def init_poolmanager(self, *args: object, **options: object) -> None:
                super().init_poolmanager(*args, source_address=(address, 0), **options)  # type: ignore[arg-type]

        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate.with_suffix(".crt"))
        session.mount("https://", From())
        return session

    def predict(self, address: str, **headers: str) -> requests.Response:
        with self.session(address) as session:
            files = {"file": ("film.jpeg", b"a pneumonia film")}
            return session.post(f"https://localhost:{self.port}/predict", files=files, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def front(stub: dict[str, Path], certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    log = tmp_path_factory.mktemp("haproxy") / "log"
    with running(**stub, TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT="2/minute") as service, log.open("wb") as output:
        front = Front(service, certificate)
        process = subprocess.Popen(
            [program() or "", "-f", str(CONFIG)], env={**os.environ, **front.environ}, stdout=output, stderr=output
        )
        try:

            def up() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", front.port)) == 0

            wait_for(up, 10, "HAProxy")
            yield front
        finally:
            process.terminate()
            process.wait()


def test_configuration_is_valid(front: Front) -> None:
    assert refused(CONFIG, front.environ) == ""
    assert "unable to load certificate" in refused(CONFIG, {**front.environ, "CERT": "/dev/null"})


def test_film_is_screened_through_tls_and_health_is_passed_on(front: Front) -> None:
    answer = front.predict("127.0.0.2")
    assert answer.status_code == 200
    assert answer.json()["prediction"] == "PNEUMONIA"
    assert answer.headers["X-Model-Version"] == "1.0.0"
    assert answer.headers["Strict-Transport-Security"]
    with front.session() as session:
        assert session.get(f"https://localhost:{front.port}/health", timeout=10).status_code == 200
        assert session.get(f"https://localhost:{front.port}/metrics", timeout=10).status_code == 404


def test_service_counts_clients_by_their_own_addresses_whatever_they_say(front: Front) -> None:
    statuses = [front.predict("127.0.0.3", **{"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(3)]
    assert statuses == [200, 200, 429]
    assert front.predict("127.0.0.4").status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_http_2_is_spoken_to_clients(front: Front) -> None:
    command = [
        "curl",
        "-sS",
        "--http2",
        "--cacert",
        str(front.certificate.with_suffix(".crt")),
        "-w",
        "%{http_version}",
    ]
    done = subprocess.run(
        [*command, "-o", "/dev/null", f"https://localhost:{front.port}/health/live"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stdout == "2"


def test_service_that_has_ended_is_503_in_the_shape_of_all_errors(front: Front) -> None:
    front.service.stop()
    answer = front.predict("127.0.0.5")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
