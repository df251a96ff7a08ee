"""The make targets that decide by themselves whether there is something to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Under `make test` the outer make's flags would reach this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    if not (ROOT / "model_store" / "pneumonia.mar").exists():
        pytest.fail("run the tests by `make test`, which builds the archive first")


def test_archive_that_is_up_to_date_is_left_alone() -> None:
    assert make("--question", "archive").returncode == 0


@pytest.mark.parametrize(
    "changed",
    [
        "model_store/pneumonia.onnx",
        "model_store/contract.json",
        "model_store/gate.npz",
        "handler/imaging.py",
        "handler/pneumonia_handler.py",
        "config/model-config.yaml",
        "requirements/handler.txt",
    ],
)
def test_archive_is_rebuilt_when_what_goes_in_has_changed(changed: str) -> None:
    assert make("--question", f"--what-if={changed}", "archive").returncode == 1


def test_archive_that_the_service_put_there_is_served_on_and_made_anew_to_be_deployed() -> None:
    mark = ROOT / "model_store" / ".pneumonia.put-here"
    mark.touch()
    try:
        assert make("--question", "archive").returncode == 1
        assert "torch-model-archiver" in make("--dry-run", "deploy").stdout
        assert "torch-model-archiver" not in make("--dry-run", "serve").stdout
    finally:
        mark.unlink()


def test_archive_is_not_rebuilt_for_what_stays_out() -> None:
    assert make("--question", "--what-if=proxy/http/app.py", "archive").returncode == 0


def test_help_lists_every_target() -> None:
    targets = set(re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    listed = {line.split()[1] for line in make("help").stdout.splitlines()}
    assert listed == targets


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("train", "DATA"),
        ("evaluate", "DATA"),
        ("validate-site", "DATA"),
        ("report", "DATA"),
        ("reproduce", "DATA"),
        ("scale", "WORKERS"),
    ],
)
def test_missing_argument_is_named(target: str, missing: str) -> None:
    refused = make(target)
    assert refused.returncode == 2
    assert missing in refused.stderr


ANSWERS = {
    "none": ("raise SystemExit('requests.exceptions.ConnectionError: no network')", 2, "nothing was checked"),
    "some are not known there": (
        "raise SystemExit('ERROR: x: Dependency not found on PyPI')",
        2,
        "nothing was checked",
    ),
    "a vulnerability": ("print('Name Version ID'); raise SystemExit(1)", 2, "Name Version ID"),
    "no vulnerability": ("print('No known vulnerabilities found')", 0, "No known vulnerabilities"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_audit_of_packages_passes_only_where_all_were_checked(tmp_path: Path, name: str) -> None:
    script, status, words = ANSWERS[name]
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pip-audit"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    (tmp_path / ".audit").touch()
    done = make("audit-packages", f"VENV_AUDIT={tmp_path}")
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    if "nothing" in words:  # one line, and make's own
        assert done.stdout == ""
        assert [line for line in done.stderr.splitlines() if not line.startswith("make: ***")] == [
            line for line in done.stderr.splitlines() if words in line
        ]


def test_another_store_is_packed_and_served_with_its_own_reference_answers(tmp_path: Path) -> None:
    for name in ("pneumonia.onnx", "contract.json", "gate.npz"):
        (tmp_path / name).write_bytes((ROOT / "model_store" / name).read_bytes())
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "expected.json").touch()
    planned = " ".join(make("--dry-run", "serve", f"MODEL_STORE={tmp_path}").stdout.split())
    assert f"--export-path {tmp_path}" in planned
    assert f"build/archive,{tmp_path}/pneumonia.onnx,{tmp_path}/contract.json" in planned
    assert f"cp {tmp_path}/reference/expected.json build/archive/reference/" in planned
    assert f"MODEL_STORE={tmp_path}" in planned


def test_shipped_store_is_packed_with_the_repository_s_reference_answers() -> None:
    planned = make("--dry-run", "--always-make", "archive").stdout
    assert "cp reference/expected.json reference/normal-1-224.jpeg" in planned


def test_shipped_recipe_is_reproduced_unless_another_is_named() -> None:
    assert "--recipe" not in make("--dry-run", "reproduce", "DATA=films").stdout
    assert (
        "--recipe dropout --seeds 0 1"
        in make("--dry-run", "reproduce", "DATA=films", "RECIPE=dropout", "SEEDS=0 1").stdout
    )


def planned(target: str, *arguments: str) -> str:
    return " ".join(make("--dry-run", "--always-make", target, *arguments).stdout.replace("\\\n", "").split())


def test_worklist_is_screened_as_asked_and_ray_installed_only_for_ray() -> None:
    lone = planned("worklist", "IN=films", "OUT=r.csv")
    assert "-m batch films --out r.csv --model-store model_store" in lone
    assert "worklist-ray.txt" not in lone
    by_ray = planned("worklist", "IN=films", "OUT=r.csv", "ENGINE=ray", "POINT=balanced")
    assert "-r requirements/worklist-ray.txt" in by_ray
    assert "--operating-point balanced --model-store model_store --engine ray" in by_ray
    assert "-m batch films --out r.csv --server http://host" in planned(
        "worklist", "IN=films", "OUT=r.csv", "SERVER=http://host"
    )


@pytest.mark.parametrize(("given", "missing"), [("IN=films", "OUT"), ("OUT=r.csv", "IN")])
def test_missing_argument_of_a_worklist_is_named(given: str, missing: str) -> None:
    refused = make("--dry-run", "worklist", given)
    assert refused.returncode == 2
    assert missing in refused.stderr
