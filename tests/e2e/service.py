"""Runs `python -m proxy` as its users do, on ports of its own, and makes sure that it leaves nothing behind."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]

PORTS = (
    "PORT",
    "INFERENCE_PORT",
    "MANAGEMENT_PORT",
    "METRICS_PORT",
    "GRPC_INFERENCE_PORT",
    "GRPC_MANAGEMENT_PORT",
)

LOWEST_PORT = 10_000
"""Well-known services listen below."""

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 40.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that the system gives to no connection before the service binds them.

    It gives connections any port of its range for them, and a service that starts anew wants the same ports again.
    """
    ports: list[int] = []
    candidates = list(range(LOWEST_PORT, _lowest_of_connections()))
    random.shuffle(candidates)
    while len(ports) < count:
        with socket.socket() as trial, suppress(OSError):  # taken
            trial.bind(("127.0.0.1", candidates[-1]))
            ports.append(candidates[-1])
        candidates.pop()
    return ports


def _lowest_of_connections() -> int:
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:  # no Linux
        lowest = 0
    return lowest if lowest > 2 * LOWEST_PORT else 32_768  # the usual one, and as good as any


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


class Service:
    """A started service: its settings, its process and those below it."""

    def __init__(self, **settings: object) -> None:
        # A Unix socket's path is short, a test's own folder is not.
        self.folder = Path(tempfile.mkdtemp(prefix="pxy-", dir="/tmp"))
        self.run_dir = self.folder / "run"
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.settings = {name: str(value) for name, value in settings.items()}
        self.log = self.folder / "log"
        self.prefix: list[str] = []
        """The beginning of its command line."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        own = {name: str(port) for name, port in self.ports.items()}
        return dict(os.environ) | {"RUN_DIR": str(self.run_dir), "WORKERS": "2"} | own | self.settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    @property
    def inference_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['INFERENCE_PORT']}/predictions/pneumonia"

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def start(self) -> None:
        """Start without waiting."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "proxy"],
                cwd=ROOT, env=self.environ, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        process = self.running
        wait_for(lambda: "Ready:" in self.output or process.poll() is not None, START_TIMEOUT_S, "the ready line")
        assert process.poll() is None, self.output

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "not started"
        return self.process

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and waits for the end."""
        self.running.send_signal(number)
        return self.running.wait(STOP_TIMEOUT_S)

    def predict(self, film: bytes, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        return requests.post(f"{self.url}/predict", files={"file": ("film.jpeg", film)}, **options)

    def healthy(self) -> bool:
        return requests.get(f"{self.url}/health", timeout=10).status_code == 200

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m proxy.manage`."""
        return subprocess.run(
            [sys.executable, "-m", "proxy.manage", *arguments],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip

    def token(self, *options: str) -> str:
        return self.manage("token", *options).stdout.strip()

    def processes(self) -> dict[int, str]:
        """Command lines of the processes that work in the run folder: the JVM and its workers."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:  # it has just ended
                    continue
                if str(self.run_dir) in command:
                    found[int(entry.name)] = command
        return found

    def jvm(self) -> int:
        return next(pid for pid, command in self.processes().items() if "org.pytorch.serve.ModelServer" in command)

    def workers(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "model_service_worker" in command]

    def ready_workers(self) -> list[int]:
        """Process ids of the workers that have the model loaded, as TorchServe's management API says."""
        url = f"http://127.0.0.1:{self.ports['MANAGEMENT_PORT']}/models/pneumonia"
        headers = {"Authorization": f"Bearer {self.token('--management')}"}
        workers = requests.get(url, headers=headers, timeout=10).json()[0]["workers"]
        return [worker["pid"] for worker in workers if worker["status"] == "READY"]

    def assert_nothing_left(self) -> None:
        """No process, no listening port, no file."""
        assert not self.processes()
        for port in self.ports.values():
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} still listens"
        left = [path.name for path in self.folder.iterdir() if path != self.log]
        assert not left

    def clean_up(self) -> None:
        """End what is left of it, whatever happened."""
        try:
            if self.process is not None and self.process.poll() is None:
                try:
                    self.stop()
                finally:
                    self.process.kill()
                    self.process.wait()
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running(**settings: object) -> Iterator[Service]:
    """A service that is ready."""
    service = Service(**settings)
    try:
        service.start()
        service.wait_until_ready()
        yield service
    finally:
        service.clean_up()
