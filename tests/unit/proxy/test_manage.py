import asyncio
import json
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy import control
from proxy.availability.shadow import Comparison
from proxy.control import Control
from proxy.errors import DeployError
from proxy.manage import main
from proxy.torchserve.run_dir import CURRENT


class FakeManagement:
    """TorchServe's management API; workers come up one look at a time."""

    def __init__(self) -> None:
        self.states = ["READY", "READY"]

    async def scale(self, workers: int) -> None:
        self.states = ["READY"] * 2 + ["UNLOADING"] * (workers - 2)

    async def worker_states(self) -> list[str]:
        states = list(self.states)
        if "UNLOADING" in self.states:
            self.states[self.states.index("UNLOADING")] = "READY"
        return states

    async def describe(self) -> Any:
        return [{"workers": [{"status": state} for state in self.states]}]


class FakeReleases:
    """Takes the place of the running service's."""

    def __init__(self, previous: Path) -> None:
        self.previous = previous
        self.management = FakeManagement()
        self.current = SimpleNamespace(
            archive=SimpleNamespace(name="1.0.0 (abc)", version="1.0.0", sha256="abc"),
            client=SimpleNamespace(management=self.management),
            readiness=SimpleNamespace(state="ready", reason=""),
            admission=SimpleNamespace(workers=2, waiting=0, in_torchserve=0),
            settings=SimpleNamespace(torchserve_ports={"INFERENCE_PORT": 8080}),
        )
        self.candidate = None
        self.shadow: Any = None
        self.share = 0.0
        self.calls: list[tuple[object, ...]] = []
        self.fault: Exception | None = None
        self.lock = asyncio.Lock()

    def exclusive(self) -> asyncio.Lock:
        return self.lock

    async def deploy(self, path: Path, share: float, report: Callable[[str], None], *, shadow: float) -> None:
        await self._note("deploy", path, share, shadow, report=report)

    async def promote(self, report: Callable[[str], None]) -> None:
        await self._note("promote", report=report)

    async def abandon(self, report: Callable[[str], None]) -> None:
        await self._note("abandon", report=report)

    async def rollback(self, report: Callable[[str], None]) -> None:
        await self._note("rollback", report=report)

    async def _note(self, *call: object, report: Callable[[str], None]) -> None:
        self.calls.append(call)
        report("a step")
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def empty_run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder without a service; its name is short, for sockets."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as folder:
        monkeypatch.setenv("RUN_DIR", folder)
        yield Path(folder)


