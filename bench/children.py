"""Commands of this package that are run as processes and answer in JSON."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from bench.contenders.scoring import ROOT
from bench.errors import LoadError

START_S = 120.0
"""How long they may take beside their time."""


def json_of(command: Sequence[str], seconds: float) -> Any:
    """Run a command and return what it prints.

    Raises:
        LoadError: it failed, hung or printed no JSON.
    """
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=seconds + START_S)
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as exc:
        said = " ".join(str(getattr(exc, "stderr", None) or exc).split())
        raise LoadError(f"{' '.join(command[1:3])} failed: {said[-500:]}") from exc
