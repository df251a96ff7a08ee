import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.errors import SettingsError, StartError
from proxy.machine import most_connections, require_disk, require_memory, workers_that_fit


@pytest.mark.parametrize(("limit", "expected"), [(256, 176), (112, 32), (1_000_000, 999_920)])
def test_connections_are_what_the_service_leaves_of_the_open_files(
    monkeypatch: pytest.MonkeyPatch, limit: int, expected: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert most_connections(2) == expected


@pytest.mark.parametrize(("limit", "workers"), [(64, 1), (111, 2)])
def test_too_few_open_files_are_refused_by_number(monkeypatch: pytest.MonkeyPatch, limit: int, workers: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    with pytest.raises(SettingsError, match=rf"only {limit} files .*WORKERS={workers} at least \d+"):
        most_connections(workers)


class System:
    """What a system says of memory, as files."""

    def __init__(self, folder: Path, *, available_kb: int, groups: str = "") -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        text = f"MemTotal: 99999999 kB\nMemAvailable: {available_kb} kB\nSwapFree: 0 kB\nHugePages_Total: 0\n"
        (self.proc / "meminfo").write_text(text)
        (self.proc / "self" / "cgroup").write_text(groups)

    def limit(self, file: str, text: str) -> None:
        path = self.cgroups / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def require(self, workers: int) -> None:
        require_memory(workers, self.proc, self.cgroups)


def test_enough_memory_is_enough(tmp_path: Path) -> None:
    System(tmp_path, available_kb=8_000_000).require(2)


def test_little_memory_is_refused_by_number(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"only 307 MB of memory .*WORKERS=2 needs 650 MB"):
        System(tmp_path, available_kb=300_000).require(2)


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/a/b\n", "a/b/memory.max"),
        ("0::/a/b\n", "a/memory.max"),
        ("0::/../b\n", "memory.max"),
        ("7:cpu:/\n4:memory:/a/b\n0::/\n", "memory/a/b/memory.limit_in_bytes"),
        ("4:cpu,memory:/a/b\n", "memory/memory.limit_in_bytes"),
    ],
)
def test_limit_of_a_control_group_counts(tmp_path: Path, groups: str, file: str) -> None:
    system = System(tmp_path, available_kb=8_000_000, groups=groups)
    for root in ("memory.max", "memory/memory.limit_in_bytes"):
        system.limit(root, "900000000\n")  # the wider limit of a group above does not lift it
    system.limit(file, "300000000\n")
    with pytest.raises(SettingsError, match=r"only 300 MB of memory \(the control group's limit\)"):
        system.require(1)


def test_control_group_without_a_limit_does_not_count(tmp_path: Path) -> None:
    system = System(tmp_path, available_kb=8_000_000, groups="0::/a\n")
    system.limit("a/memory.max", "max\n")
    system.require(2)


def test_system_that_does_not_say_is_taken_as_enough(tmp_path: Path) -> None:
    require_memory(2, tmp_path, tmp_path)


def test_full_disk_is_refused_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20_000_000))
    require_disk(tmp_path, 12_000_000)
    with pytest.raises(StartError, match=r"RUN_DIR=.* has 20 MB of disk left: 21 MB are needed"):
        require_disk(tmp_path, 13_000_000)


@pytest.mark.parametrize(("available_kb", "workers"), [(100_000, 1), (700_000, 2), (3_000_000, 12)])
def test_as_many_workers_fit_as_memory_holds(tmp_path: Path, available_kb: int, workers: int) -> None:
    system = System(tmp_path, available_kb=available_kb)
    assert workers_that_fit(system.proc, system.cgroups) == workers


def test_system_that_does_not_say_bounds_nothing(tmp_path: Path) -> None:
    assert workers_that_fit(tmp_path / "none", tmp_path / "none") is None
    system = System(tmp_path, available_kb=1, groups="nonsense\n")
    (system.proc / "meminfo").write_text("\nMemAvailable:\n")
    assert workers_that_fit(system.proc, system.cgroups) is None
