"""HAProxy as `deploy/haproxy.cfg` sets it up, before a service."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from bench.contenders.scoring import ROOT
from bench.errors import ContenderError
from proxy.torchserve.process import die_with_parent

CONFIG = ROOT / "deploy" / "haproxy.cfg"
POLL_S = 0.03

TLS = ' ssl crt "${CERT}" alpn h2,http/1.1'


def program() -> str | None:
    """Return the path of HAProxy, which Debian puts where not every user looks, or None."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def refused(config: Path, environ: dict[str, str]) -> str:
    """Return what HAProxy finds wrong in a configuration; empty where it takes it."""
    command = [program() or "haproxy", "-c", "-f", str(config)]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@contextmanager
def in_front(folder: Path, *, public: int, service: int, certificate: Path | None = None) -> Iterator[None]:
    """Run it on a port of the loopback, before a service on another; without a certificate it speaks plain HTTP.

    The limits by address are out of the way: clients here have one address.

    Raises:
        ContenderError: It is not installed, or ends.
    """
    config = folder / "haproxy.cfg"
    text = CONFIG.read_text(encoding="utf-8")
    config.write_text(text if certificate else text.replace(TLS, ""), encoding="utf-8")
    environ = {"PUBLIC": f"127.0.0.1:{public}", "SERVICE": f"127.0.0.1:{service}", "CERT": str(certificate)}
    environ |= {"FILMS_PER_MINUTE": "1000000", "CONNECTIONS_PER_ADDRESS": "100000"}
    found = program()
    if found is None:
        raise ContenderError("HAProxy is not installed")
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [found, "-f", str(config)],
            env={**os.environ, **environ},
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (a caller that is killed leaves none behind)
        )
        try:
            _await(public, process)
            yield
        finally:
            process.terminate()
            process.wait()


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        sleep(POLL_S)
    raise ContenderError("HAProxy did not start: see haproxy.log")
