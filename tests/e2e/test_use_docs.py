"""The commands of docs/use, run as they stand there against a service, which listens on other ports."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import ROOT
from tests.e2e.service import Service, running

PAGES = [ROOT / "docs" / "use" / f"{name}.md" for name in ("results", "heatmap", "worklist")]

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has what the commands want of the repository."""
    folder = tmp_path_factory.mktemp("clone")
    packages = ("handler", "proxy", "batch")
    for name in (*packages, "reference", "model_store", ".venv", "Makefile", "requirements", "config"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(BLOCK.findall(page.read_text()))
    ],
)
def test_commands_work_as_they_stand(service: Service, folder: Path, block: str) -> None:
    for port, name in (("7860", "PORT"), ("8080", "INFERENCE_PORT")):
        block = block.replace(f":{port}/", f":{service.ports[name]}/")
    block = block.replace("curl ", "curl --fail-with-body -sS ").replace("$(make -s token)", service.token())
    done = subprocess.run(["bash", "-ec", block], cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    assert b"error" not in done.stdout[:200]
