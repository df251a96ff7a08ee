"""What is measured on: the cores that everything shares, the machine and the versions."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.contenders.scoring import ROOT

MODEL_PACKAGES = ("openvino", "pillow", "numpy", "torch", "torchvision")
SERVER_PACKAGES = ("torchserve", "fastapi", "uvicorn", "httptools")
PEER_PACKAGES = ("litserve", "bentoml", "ray")

BUSY_LOAD = 0.3
"""Load average a core above which the figures are not to be trusted."""


def pin(cores: int) -> int:
    """Bind this process, and all that it will start, to so many cores; return how many those are.

    Fewer where the machine has fewer; macOS binds none.
    """
    if not hasattr(os, "sched_setaffinity"):
        return min(cores, os.cpu_count() or 1)
    usable = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, usable)
    return len(usable)


def describe(*, cores: int, generator: str, peers_python: Path) -> dict[str, Any]:
    """Return the machine's entry of `results.json`."""
    load = os.getloadavg()[0]
    peers = [str(path) for path in peers_python.parent.parent.glob("lib/python3*/site-packages")]
    return {
        "cpu": _cpu(),
        "cores": cores,
        "cores_of_machine": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": versions(MODEL_PACKAGES + SERVER_PACKAGES, sys.path) | versions(PEER_PACKAGES, peers),
        "generator": generator,
        "commit": _commit(),
        "load_average": round(load, 2),
        "busy": load > BUSY_LOAD * cores,
    }


def versions(names: Sequence[str], folders: list[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed in the folders."""
    installed = {name: next(iter(metadata.distributions(name=name, path=folders)), None) for name in names}
    return {name: package.version for name, package in installed.items() if package}


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit that is checked out, marked where files differ; None outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
