import os
import sys
from pathlib import Path

import pytest

from bench import machine


def test_machine_is_described_with_what_was_measured(tmp_path: Path) -> None:
    found = machine.describe(cores=2, generator="wrk", peers_python=tmp_path / "bin" / "python")
    assert found["cpu"]
    assert found["cores"] == 2
    assert found["packages"]["openvino"]
    assert "ray" not in found["packages"]


def test_versions_are_of_what_is_installed() -> None:
    assert set(machine.versions(["numpy", "no-such-package"], sys.path)) == {"numpy"}


def test_versions_in_an_empty_folder_are_none(tmp_path: Path) -> None:
    assert machine.versions(["numpy"], [str(tmp_path)]) == {}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_process_is_bound_to_so_many_cores() -> None:
    before = os.sched_getaffinity(0)
    try:
        assert machine.pin(1) == 1
        assert len(os.sched_getaffinity(0)) == 1
    finally:
        os.sched_setaffinity(0, before)
