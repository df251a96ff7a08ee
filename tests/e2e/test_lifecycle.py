"""Starting, breaking, recovering and ending, with real processes and the stub handler."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from proxy.availability.prober import FRESH_S
from tests.e2e.archives import make_stub_store
from tests.e2e.service import ROOT, START_TIMEOUT_S, Service, running, wait_for

PROMISE_S = 2.0
"""Within so long a request is answered whatever the state; tests allow for a busy machine beside it."""

SLACK_S = 2.0


def refused(service: Service) -> None:
    """A film gets 503 with Retry-After, in time."""
    began = time.monotonic()
    response = service.predict(b"a film")
    assert time.monotonic() - began < PROMISE_S + SLACK_S
    assert response.status_code == 503, response.text
    assert int(response.headers["Retry-After"]) > 0
    assert set(response.json()["error"]) == {"code", "message"}


class TestFailure:
    """One service that is broken again and again; each test leaves it recovered."""

    @pytest.fixture(autouse=True)
    def _recovered(self, stub_service: Service) -> Iterator[None]:
        yield
        wait_for(stub_service.healthy, START_TIMEOUT_S, "recovery")
        wait_for(lambda: len(stub_service.ready_workers()) == 2, START_TIMEOUT_S, "both workers")

    def test_torchserve_refuses_who_has_no_token(self, stub_service: Service) -> None:
        assert requests.post(stub_service.inference_url, data=b"a film", timeout=10).status_code == 400

    def test_torchserve_answers_who_has_the_token(self, stub_service: Service, tmp_path: Path) -> None:
        film = tmp_path / "film.jpeg"
        film.write_bytes(b"a pneumonia film")
        command = ["curl", "-sS", "-H", f"Authorization: Bearer {stub_service.token()}", "-T", str(film)]
        done = subprocess.run([*command, stub_service.inference_url], capture_output=True, timeout=20, check=True)
        assert b"0.9" in done.stdout

    def test_scaling_shows_in_the_management_api(self, stub_service: Service) -> None:
        done = stub_service.manage("scale", "--workers", "3")
        assert done.returncode == 0, done.stderr
        assert len(stub_service.ready_workers()) == 3
        assert stub_service.manage("scale", "--workers", "2").returncode == 0

    def test_model_api_is_closed(self, stub_service: Service) -> None:
        url = f"http://127.0.0.1:{stub_service.ports['MANAGEMENT_PORT']}/models/pneumonia"
        headers = {"Authorization": f"Bearer {stub_service.token('--management')}"}
        assert requests.delete(url, headers=headers, timeout=10).status_code == 405

    def test_second_service_in_the_same_folder_is_refused(self, stub_service: Service) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "proxy"], cwd=ROOT, env=stub_service.environ, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("error: RUN_DIR=")
        assert done.stderr.count("\n") == 1
        assert stub_service.predict(b"a film").status_code == 200

    def test_film_that_kills_two_workers_is_refused_for_good(self, stub_service: Service) -> None:
        response = stub_service.predict(b"crash now")
        assert response.status_code == 502
        assert "two workers" in response.json()["error"]["message"]

    def test_film_whose_worker_is_killed_is_answered_by_another(self, stub_service: Service) -> None:
        with ThreadPoolExecutor(1) as pool:
            film = pool.submit(stub_service.predict, b"sleep 1 second")
            time.sleep(0.4)
            busy = max(stub_service.workers(), key=lambda pid: pid)
            for pid in stub_service.workers():
                if pid == busy:
                    os.kill(pid, signal.SIGKILL)
            assert film.result().status_code == 200

    def test_death_of_all_workers_is_said_at_once_and_mended(self, stub_service: Service) -> None:
        for pid in stub_service.workers():
            os.kill(pid, signal.SIGKILL)
        time.sleep(FRESH_S)  # so long a prediction made before counts
        began = time.monotonic()
        assert not stub_service.healthy()
        assert time.monotonic() - began < PROMISE_S + SLACK_S
        refused(stub_service)

    def test_death_of_all_workers_under_a_film_is_said_in_time(self, stub_service: Service) -> None:
        with ThreadPoolExecutor(6) as pool:
            films = [pool.submit(stub_service.predict, b"sleep 1.2 second") for _ in range(6)]
            time.sleep(0.5)
            began = time.monotonic()
            for pid in stub_service.workers():
                os.kill(pid, signal.SIGKILL)
            assert {film.result().status_code for film in films} == {503}
            assert time.monotonic() - began < PROMISE_S + SLACK_S

    def test_frozen_workers_do_not_hang_a_film(self, stub_service: Service) -> None:
        workers = stub_service.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            refused(stub_service)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    def test_slow_film_is_answered_while_another_worker_is_free(self, stub_service: Service) -> None:
        response = stub_service.predict(b"sleep 3 seconds")
        assert response.status_code == 200, response.text + stub_service.output

    def test_recovered_workers_lose_no_time_on_films_that_were_given_up(self, stub_service: Service) -> None:
        count = 8  # two with the workers, two in TorchServe's queue, and four that follow them in one request
        with ThreadPoolExecutor(count) as pool:
            films = [pool.submit(stub_service.predict, b"sleep 3 seconds") for _ in range(count)]
            time.sleep(0.5)
            for pid in stub_service.workers():
                os.kill(pid, signal.SIGKILL)
            assert {film.result().status_code for film in films} == {503}
        wait_for(stub_service.healthy, START_TIMEOUT_S, "recovery")
        wait_for(lambda: len(stub_service.ready_workers()) == 2, START_TIMEOUT_S, "both workers")
        response = stub_service.predict(b"sleep 3 seconds")  # on one worker, so that the other has to be free
        assert response.status_code == 200, response.text + stub_service.output

    def test_death_of_the_jvm_is_said_at_once_and_mended(self, stub_service: Service) -> None:
        film: Future[requests.Response] = Future()
        threading.Thread(target=lambda: film.set_result(stub_service.predict(b"sleep 1.5 seconds"))).start()
        time.sleep(0.5)
        os.kill(stub_service.jvm(), signal.SIGKILL)
        began = time.monotonic()
        assert film.result(10).status_code == 503
        time.sleep(FRESH_S)  # so long a prediction made before counts
        assert not stub_service.healthy()
        refused(stub_service)
        assert time.monotonic() - began < PROMISE_S + SLACK_S

    def test_frozen_jvm_does_not_hang_a_film(self, stub_service: Service) -> None:
        jvm = stub_service.jvm()
        os.kill(jvm, signal.SIGSTOP)
        try:
            refused(stub_service)
        finally:
            os.kill(jvm, signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_finishes_what_is_in_flight_and_leaves_nothing(stub: dict[str, Path], number: signal.Signals) -> None:
    with running(**stub) as service, ThreadPoolExecutor(1) as pool:
        film = pool.submit(service.predict, b"sleep 1 second")
        time.sleep(0.4)
        assert service.stop(number) == 0
        assert film.result().status_code == 200
        service.assert_nothing_left()


def test_second_ctrl_c_ends_at_once_and_leaves_nothing(stub: dict[str, Path]) -> None:
    with running(**stub) as service, ThreadPoolExecutor(1) as pool:
        film = pool.submit(service.predict, b"sleep 60 seconds")
        time.sleep(0.4)
        service.running.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert service.stop(signal.SIGINT) == 0
        film.exception()
        service.assert_nothing_left()


def test_ctrl_c_while_loading_leaves_nothing(stub: dict[str, Path]) -> None:
    service = Service(**stub)
    try:
        service.start()
        wait_for(service.processes, 30, "TorchServe's start")
        assert service.stop(signal.SIGINT) == 0
        service.assert_nothing_left()
        assert "Ready:" not in service.output
    finally:
        service.clean_up()


def test_killed_service_leaves_no_process_and_starts_again(stub: dict[str, Path]) -> None:
    with running(**stub) as service:
        # A worker that still loads would notice the JVM's end only when it waits for its connection in vain.
        wait_for(lambda: service.manage("models").stdout.count("READY") == 2, START_TIMEOUT_S, "both workers")
        service.running.kill()
        service.running.wait()
        wait_for(lambda: not service.processes(), 20, "the end of the JVM and its workers")
        assert service.run_dir.exists()
        service.start()
        service.wait_until_ready()
        assert service.predict(b"a film").status_code == 200
        assert service.stop() == 0
        service.assert_nothing_left()


def test_model_that_answers_otherwise_than_expected_is_not_served(tmp_path: Path) -> None:
    store = make_stub_store(tmp_path / "store", expected={"NORMAL": 0.1, "PNEUMONIA": 0.8})
    service = Service(MODEL_STORE=store)
    try:
        service.start()
        assert service.running.wait(START_TIMEOUT_S) == 1
        assert "expected 0.8" in service.output
        assert "Traceback" not in service.output
        service.assert_nothing_left()
    finally:
        service.clean_up()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PORT": "http"}, "PORT='http'"),
        ({"WORKERS": "0"}, "WORKERS='0'"),
        ({"HOST": "203.0.113.1"}, "HOST='203.0.113.1'"),
        ({"MODEL_STORE": "/nonexistent"}, "make archive"),
        ({"RUN_DIR": f"/tmp/{'x' * 100}"}, "RUN_DIR"),
    ],
)
def test_bad_setting_is_one_line(stub: dict[str, Path], settings: dict[str, str], words: str) -> None:
    service = Service(**stub | settings)
    try:
        service.start()
        assert service.running.wait(30) == 2
        assert words in service.output
        assert service.output.count("\n") == 1
    finally:
        service.clean_up()


def test_taken_port_is_one_line(stub: dict[str, Path]) -> None:
    service = Service(**stub)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            service.settings["METRICS_PORT"] = str(port)
            service.start()
            assert service.running.wait(30) == 2
        assert service.output.startswith(f"error: METRICS_PORT={port} ")
        assert service.output.count("\n") == 1
    finally:
        service.clean_up()
