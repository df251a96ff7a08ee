"""The commands of docs/use/pacs.md, run as they stand there, on other ports."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.dicom_peers import wait_until
from tests.e2e.dicom_node import need
from tests.e2e.service import ROOT, free_ports, running

PAGE = (ROOT / "docs" / "use" / "pacs.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that has what the commands want of the repository."""
    for name in ("reference", "dicom_node", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


class Terminal:
    """A shell that keeps its variables from block to block, and whose background jobs are ended with it."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self._folder = folder
        self._replaced = replaced
        self._variables = ""

    def run(self, block: str) -> str:
        for old, new in self._replaced.items():
            block = block.replace(old, new)
        run = subprocess.run(
            ["bash", "-ec", f"{self._variables}\n{block}\njobs -p >> jobs"],
            cwd=self._folder, capture_output=True, text=True, errors="replace", timeout=300, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        self._variables += "\n".join(re.findall(r"^export .*", block, re.MULTILINE)) + "\n"
        return run.stdout

    def close(self) -> None:
        for pid in map(int, (self._folder / "jobs").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


@pytest.fixture
def ports() -> dict[str, str]:
    numbers = ("11112", "11180", "4242", "8042")
    return dict(zip(numbers, map(str, free_ports(len(numbers))), strict=True))


@pytest.fixture
def terminal(folder: Path, ports: dict[str, str]) -> Iterator[Terminal]:
    need("storescu", "img2dcm", "dsrdump", "Orthanc")
    with running() as service:
        # The node's own ports are settings, and the service is that of the test.
        own = f"export DICOM_PORT={ports['11112']} DICOM_SERVICE_URL={service.url}\n"
        terminal = Terminal(folder, ports | {"make dicom-node": f"{own}exec .venv/bin/python -m dicom_node"})
        (folder / "jobs").touch()
        try:
            yield terminal
        finally:
            terminal.close()


def test_commands_of_the_page_work_in_their_order(terminal: Terminal, folder: Path, ports: dict[str, str]) -> None:
    install, pacs, node, send, look, stow, listing = BLOCKS
    assert "apt-get install" in install
    url = f"http://localhost:{ports['8042']}"

    terminal.run(pacs)
    wait_until(lambda: _answers(f"{url}/system"), "Orthanc")
    terminal.run(node)
    wait_until(lambda: "Ready:" in (folder / "out" / "pacs" / "node.log").read_text(), "the node")
    terminal.run(send)
    wait_until(lambda: len(requests.get(f"{url}/instances", timeout=10).json()) == 2, "both results")
    found = terminal.run(look)
    for text in ("[SR]", "[OT]", "NOT FOR DIAGNOSIS", '"Pneumonia"', "Not for diagnosis."):
        assert text in found
    assert "00081199" in terminal.run(stow), "taken"
    assert terminal.run(listing).count("\n") == 1, "nothing but the head"


def test_page_names_the_settings_that_there_are() -> None:
    settings = (ROOT / "dicom_node" / "settings.py").read_text()
    for name in re.findall(r"`DICOM_(\w+)`", PAGE):
        assert re.search(rf"^    {name.lower()}:", settings, re.MULTILINE), name


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
