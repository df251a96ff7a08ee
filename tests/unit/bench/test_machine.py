from pathlib import Path

from bench import machine


def test_machine_is_described_with_what_was_measured(tmp_path: Path) -> None:
    told = machine.describe(cores=2, generator="wrk", peers_python=tmp_path / "bin" / "python")
    assert told["cpu"]
    assert told["cores"] == 2
    assert told["packages"]["openvino"]
    assert "ray" not in told["packages"]


def test_versions_are_of_what_is_installed() -> None:
    assert set(machine.versions(["numpy", "no-such-package"])) == {"numpy"}


def test_versions_in_an_empty_folder_are_none(tmp_path: Path) -> None:
    assert machine.versions(["numpy"], [str(tmp_path)]) == {}
