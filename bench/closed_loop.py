"""Load in a closed loop: each client sends its next film when the last is answered, by wrk.

wrk costs a few per cent of a core at our rates, which matters where it shares the cores with what it measures.
Source: https://github.com/wg/wrk
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contenders.scoring import ROOT
from bench.errors import InputError, LoadError
from bench.films import Load
from bench.results import Timing

SCRIPT = Path(__file__).with_suffix(".lua")

UNPACKED = ROOT / "build" / "wrk"
"""Where `make` unpacks Debian's package on a machine without wrk."""

REQUEST_TIMEOUT_S = 30
GRACE_S = 60.0
"""Beyond the duration of a load, before wrk is taken for hung."""

RESULT = "result "
"""Begins the line that `closed_loop.lua` writes at the end."""


@dataclass(frozen=True, slots=True)
class Wrk:
    """The load generator."""

    binary: str
    libraries: str = ""
    """Folders for LD_LIBRARY_PATH."""

    @classmethod
    def find(cls, unpacked: Path = UNPACKED) -> "Wrk":
        """Find wrk on the PATH or where `make` puts it.

        Raises:
            InputError: it is in neither place.
        """
        if installed := shutil.which("wrk"):
            return cls(installed)
        if (binary := unpacked / "usr/bin/wrk").is_file():
            return cls(str(binary), ":".join(map(str, unpacked.glob("usr/lib/*-linux-gnu*"))))
        raise InputError(
            f"wrk, the load generator, is not on the PATH and not in {unpacked}: run `make build/wrk/.done`"
        )

    def output(self, *arguments: str, timeout_s: float = GRACE_S) -> str:
        """Run it, and return what it prints.

        Raises:
            LoadError: it does not end.
        """
        environ = dict(os.environ) | ({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})
        command = [self.binary, *arguments]
        try:
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise LoadError(f"wrk did not end within {timeout_s:g} s") from exc
        return done.stdout + done.stderr

    def run(self, load: Load, *, concurrency: int, seconds: float) -> Timing:
        """Load a contender; where it has several addresses, a process of wrk each has an even share of the clients.

        Raises:
            LoadError: wrk fails or does not report.
        """

        def one(url: str, clients: int) -> dict[str, Any]:
            return report(self.output(*options(load, url, clients, seconds), timeout_s=seconds + GRACE_S))

        shares = even_shares(concurrency, len(load.urls))
        used = [(url, share) for url, share in zip(load.urls, shares, strict=True) if share]
        with ThreadPoolExecutor(len(used)) as pool:
            return merged(list(pool.map(one, *zip(*used, strict=True))))


def options(load: Load, url: str, clients: int, seconds: float) -> list[str]:
    """Return the arguments of wrk; one thread is enough for a thousand films a second."""
    headers = [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
    sizes = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", f"--timeout={REQUEST_TIMEOUT_S}s"]
    return [*sizes, *headers, "-s", str(SCRIPT), url, "--", *map(str, load.bodies)]


def even_shares(total: int, parts: int) -> list[int]:
    """Return `total` in so many whole parts that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def report(output: str) -> dict[str, Any]:
    """Return what `closed_loop.lua` wrote at the end of wrk's output.

    Raises:
        LoadError: nothing, so wrk failed.
    """
    for line in output.splitlines():
        if line.startswith(RESULT):
            found: dict[str, Any] = json.loads(line.removeprefix(RESULT))
            return found
    raise LoadError(f"wrk did not report: {' '.join(output.split())[-500:]}")


def merged(reports: Sequence[Mapping[str, Any]]) -> Timing:
    """Return what the generators of one load measured together."""
    pairs = [pair for one in reports for pair in one["took_us"]]
    microseconds, counts = np.array(pairs, dtype=int).reshape(-1, 2).T  # (pairs, 2)
    refused = sum(one["refused"] for one in reports)
    return Timing.of(
        np.repeat(microseconds / 1000, counts),
        errors=refused + sum(one["broken"] for one in reports),
        seconds=max(one["duration_us"] for one in reports) / 1e6,
        films=sum(one["requests"] for one in reports) - refused,
    )
