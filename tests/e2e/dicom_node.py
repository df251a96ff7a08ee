"""Runs `python -m dicom_node` as its users do, and Orthanc as its PACS."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.service import ROOT, STOP_TIMEOUT_S, free_ports, wait_for

START_TIMEOUT_S = 60.0


def need(*commands: str) -> None:
    """Skip a test where a command of another package is not installed."""
    for command in commands:
        if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{command} is not installed: apt-get install dcmtk dicom3tools orthanc")


class NodeProcess:
    """A node in a process of its own; its queue outlives it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port, self.stow_port = free_ports(2)
        self.queue_dir = folder / "queue"
        self.log = folder / "log"
        self.log.touch()
        own = {"PORT": self.port, "STOW_PORT": self.stow_port, "QUEUE_DIR": self.queue_dir}
        values = (
            {"CALLING_AE_TITLES": "STORESCU,ECHOSCU", "RETRY_FIRST_S": 0.1, "RETRY_LONGEST_S": 0.5} | own | settings
        )
        self.environ = dict(os.environ) | {f"DICOM_{name}": str(value) for name, value in values.items()}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        before = self.output.count("Ready:")
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", "dicom_node"], cwd=ROOT, env=self.environ, stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(
            lambda: self.output.count("Ready:") > before or process.poll() is not None,
            START_TIMEOUT_S,
            "the ready line",
        )
        assert process.poll() is None, self.output

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as the kernel does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def listed(self) -> list[str]:
        """The lines of the operator's list."""
        command = [sys.executable, "-m", "dicom_node.queue", "list"]
        run = subprocess.run(command, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()[1:]

    def files(self) -> list[Path]:
        """What of films and results is on disk."""
        return list((self.queue_dir / "files").iterdir())


@contextmanager
def running_node(folder: Path, **settings: object) -> Iterator[NodeProcess]:
    node = NodeProcess(folder, **settings)
    try:
        node.start()
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()


def tool(command: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run one of dcmtk's commands."""
    return subprocess.run(
        [command, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )


class Orthanc:
    """An Orthanc of a test's own: random ports, a folder that is removed, and no other's settings."""

    def __init__(self, node: "NodeProcess | None") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="orthanc-"))
        self.dicom_port, self.http_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        plugins = [str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")][:1]
        self.has_dicom_web = bool(plugins)
        settings: dict[str, object] = {
            "Name": "PACS", "DicomAet": "PACS", "DicomPort": self.dicom_port, "HttpPort": self.http_port,
            "DicomCheckCalledAet": True, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "StorageDirectory": str(self.folder / "storage"), "IndexDirectory": str(self.folder / "storage"),
            "Plugins": plugins, "DicomModalities": {}, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        if node is not None:
            settings["DicomModalities"] = {"node": ["PNEUMONIA", "127.0.0.1", node.port]}
            settings["DicomWeb"] = {"Enable": True, "Servers": {"node": [f"http://127.0.0.1:{node.stow_port}/"]}}
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        """Start, again if need be, on what it has stored."""
        with (self.folder / "log").open("ab") as log:
            path = f"{os.environ['PATH']}:/usr/sbin"
            command = shutil.which("Orthanc", path=path) or "Orthanc"
            self.process = subprocess.Popen(
                [command, str(self.folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")
            try:
                return requests.get(f"{self.url}/system", timeout=5).ok
            except requests.RequestException:
                return False

        wait_for(answers, START_TIMEOUT_S, "Orthanc")

    def add(self, file: bytes) -> str:
        """Put an instance in; return its name there."""
        found: str = requests.post(f"{self.url}/instances", data=file, timeout=10).json()["ID"]
        return found

    def send(self, path: str, instance: str) -> None:
        """Have it send an instance to the node."""
        answer = requests.post(f"{self.url}{path}", json={"Resources": [instance], "Synchronous": True}, timeout=60)
        assert answer.ok, answer.text

    def instances(self) -> list[str]:
        found: list[str] = requests.get(f"{self.url}/instances", timeout=10).json()
        return found

    def tags(self, instance: str) -> dict[str, str]:
        found: dict[str, str] = requests.get(f"{self.url}/instances/{instance}/simplified-tags", timeout=10).json()
        return found

    def file(self, instance: str) -> bytes:
        return requests.get(f"{self.url}/instances/{instance}/file", timeout=10).content

    def studies(self) -> int:
        return len(requests.get(f"{self.url}/studies", timeout=10).json())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running_orthanc(node: NodeProcess | None = None) -> Iterator[Orthanc]:
    """An Orthanc that is ready, and knows a node to send to."""
    need("Orthanc")
    orthanc = Orthanc(node)
    try:
        orthanc.wait_until_ready()
        yield orthanc
    finally:
        orthanc.stop()
