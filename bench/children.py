"""Commands of this package that are run as processes and answer in JSON."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contender import python_module
from bench.contenders.scoring import ROOT
from bench.errors import LoadError
from bench.films import BenchFilm

START_S = 120.0
"""How long they may take beside their time."""


def over_films(module: str, films: Sequence[BenchFilm], *, processes: int, seconds: float, folder: Path) -> Any:
    """Run a command of `side_by_side.py` over films, which are written to a new folder, and return what it prints.

    Raises:
        LoadError: it failed, hung or printed no JSON.
    """
    folder.mkdir()
    paths = [folder / film.name for film in films]
    for path, film in zip(paths, films, strict=True):
        path.write_bytes(film.data)
    return json_of(python_module(module, "--processes", processes, "--seconds", seconds, *paths), seconds)


def json_of(command: Sequence[str], seconds: float, *, grace_s: float | None = None) -> Any:
    """Run a command that takes so long, and START_S or `grace_s` beside, and return what it prints.

    Raises:
        LoadError: it failed, hung or printed no JSON.
    """
    timeout_s = seconds + (START_S if grace_s is None else grace_s)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=timeout_s)
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as exc:
        said = " ".join(str(getattr(exc, "stderr", None) or exc).split())
        raise LoadError(f"{' '.join(command[1:3])} failed: {said[-500:]}") from exc
