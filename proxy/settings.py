"""Every setting of the proxy, read once from environment variables.

A bad value is a `SettingsError` that names the variable and the value.
"""

import ipaddress
import math
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from limits import RateLimitItem
from limits import parse as parse_limit
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy.errors import SettingsError
from proxy.machine import workers_that_fit

ROOT = Path(__file__).resolve().parent.parent
"""The repository, or the image's folder that holds the same rooms."""

MODEL_NAME = "pneumonia"

MAX_WORKERS = 256

FORM_ENVELOPE_BYTES = 65_536
"""Room beside the film for the multipart boundaries, part headers and fields that are ignored."""

LONGEST_SOCKET_PATH = 103
"""A Unix socket's path holds 108 bytes on Linux, 104 on macOS, with a closing zero."""


def usable_cores() -> int:
    """Cores this process may use: its CPU set, further bound by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or its quota is "max"
        return cores


def default_workers() -> int:
    """Return one worker a core, as far as memory holds them."""
    fit = workers_that_fit()
    return usable_cores() if fit is None else min(usable_cores(), fit)


def _networks(text: str) -> str:
    for item in text.split(","):
        ipaddress.ip_network(item.strip())  # raises ValueError, which names it
    return text


Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Folder = Annotated[Path, AfterValidator(Path.absolute)]


class Settings(BaseModel):
    """How the service runs; the variables carry the same names in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, protected_namespaces=())

    host: str = "127.0.0.1"
    """Where the public port listens."""
    port: Port = 7860
    workers: int = Field(default_factory=default_workers, ge=1, le=MAX_WORKERS)
    """TorchServe workers; each screens one film at a time on one core."""
    inference_port: Port = 8080
    management_port: Port = 8081
    metrics_port: Port = 8082
    grpc_inference_port: Port = 7070
    grpc_management_port: Port = 7071
    max_film_bytes: int = Field(20_000_000, ge=1, le=1_000_000_000)
    """The one size limit: the proxy's own, and TorchServe's `max_request_size` is derived from it."""
    max_batch_films: int = Field(32, ge=1, le=1000)
    max_batch_bytes: int = Field(200_000_000, ge=1, le=1_000_000_000)
    """Of a request to /predict/batch, its form included."""
    max_held_bytes: int = Field(256_000_000, ge=1, le=1 << 40)
    """Bound on the films held in memory at once, by what has arrived of each, whether waiting or being screened."""
    queue_limit: int = Field(64, ge=1, le=100_000)
    """Films that may wait for a worker; one more is answered 503."""
    predict_timeout_s: Seconds = 1.8
    """How long a film may go without TorchServe answering anything at all; longer is a stall."""
    upload_timeout_s: Seconds = 60
    start_timeout_s: Seconds = 120
    """From starting TorchServe to its first right prediction; three times as long beside a version in service."""
    drain_timeout_s: Seconds = 5
    """At the end, how long requests in flight may take to finish."""
    keys_file: Folder | None = None
    """API keys (`python -m proxy.keys`); without it, whoever reaches the port may use the service."""
    rate_limit: Annotated[RateLimitItem, BeforeValidator(parse_limit)] | None = None
    """Films a client may send, such as `60/minute`; a client is a key, or an address where there are no keys."""
    trusted_proxies: Annotated[str, AfterValidator(_networks)] | None = None
    """Addresses and networks, with commas between them, of proxies in front: what they say in X-Forwarded-For is taken
    for the client's address. Nobody else is believed."""
    tls_certfile: Folder | None = None
    tls_keyfile: Folder | None = None
    """PEM files; with both, the public port speaks HTTPS only."""
    lame_duck_s: float = Field(1.0, ge=0, le=3600)
    """At the end, how long /health says that the service is stopping before connections are refused."""
    access_log: bool = False
    """Whether each request is logged, as a line of JSON on standard output."""
    model_store: Folder = ROOT / "model_store"
    run_dir: Folder
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
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; an empty variable counts as unset.

        Raises:
            SettingsError: A value is not of its kind, or two ports are the same.
        """
        values = {name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())}
        values.setdefault("run_dir", str(Path(tempfile.gettempdir(), f"pneumonia-{values.get('port', 7860)}")))
        try:
            settings = cls.model_validate(values)
        except ValidationError as exc:
            fault = exc.errors()[0]
            expected = fault["msg"].removeprefix("Input should be ")
            raise SettingsError(f"{str(fault['loc'][0]).upper()}={fault['input']!r} is not {expected}") from exc
        settings._check()
        return settings

    def _check(self) -> None:
        ports = {"PORT": self.port, **self.torchserve_ports}
        for name, number in ports.items():
            same = [other for other, value in ports.items() if value == number and other != name]
            if same:
                raise SettingsError(f"{name}={number} is also {same[0]}: every port must be its own")
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise SettingsError("TLS_CERTFILE and TLS_KEYFILE go together")
        for name in ("tls_certfile", "tls_keyfile", "keys_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(f"{name.upper()}={str(path)!r} is no file")
        if self.tls_certfile is not None:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.tls_certfile, self.tls_keyfile)
            except (OSError, ssl.SSLError) as exc:
                raise SettingsError(
                    f"TLS_CERTFILE and TLS_KEYFILE are no pair of a certificate and its key: {exc}"
                ) from exc
        if self.max_held_bytes < self.max_body_bytes:
            raise SettingsError(
                f"MAX_HELD_BYTES={self.max_held_bytes} cannot hold one film of MAX_FILM_BYTES={self.max_film_bytes}"
            )
        longest = self.run_dir / "9999" / "tmp" / ".ts.sock.65535"
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            raise SettingsError(
                f"RUN_DIR={str(self.run_dir)!r} is too long for the workers' Unix sockets: "
                "set RUN_DIR to a shorter path"
            )
