"""Every setting of the proxy room, read once from environment variables.

A bad value is a `SettingsError` that names the variable and the value.
"""

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
"""The repository, or the image's folder that holds the same rooms."""

MODEL_NAME = "pneumonia"

FORM_ENVELOPE_BYTES = 65_536
"""Room beside the film for the multipart boundaries, part headers and fields that are ignored."""

DAY_S = 86_400

LONGEST_SOCKET_PATH = 103
"""A Unix socket's path holds 108 bytes on Linux, 104 on macOS, with a closing zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the service runs; the variables carry the same names in capitals."""

    host: str
    """Where the public port listens: loopback unless told otherwise."""
    port: int
    workers: int
    """TorchServe workers; each screens one film at a time on one core."""
    inference_port: int
    management_port: int
    metrics_port: int
    grpc_inference_port: int
    grpc_management_port: int
    max_film_bytes: int
    """The one size limit: the proxy's own, and TorchServe's `max_request_size` is derived from it."""
    max_held_bytes: int
    """Bound on the films held in memory at once, by what has arrived of each, whether waiting or being screened."""
    queue_limit: int
    """Films that may wait for a worker; one more is answered 503."""
    predict_timeout_s: float
    """How long a film may go without TorchServe answering anything at all; longer is a stall."""
    upload_timeout_s: float
    start_timeout_s: float
    """From starting TorchServe to its first right prediction."""
    drain_timeout_s: float
    """At the end, how long requests in flight may take to finish."""
    model_store: Path
    reference: Path
    run_dir: Path
    """Holds all that a running service writes; made at the start, removed at the end."""

    @property
    def archive(self) -> Path:
        """The model archive that TorchServe loads."""
        return self.model_store / f"{MODEL_NAME}.mar"

    @property
    def max_body_bytes(self) -> int:
        """The largest request body: a film of the largest size in its form."""
        return self.max_film_bytes + FORM_ENVELOPE_BYTES

    @property
    def torchserve_ports(self) -> dict[str, int]:
        """TorchServe's five ports by the names of their variables; all listen on loopback only."""
        return {
            "INFERENCE_PORT": self.inference_port,
            "MANAGEMENT_PORT": self.management_port,
            "METRICS_PORT": self.metrics_port,
            "GRPC_INFERENCE_PORT": self.grpc_inference_port,
            "GRPC_MANAGEMENT_PORT": self.grpc_management_port,
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Reads the settings.

        Raises:
            SettingsError: A value is not of its kind, or two ports are the same.
        """
        env = _Environ(environ)
        port = env.port("PORT", 7860)
        settings = cls(
            host=environ.get("HOST") or "127.0.0.1",
            port=port,
            workers=env.integer("WORKERS", usable_cores(), low=1, high=256),
            inference_port=env.port("INFERENCE_PORT", 8080),
            management_port=env.port("MANAGEMENT_PORT", 8081),
            metrics_port=env.port("METRICS_PORT", 8082),
            grpc_inference_port=env.port("GRPC_INFERENCE_PORT", 7070),
            grpc_management_port=env.port("GRPC_MANAGEMENT_PORT", 7071),
            max_film_bytes=env.integer("MAX_FILM_BYTES", 20_000_000, low=1, high=1_000_000_000),
            max_held_bytes=env.integer("MAX_HELD_BYTES", 256_000_000, low=1, high=1 << 40),
            queue_limit=env.integer("QUEUE_LIMIT", 64, low=1, high=100_000),
            predict_timeout_s=env.seconds("PREDICT_TIMEOUT_S", 1.8),
            upload_timeout_s=env.seconds("UPLOAD_TIMEOUT_S", 60),
            start_timeout_s=env.seconds("START_TIMEOUT_S", 120),
            drain_timeout_s=env.seconds("DRAIN_TIMEOUT_S", 5),
            model_store=env.path("MODEL_STORE", ROOT / "model_store"),
            reference=env.path("REFERENCE", ROOT / "reference"),
            run_dir=env.path("RUN_DIR", Path(tempfile.gettempdir()) / f"pneumonia-{port}"),
        )
        settings._check()
        return settings

    def _check(self) -> None:
        ports = {"PORT": self.port, **self.torchserve_ports}
        for name, number in ports.items():
            same = [other for other, value in ports.items() if value == number and other != name]
            if same:
                raise SettingsError(f"{name}={number} is also {same[0]}: every port must be its own")
        if self.max_held_bytes < self.max_body_bytes:
            raise SettingsError(
                f"MAX_HELD_BYTES={self.max_held_bytes} cannot hold one film of MAX_FILM_BYTES={self.max_film_bytes}"
            )
        longest = self.run_dir / "tmp" / ".ts.sock.65535"
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            raise SettingsError(
                f"RUN_DIR={str(self.run_dir)!r} is too long for the workers' Unix sockets: "
                "set RUN_DIR to a shorter path"
            )


def usable_cores() -> int:
    """Cores this process may use: its CPU set, further bound by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or its quota is "max"
        return cores


class _Environ:
    """Typed reads of environment variables; an empty one counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        text = self._environ.get(name) or str(default)
        if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise SettingsError(f"{name}={text!r} is not a whole number from {low} to {high}")
        return int(text)

    def port(self, name: str, default: int) -> int:
        return self.integer(name, default, low=1, high=65_535)

    def seconds(self, name: str, default: float) -> float:
        text = self._environ.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= DAY_S:
            raise SettingsError(f"{name}={text!r} is not a number of seconds above 0 and up to a day")
        return value

    def path(self, name: str, default: Path) -> Path:
        return Path(self._environ.get(name) or default).absolute()
