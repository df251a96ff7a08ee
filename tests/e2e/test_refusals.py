"""What the proxy itself refuses, over real sockets; the stub stands in for the model."""

import http.client
import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.service import Service

LIMIT = 20_000_000


def assert_error(response: requests.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    for word in words:
        assert word in error["message"]


def test_film_is_answered(stub_service: Service) -> None:
    response = stub_service.predict(b"a pneumonia film", headers={"X-Request-ID": "abc-1"})
    assert response.status_code == 200
    assert response.json() == {"prediction": "PNEUMONIA", "p_pneumonia": 0.9, "note": "stub"}
    assert response.headers["X-Request-ID"] == "abc-1"


def test_film_of_the_largest_size_is_answered(stub_service: Service) -> None:
    assert stub_service.predict(b"x" * LIMIT).status_code == 200


def test_several_films_of_the_largest_size_are_answered_at_once(stub_service: Service) -> None:
    with ThreadPoolExecutor(8) as pool:
        films = [b"x" * (LIMIT - 1000)] * 8
        assert [response.status_code for response in pool.map(stub_service.predict, films)] == [200] * 8


def test_form_without_file_is_refused(stub_service: Service) -> None:
    response = requests.post(f"{stub_service.url}/predict", files={"film": b"x"}, timeout=10)
    assert_error(response, 422, "'file'")


def test_body_that_is_no_form_is_refused(stub_service: Service) -> None:
    assert_error(requests.post(f"{stub_service.url}/predict", data=b"x", timeout=10), 422, "'file'")


def test_empty_film_is_refused(stub_service: Service) -> None:
    assert_error(stub_service.predict(b""), 422, "'file'", "empty")


def test_handlers_refusal_is_passed_on(stub_service: Service) -> None:
    response = stub_service.predict(b"refuse this")
    assert_error(response, 415, "not a film")
    assert response.json()["error"]["code"] == "unsupported_film"


def test_handlers_fault_is_a_bad_gateway(stub_service: Service) -> None:
    response = stub_service.predict(b"raise this")
    assert_error(response, 502)
    assert "Traceback" not in response.text


def test_large_film_is_refused_before_it_is_sent(stub_service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stub_service.ports["PORT"], timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10 * LIMIT))
    connection.endheaders()  # and not a byte of the body
    response = connection.getresponse()
    assert response.status == 413
    assert str(LIMIT) in json.load(response)["error"]["message"]
    connection.close()


@pytest.mark.parametrize("options", [[], ["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]])
def test_curl_shows_why_a_large_film_is_refused(stub_service: Service, tmp_path: Path, options: list[str]) -> None:
    film = tmp_path / "film.jpeg"
    film.write_bytes(b"x" * (LIMIT + 5_000_000))
    command = ["curl", "-sS", *options, "-F", f"file=@{film}", f"{stub_service.url}/predict"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert str(LIMIT) in json.loads(done.stdout)["error"]["message"]


def test_client_that_sends_all_before_it_listens_reads_the_refusal(stub_service: Service) -> None:
    assert_error(stub_service.predict(b"x" * (LIMIT + 5_000_000)), 413, str(LIMIT))


def test_slow_body_is_given_up(stub_service: Service) -> None:
    with socket.create_connection(("127.0.0.1", stub_service.ports["PORT"]), timeout=20) as client:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        client.sendall(f"{head}Content-Length: 1000\r\n\r\n--x\r\n".encode())
        assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_unknown_path_is_not_found(stub_service: Service) -> None:
    assert_error(requests.get(f"{stub_service.url}/nowhere", timeout=10), 404)


def test_wrong_method_is_not_allowed(stub_service: Service) -> None:
    response = requests.get(f"{stub_service.url}/predict", timeout=10)
    assert_error(response, 405)
    assert response.headers["Allow"] == "POST"


def test_sixty_four_at_once_are_all_answered(stub_service: Service) -> None:
    with ThreadPoolExecutor(64) as pool:
        responses = pool.map(stub_service.predict, [b"a film"] * 640)
        assert {response.status_code for response in responses} == {200}


def test_saturated_service_refuses_soon_and_says_when_to_come_back(stub_service: Service) -> None:
    def timed(film: bytes) -> tuple[float, requests.Response]:
        began = time.monotonic()
        response = stub_service.predict(film)
        return time.monotonic() - began, response

    # More than wait (64) and are with TorchServe (8) at once, each for a second: most cannot be answered in time.
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(timed, [b"sleep 1 second"] * 100))
    refusals = [response for _, response in answers if response.status_code != 200]
    assert refusals
    for response in refusals:
        assert_error(response, 503)
        assert int(response.headers["Retry-After"]) > 0
    saturated = [seconds for seconds, response in answers if response.text.find("saturated") > 0]
    assert saturated
    assert min(saturated) < 2
