"""Versions put in service, tried on a share of the films, and taken back, under load, with real processes."""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.archives import HANDLER, make_stub_store
from tests.e2e.service import START_TIMEOUT_S, Service, running, wait_for

BROKEN = """
class Broken:
    def initialize(self, context):
        raise RuntimeError("no such weights")
    def handle(self, data, context):
        return []
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives by what is the matter with them."""
    folder = tmp_path_factory.mktemp("archives")
    (folder / "broken.py").write_text(BROKEN)
    (folder / "flips.py").write_text(HANDLER.read_text().replace("else 0.1", "else 0.8"))
    wrong = {"NORMAL": 0.1, "PNEUMONIA": 0.8}
    stores = {
        "1.0.0": make_stub_store(folder / "first"),
        "2.0.0": make_stub_store(folder / "second", version="2.0.0"),
        "flips": make_stub_store(
            folder / "flips", folder / "flips.py", version="5.0.0", expected={"NORMAL": 0.8, "PNEUMONIA": 0.9}
        ),
        "wrong": make_stub_store(folder / "wrong", version="3.0.0", expected=wrong),
        "broken": make_stub_store(folder / "broken", folder / "broken.py", version="4.0.0"),
    }
    return {name: store / "pneumonia.mar" for name, store in stores.items()}


@pytest.fixture
def service(archives: dict[str, Path], tmp_path: Path) -> Iterator[Service]:
    """A service with version 1.0.0, in a model store that it may write to."""
    shutil.copy(archives["1.0.0"], tmp_path)
    with running(MODEL_STORE=tmp_path) as service:
        yield service


@contextmanager
def load(service: Service, clients: int = 4) -> Iterator[Counter[tuple[int, str]]]:
    """Send films without a pause, and count their statuses and versions."""
    answers: Counter[tuple[int, str]] = Counter()
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            response = service.predict(b"sleep 0.01 seconds")
            answers[response.status_code, response.headers.get("X-Model-Version", "")] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def version(service: Service) -> str:
    return service.predict(b"a film").headers["X-Model-Version"]


def test_deployment_and_rollback_fail_no_film(service: Service, archives: dict[str, Path]) -> None:
    with load(service) as answers:
        done = service.manage("deploy", str(archives["2.0.0"]))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["current"].startswith("2.0.0 ")
        assert version(service) == "2.0.0"
        done = service.manage("rollback")
        assert done.returncode == 0, done.stderr
        assert version(service) == "1.0.0"
    assert set(answers) == {(200, "1.0.0"), (200, "2.0.0")}
    assert len(service.workers()) == 2
    assert service.stop() == 0
    service.assert_nothing_left()


def test_candidate_screens_its_share_and_is_promoted(service: Service, archives: dict[str, Path]) -> None:
    assert service.manage("deploy", str(archives["2.0.0"]), "--canary", "50").returncode == 0
    with load(service) as answers:
        wait_for(lambda: {(200, "1.0.0"), (200, "2.0.0")} <= set(answers), 30, "both versions")
        assert service.manage("promote").returncode == 0
    assert {status for status, _ in answers} == {200}
    assert version(service) == "2.0.0"
    # Killed, it serves again what was in service.
    service.running.kill()
    service.running.wait()
    wait_for(lambda: not service.processes(), 20, "the end of the JVM and its workers")
    service.start()
    service.wait_until_ready()
    assert version(service) == "2.0.0"


def test_candidate_in_the_shadow_is_compared_and_answers_no_client(service: Service, archives: dict[str, Path]) -> None:
    assert service.manage("deploy", str(archives["flips"]), "--shadow", "100").returncode == 0

    def compared() -> int:
        return int(json.loads(service.manage("shadow").stdout)["films"])

    with load(service, clients=1) as answers:
        wait_for(lambda: compared() >= 10, 30, "films in the shadow")
    assert set(answers) == {(200, "1.0.0")}
    shadow = json.loads(service.manage("status").stdout)["shadow"]
    assert shadow["flipped"]["NORMAL to PNEUMONIA"] == shadow["films"] >= 10
    assert shadow["p_difference"]["largest"] == pytest.approx(0.7)
    done = service.manage("abandon")
    assert done.returncode == 0
    assert "decisions flipped" in done.stderr
    assert version(service) == "1.0.0"


@pytest.mark.parametrize(("name", "reason"), [("wrong", "expected 0.8"), ("broken", "does not load: no such weights")])
def test_version_that_does_not_serve_is_refused_in_one_line(
    service: Service, archives: dict[str, Path], name: str, reason: str
) -> None:
    with load(service) as answers:
        done = service.manage("deploy", str(archives[name]))
        assert done.returncode == 2
        assert reason in done.stderr.splitlines()[-1]
    assert set(answers) == {(200, "1.0.0")}
    assert json.loads(service.manage("versions").stdout)["candidate"] is None
    wait_for(lambda: len(service.workers()) == 2, START_TIMEOUT_S, "the end of the candidate's workers")


def test_end_while_a_version_comes_up_leaves_nothing(service: Service, archives: dict[str, Path]) -> None:
    command = threading.Thread(target=lambda: service.manage("deploy", str(archives["2.0.0"])))
    command.start()
    time.sleep(1.0)
    assert service.stop() == 0
    command.join()
    service.assert_nothing_left()