@pytest.fixture
def run_dir(empty_run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a service; nobody listens in it."""
    (empty_run_dir / "1").mkdir()
    (empty_run_dir / CURRENT).symlink_to("1")
    (empty_run_dir / "1" / "key_file.json").write_text('{"inference": {"key": "inf"}, "management": {"key": "man"}}')
    monkeypatch.setattr(control, "POLL_S", 0.01)
    return empty_run_dir


@pytest.fixture
def releases(run_dir: Path) -> Iterator[FakeReleases]:
    """The releases behind a control socket that listens."""
    releases, loop = FakeReleases(run_dir / "previous.mar"), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(work: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(work), loop).result(10)

    commands = Control(releases)  # type: ignore[arg-type]
    server = do(commands.listen(run_dir))
    yield releases
    loop.call_soon_threadsafe(server.close)
    do(commands.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


@pytest.mark.usefixtures("run_dir")
@pytest.mark.parametrize(("arguments", "token"), [([], "inf"), (["--management"], "man")])
def test_token_is_printed_by_itself(capsys: pytest.CaptureFixture[str], arguments: list[str], token: str) -> None:
    assert main(["token", *arguments]) == 0
    assert capsys.readouterr() == (f"{token}\n", "")


@pytest.mark.usefixtures("releases")
def test_scale_returns_when_the_workers_are_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--workers", "4"]) == 0
    assert [worker["status"] for worker in json.loads(capsys.readouterr().out)[0]["workers"]] == ["READY"] * 4


@pytest.mark.usefixtures("releases")
def test_workers_that_do_not_come_up_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "SCALE_TIMEOUT_S", 0.0)
    assert main(["scale", "--workers", "9"]) == 2
    assert "still ['READY', 'READY'" in capsys.readouterr().err


@pytest.mark.usefixtures("releases")
def test_status_names_version_state_and_ports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    current = json.loads(capsys.readouterr().out)["current"]
    assert (current["version"], current["state"], current["workers"]) == ("1.0.0", "ready", 2)
    assert current["ports"] == {"INFERENCE_PORT": 8080}


@pytest.mark.parametrize(
    ("arguments", "share", "shadow"),
    [
        ([], 1.0, 0.0),
        (["--canary", "10"], 0.1, 0.0),
        (["--canary", "0"], 0.0, 0.0),
        (["--shadow", "100"], 0.0, 1.0),
        (["--canary", "10", "--shadow", "50"], 0.1, 0.5),
    ],
)
def test_deploy_hands_over_archive_and_shares_and_prints_its_steps(
    releases: FakeReleases, capsys: pytest.CaptureFixture[str], arguments: list[str], share: float, shadow: float
) -> None:
    assert main(["deploy", "x.mar", *arguments]) == 0
    assert releases.calls == [("deploy", Path.cwd() / "x.mar", share, shadow)]
    captured = capsys.readouterr()
    assert captured.err == "a step\n"
    assert json.loads(captured.out) == {"current": "1.0.0 (abc)", "candidate": None, "previous": None}


def test_shadow_is_reported_by_itself_and_in_the_status(
    releases: FakeReleases, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = Comparison()
    comparison.add(result("NORMAL", 0.4), result("PNEUMONIA", 0.6))
    releases.shadow = SimpleNamespace(share=0.5, comparison=comparison)
    assert main(["shadow"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["flipped"] == {"NORMAL to PNEUMONIA": 1, "PNEUMONIA to NORMAL": 0}
    assert found["p_difference"] == {"mean": 0.2, "mean_absolute": 0.2, "largest": 0.2}
    assert main(["status"]) == 0
    assert json.loads(capsys.readouterr().out)["shadow"] == {"share": 0.5, **found}


def result(prediction: str, p_pneumonia: float) -> bytes:
    return json.dumps({"prediction": prediction, "p_pneumonia": p_pneumonia}).encode()


@pytest.mark.usefixtures("releases")
def test_shadow_where_there_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shadow"]) == 2
    assert capsys.readouterr().err == "error: no candidate screens films in the shadow\n"


@pytest.mark.parametrize("command", ["promote", "abandon", "rollback"])
def test_other_commands_reach_the_service(releases: FakeReleases, command: str) -> None:
    assert main([command]) == 0
    assert releases.calls == [(command,)]


def test_refusal_is_one_line(releases: FakeReleases, capsys: pytest.CaptureFixture[str]) -> None:
    releases.fault = DeployError("it does not serve")
    assert main(["rollback"]) == 2
    assert capsys.readouterr().err == "a step\nerror: it does not serve\n"


@pytest.mark.parametrize("line", [b"", b"nonsense\n", b"[]\n", b'{"command": "no"}\n', b'{"command": "scale"}\n'])
@pytest.mark.usefixtures("releases")
def test_what_is_no_command_is_answered(run_dir: Path, line: bytes) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_unix_connection(run_dir / control.SOCKET)
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    assert "not understood" in json.loads(asyncio.run(ask()))["error"]


@pytest.mark.usefixtures("empty_run_dir")
@pytest.mark.parametrize("arguments", [["token"], ["models"], ["scale", "--workers", "2"], ["status"]])
def test_service_that_does_not_run_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith("is the service running?\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["scale"],
        ["scale", "--workers", "0"],
        ["scale", "--workers", "x"],
        ["no"],
        ["deploy"],
        ["deploy", "x", "--canary", "100"],
        ["deploy", "x", "--shadow", "0"],
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
