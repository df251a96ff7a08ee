"""Load in a closed loop: so many clients, each sending its next film when the last is answered, by wrk.

wrk costs a few per cent of a core at our rates, which matters where it shares the cores with what it measures.
Source: https://github.com/wg/wrk
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contenders.scoring import ROOT
from bench.errors import InputError, LoadError
from bench.load import Load
from bench.measures import Timing, timing_of
from bench.processes import tail

SCRIPT = Path(__file__).with_suffix(".lua")

LOCAL = ROOT / "build" / "wrk"
"""Where `make` unpacks Debian's package on a machine without wrk."""

REQUEST_TIMEOUT_S = 30

GRACE_S = 60.0
"""Beyond the duration of a load, before wrk is taken for hung."""

RESULT = "result "


@dataclass(frozen=True, slots=True)
class Wrk:
    """The load generator as it was found."""

    binary: str
    libraries: str
    """Folders for LD_LIBRARY_PATH, or nothing."""

    @classmethod
    def find(cls, local: Path = LOCAL) -> "Wrk":
        """Find wrk on the PATH or where `make` puts it.

        Raises:
            InputError: it is in neither place.
        """
        if installed := shutil.which("wrk"):
            return cls(installed, "")
        unpacked = local / "usr" / "bin" / "wrk"
        if unpacked.is_file():
            return cls(str(unpacked), ":".join(str(path) for path in local.glob("usr/lib/*-linux-gnu*")))
        raise InputError(f"wrk, the load generator, is not on the PATH and not in {local}: run `make build/wrk/.done`")

    @property
    def environ(self) -> dict[str, str]:
        """The environment to run it in."""
        return dict(os.environ) | ({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})

    @property
    def version(self) -> str:
        """Its own word, such as "wrk 4.1.0"."""
        said = subprocess.run([self.binary, "-v"], env=self.environ, capture_output=True, text=True, check=False)
        return " ".join((said.stdout + said.stderr).split()[:2])

    def run(self, load: Load, *, concurrency: int, seconds: float) -> Timing:
        """Load a contender; where it has several addresses, each gets its even share of the clients.

        Raises:
            LoadError: wrk failed or did not report.
        """
        shares = even_shares(concurrency, len(load.urls))
        commands = [
            self.command(load, url, concurrency=share, seconds=seconds)
            for url, share in zip(load.urls, shares, strict=True)
            if share
        ]
        logs = [load.folder / f"wrk-{number}.log" for number in range(len(commands))]
        processes = []
        try:
            for command, log in zip(commands, logs, strict=True):
                with log.open("wb") as output:
                    processes.append(
                        subprocess.Popen(command, env=self.environ, stdout=output, stderr=subprocess.STDOUT)
                    )
            for process in processes:
                process.wait(seconds + GRACE_S)
        except subprocess.TimeoutExpired as exc:
            raise LoadError(f"wrk did not end {GRACE_S:g} s after its time") from exc
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return merged([parse(log) for log in logs])

    def command(self, load: Load, url: str, *, concurrency: int, seconds: float) -> list[str]:
        """Return the command line; one thread is enough for a thousand films a second."""
        options = ["-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", f"--timeout={REQUEST_TIMEOUT_S}s"]
        named = [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
        return [self.binary, *options, *named, "-s", str(SCRIPT), url, "--", *map(str, load.bodies)]


def even_shares(total: int, parts: int) -> list[int]:
    """Return `total` in so many whole parts that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def parse(log: Path) -> dict[str, Any]:
    """Return what `closed_loop.lua` wrote at the end.

    Raises:
        LoadError: it wrote nothing, so wrk failed.
    """
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith(RESULT):
            told: dict[str, Any] = json.loads(line.removeprefix(RESULT))
            return told
    raise LoadError(f"wrk did not report: {tail(log)}")


def merged(parts: Sequence[Mapping[str, Any]]) -> Timing:
    """Return what the generators of one load measured together: latencies in one heap, throughputs added up."""
    took: Counter[float] = Counter()
    for part in parts:
        for microseconds, count in part["took_us"]:
            took[microseconds / 1000] += count
    seconds = max(part["duration_us"] for part in parts) / 1e6
    refused = sum(part["refused"] for part in parts)
    films = sum(part["requests"] for part in parts) - refused
    return timing_of(took, errors=refused + sum(part["broken"] for part in parts), seconds=seconds, films=films)
