"""A soak in its shortest form: what an hour would show, as far as twenty seconds can."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.closed_loop import Wrk
from bench.errors import InputError
from tests.e2e.service import ROOT


def test_memory_and_open_files_stay_flat(tmp_path: Path) -> None:
    try:
        Wrk.find()
    except InputError as exc:
        pytest.skip(str(exc))
    command = [sys.executable, "-m", "bench.soak", "--seconds", "20", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["flat"], done.stdout
    assert found["films"] > found["failed"] == 0
    assert done.returncode == 0
    assert {"mean", "slope_per_hour", "growth", "limit", "flat"} == set(found["memory_mb"]) == set(found["open_files"])
    assert len(found["samples"]) > 10
    assert all(sample["memory_mb"] > 0 and sample["files"] > 0 for sample in found["samples"])
