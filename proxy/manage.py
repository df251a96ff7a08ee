"""Manage the running service.

    python -m proxy.manage status                   what is in service, and how it is
    python -m proxy.manage scale --workers N        changes the number of workers and waits until they are ready
    python -m proxy.manage deploy MAR [--canary P]  brings up a version beside the one in service; it takes over when
                                                    it is ready, or, with --canary, screens P percent of the films
    python -m proxy.manage deploy MAR --shadow P    it screens P percent of the films too, and no client gets its answer
    python -m proxy.manage shadow                   how its results differ from those that clients got
    python -m proxy.manage promote | abandon        puts the candidate in service, or ends it
    python -m proxy.manage rollback                 abandons the candidate, or else goes back to the version before
    python -m proxy.manage versions                 what is in service, a candidate, and was in service before
    python -m proxy.manage token [--management]     prints the bearer token of TorchServe's inference or management API
    python -m proxy.manage models                   prints TorchServe's description of the model

It finds the service by the same environment variables as `python -m proxy` (PORT or RUN_DIR). A scaling lasts until
TorchServe is started anew, which goes back to WORKERS.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from proxy.control import SOCKET
from proxy.errors import ManagementError, ProxyError
from proxy.settings import MAX_WORKERS, Settings
from proxy.torchserve.run_dir import CURRENT, RunDir

MAX_LINE_BYTES = 2**24
"""Of an answer: TorchServe's description grows with its workers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        run_dir = Settings.from_environ(os.environ).run_dir
        if parsed.command == "token":
            output = RunDir(run_dir / CURRENT).token("management" if parsed.management else "inference")
        else:
            output = json.dumps(asyncio.run(ask(run_dir, _request(parsed))), indent=2)
    except ProxyError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    sys.stdout.write(f"{output}\n")
    return 0


async def ask(run_dir: Path, request: dict[str, Any]) -> Any:
    """Send a command to the service; return its result, and print its steps to stderr.

    Raises:
        ManagementError: The service does not run, or could not do it.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(run_dir / SOCKET, limit=MAX_LINE_BYTES)
    except OSError as exc:
        raise ManagementError(f"no service can be reached in {run_dir}: is the service running?") from exc
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        while line := await reader.readline():
            answer = json.loads(line)
            if "result" in answer:
                return answer["result"]
            if "error" in answer:
                raise ManagementError(answer["error"])
            sys.stderr.write(f"{answer['step']}\n")
    finally:
        writer.close()
    raise ManagementError("the service ended before it answered")


def _request(parsed: argparse.Namespace) -> dict[str, Any]:
    request: dict[str, Any] = {"command": parsed.command}
    if parsed.command == "scale":
        request["workers"] = parsed.workers
    if parsed.command == "deploy":
        request["archive"] = str(parsed.archive.absolute())
        request["share"] = parsed.canary / 100 if parsed.canary is not None else 0.0 if parsed.shadow else 1.0
        request["shadow"] = (parsed.shadow or 0) / 100
    return request


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proxy.manage", description="Manage the running service.")
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("token", help="print the bearer token of the inference API")
    token.add_argument("--management", action="store_true", help="the management API's instead")
    scale = commands.add_parser("scale", help="change the number of workers and wait for them")
    scale.add_argument("--workers", type=_workers, required=True, metavar="N")
    deploy = commands.add_parser("deploy", help="bring up a version beside the one in service")
    deploy.add_argument("archive", type=Path, metavar="MAR")
    deploy.add_argument(
        "--canary", type=_percent(0, 99), metavar="P", help="percent of the films that it screens at first"
    )
    deploy.add_argument(
        "--shadow", type=_percent(1, 100), metavar="P", help="percent of the others that it screens to be compared"
    )
    for name, text in {
        "promote": "put the candidate in service",
        "abandon": "end the candidate",
        "rollback": "abandon the candidate, or go back to the version before",
        "status": "print what is in service, and how it is",
        "shadow": "print how the candidate's results differ from those that clients got",
        "versions": "print the versions",
        "models": "print TorchServe's description of the model",
    }.items():
        commands.add_parser(name, help=text)
    return parser


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_WORKERS}")
    return int(text)


def _percent(least: int, most: int) -> Callable[[str], int]:
    def percent(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return percent


if __name__ == "__main__":
    sys.exit(main())
