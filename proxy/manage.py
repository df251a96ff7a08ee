"""Talks to the running TorchServe's management API.

    python -m proxy.manage token [--management]     prints the bearer token of the inference or management API
    python -m proxy.manage scale --workers N        changes the number of workers and waits until they are ready
    python -m proxy.manage models                   prints TorchServe's description of the model

It finds the service by the same environment variables as `python -m proxy` (PORT or RUN_DIR, MANAGEMENT_PORT).
A scaling lasts until TorchServe is started anew, which goes back to WORKERS.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import requests

from proxy.errors import ManageError, ProxyError
from proxy.rundir import RunDir
from proxy.settings import MODEL_NAME, Settings

REQUEST_TIMEOUT_S = 10.0
SCALE_TIMEOUT_S = 120.0
POLL_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environ(os.environ)
        run_dir = RunDir(settings.run_dir)
        if parsed.command == "token":
            output = run_dir.token("management" if parsed.management else "inference")
        else:
            management = Management(settings, run_dir)
            if parsed.command == "scale":
                management.scale(parsed.workers)
            output = json.dumps(management.describe(), indent=2)
    except ProxyError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    sys.stdout.write(f"{output}\n")
    return 0


class Management:
    """TorchServe's management API, for the one model."""

    def __init__(self, settings: Settings, run_dir: RunDir) -> None:
        self._url = f"http://127.0.0.1:{settings.management_port}/models/{MODEL_NAME}"
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment is not for loopback
        self._session.headers["Authorization"] = f"Bearer {run_dir.token('management')}"

    def describe(self) -> Any:
        """TorchServe's description of the model, its workers among it.

        Raises:
            ManageError: TorchServe does not give it.
        """
        return self._call("GET")

    def scale(self, workers: int) -> None:
        """Changes the number of workers; returns when so many are ready.

        Raises:
            ManageError: TorchServe refuses, or the workers do not come up in time.
        """
        self._call("PUT", min_worker=workers, max_worker=workers)
        deadline = time.monotonic() + SCALE_TIMEOUT_S
        while (states := self._states()) != ["READY"] * workers:
            if time.monotonic() > deadline:
                raise ManageError(f"after {SCALE_TIMEOUT_S:g} s the workers are still {states}")
            time.sleep(POLL_S)

    def _states(self) -> list[str]:
        return [worker["status"] for worker in self.describe()[0]["workers"]]

    def _call(self, method: str, **query: int) -> Any:
        try:
            response = self._session.request(method, self._url, params=query, timeout=REQUEST_TIMEOUT_S)
            reply = response.json()
        except requests.JSONDecodeError as exc:
            raise ManageError(f"{self._url} answered {response.status_code} without JSON") from exc
        except requests.RequestException as exc:
            raise ManageError(f"{self._url} cannot be reached: is the service running?") from exc
        if not response.ok:
            raise ManageError(f"TorchServe answered {response.status_code}: {reply.get('message', reply)}")
        return reply


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proxy.manage", description="Manages the running TorchServe.")
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("token", help="print the bearer token of the inference API")
    token.add_argument("--management", action="store_true", help="the management API's instead")
    scale = commands.add_parser("scale", help="change the number of workers and wait for them")
    scale.add_argument("--workers", type=_workers, required=True, metavar="N")
    commands.add_parser("models", help="print TorchServe's description of the model")
    return parser


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 256):  # noqa: PLR2004  (the bound of WORKERS)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 256")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
