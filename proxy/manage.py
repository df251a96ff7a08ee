"""Talk to the running TorchServe's management API.

    python -m proxy.manage token [--management]     prints the bearer token of the inference or management API
    python -m proxy.manage scale --workers N        changes the number of workers and waits until they are ready
    python -m proxy.manage models                   prints TorchServe's description of the model

It finds the service by the same environment variables as `python -m proxy` (PORT or RUN_DIR, MANAGEMENT_PORT).
A scaling lasts until TorchServe is started anew, which goes back to WORKERS.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from proxy.errors import ManagementError, ProxyError
from proxy.settings import Settings
from proxy.torchserve.client import ManagementClient
from proxy.torchserve.run_dir import RunDir

REQUEST_TIMEOUT_S = 10.0
SCALE_TIMEOUT_S = 120.0
POLL_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environ(os.environ)
        run_dir = RunDir(settings.run_dir)
        if parsed.command == "token":
            output = run_dir.token("management" if parsed.management else "inference")
        else:
            workers = parsed.workers if parsed.command == "scale" else None
            output = json.dumps(asyncio.run(_manage(settings, run_dir, workers)), indent=2)
    except ProxyError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    sys.stdout.write(f"{output}\n")
    return 0


async def _manage(settings: Settings, run_dir: RunDir, workers: int | None) -> Any:
    """Scale if a number is given; return TorchServe's description of the model."""
    async with ManagementClient(settings, timeout_s=REQUEST_TIMEOUT_S) as client:
        client.authorise(run_dir.token("management"))
        if workers is not None:
            await _scale(client, workers)
        return await client.describe()


async def _scale(client: ManagementClient, workers: int) -> None:
    """Change the number of workers; return when so many are ready.

    Raises:
        ManagementError: TorchServe refuses, or the workers do not come up in time.
    """
    await client.scale(workers)
    deadline = time.monotonic() + SCALE_TIMEOUT_S
    while (states := await client.worker_states()) != ["READY"] * workers:
        if time.monotonic() > deadline:
            raise ManagementError(f"after {SCALE_TIMEOUT_S:g} s the workers are still {states}")
        await asyncio.sleep(POLL_S)


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
