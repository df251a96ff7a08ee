"""What was measured on, and with which versions."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.contenders.scoring import ROOT

SERVICE_PACKAGES = (
    "openvino",
    "pillow",
    "numpy",
    "torch",
    "torchvision",
    "torchserve",
    "fastapi",
    "uvicorn",
    "httptools",
)
PEER_PACKAGES = ("litserve", "bentoml", "ray")

BUSY_LOAD = 0.3
"""Load average a core above which the figures are not to be trusted."""


def describe(*, cores: int, generator: str, peers_python: Path) -> dict[str, Any]:
    """Return what `results.json` says of the machine."""
    load = os.getloadavg()[0]
    return {
        "cpu": cpu(),
        "cores": cores,
        "cores_of_machine": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": versions(SERVICE_PACKAGES) | versions(PEER_PACKAGES, site_packages(peers_python)),
        "generator": generator,
        "commit": commit(),
        "load_average": round(load, 2),
        "busy": load > BUSY_LOAD * cores,
    }


def cpu() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def site_packages(python: Path) -> list[str]:
    """Return where a virtual environment keeps its packages."""
    return [str(path) for path in python.parent.parent.glob("lib/python3*/site-packages")]


def versions(names: Iterable[str], path: list[str] | None = None) -> dict[str, str]:
    """Return the versions of those packages that are installed, here or in the folders of `path`."""
    found = {}
    for name in names:
        here = metadata.distributions(name=name, path=sys.path if path is None else path)
        if distribution := next(iter(here), None):
            found[name] = distribution.version
    return found


def commit() -> str | None:
    """Return the commit that is checked out, with a mark where files differ; None outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip() or None
