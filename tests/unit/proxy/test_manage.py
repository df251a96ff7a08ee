import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from proxy import manage
from proxy.manage import main


class FakeManagement:
    """TorchServe's management API on a real socket; workers come up one look at a time."""

    def __init__(self) -> None:
        self.scaled: list[dict[str, str]] = []
        self.tokens: set[str] = set()
        self.states = ["READY", "READY"]
        self.refusal: web.Response | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers["Authorization"])
        if self.refusal is not None:
            return self.refusal
        if request.method == "PUT":
            self.scaled.append(dict(request.query))
            self.states = ["READY"] * 2 + ["UNLOADING"] * (int(request.query["min_worker"]) - 2)
            return web.json_response({}, status=202)
        answer = [{"workers": [{"status": state} for state in self.states]}]
        if "UNLOADING" in self.states:
            self.states[self.states.index("UNLOADING")] = "READY"
        return web.json_response(answer)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a service whose management API nobody answers."""
    (tmp_path / "key_file.json").write_text('{"inference": {"key": "inf"}, "management": {"key": "man"}}')
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    monkeypatch.setenv("MANAGEMENT_PORT", str(unused_port()))
    monkeypatch.setattr(manage, "POLL_S", 0.01)
    return tmp_path


@pytest.fixture
def management(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeManagement]:
    assert run_dir.exists()
    fake, loop, ports = FakeManagement(), asyncio.new_event_loop(), []

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/models/pneumonia", fake.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    monkeypatch.setenv("MANAGEMENT_PORT", str(ports[0]))
    yield fake
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.usefixtures("run_dir")
@pytest.mark.parametrize(("arguments", "token"), [([], "inf"), (["--management"], "man")])
def test_token_is_printed_alone(capsys: pytest.CaptureFixture[str], arguments: list[str], token: str) -> None:
    assert main(["token", *arguments]) == 0
    assert capsys.readouterr() == (f"{token}\n", "")


def test_scale_returns_when_the_workers_are_ready(
    management: FakeManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scale", "--workers", "4"]) == 0
    assert management.scaled == [{"min_worker": "4", "max_worker": "4"}]
    assert management.tokens == {"Bearer man"}
    assert [worker["status"] for worker in json.loads(capsys.readouterr().out)[0]["workers"]] == ["READY"] * 4


def test_workers_that_do_not_come_up_are_reported(
    management: FakeManagement, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manage, "SCALE_TIMEOUT_S", 0.0)
    assert main(["scale", "--workers", "9"]) == 2
    assert "still ['READY', 'READY'" in capsys.readouterr().err
    assert management.scaled


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((400, '{"message": "min > max"}'), "400: min > max"),
        ((502, "<html>"), "502 without JSON"),
    ],
)
def test_refusal_is_one_line(
    management: FakeManagement, capsys: pytest.CaptureFixture[str], refusal: tuple[int, str], words: str
) -> None:
    management.refusal = web.Response(status=refusal[0], text=refusal[1])
    assert main(["models"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["token"], ["models"], ["scale", "--workers", "2"]])
def test_service_that_does_not_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith("is the service running?\n")


@pytest.mark.usefixtures("run_dir")
def test_unreachable_torchserve_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["scale"], ["scale", "--workers", "0"], ["scale", "--workers", "x"], ["no"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
