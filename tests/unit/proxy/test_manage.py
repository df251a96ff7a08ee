import json
from pathlib import Path
from typing import Any

import pytest
import requests

from proxy import manage
from proxy.manage import main


class FakeResponse:
    def __init__(self, status_code: int, reply: object) -> None:
        self.status_code = status_code
        self._reply = reply
        self.ok = status_code < 400

    def json(self) -> object:
        if self._reply is None:
            raise requests.JSONDecodeError("none", "", 0)
        return self._reply


class FakeManagement:
    """Takes the place of requests' sessions; workers come up one look at a time."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, int]]] = []
        self.tokens: list[object] = []
        self.states = ["READY", "READY"]
        self.refusal: FakeResponse | None = None

    def request(self, session: requests.Session, method: str, url: str, *, params: dict[str, int], **_: Any) -> object:
        self.calls.append((method, url, params))
        self.tokens.append(session.headers["Authorization"])
        if self.refusal is not None:
            return self.refusal
        if method == "PUT":
            self.states = ["READY"] * 2 + ["UNLOADING"] * (params["min_worker"] - 2)
            return FakeResponse(202, {})
        answer = [{"workers": [{"status": state} for state in self.states]}]
        if "UNLOADING" in self.states:
            self.states[self.states.index("UNLOADING")] = "READY"
        return FakeResponse(200, answer)


@pytest.fixture
def management(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeManagement:
    (tmp_path / "key_file.json").write_text('{"inference": {"key": "inf"}, "management": {"key": "man"}}')
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    monkeypatch.setattr(manage, "POLL_S", 0.01)
    fake = FakeManagement()

    def request(session: requests.Session, method: str, url: str, **options: Any) -> object:
        return fake.request(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", request)
    return fake


@pytest.mark.usefixtures("management")
@pytest.mark.parametrize(("arguments", "token"), [([], "inf"), (["--management"], "man")])
def test_token_is_printed_alone(capsys: pytest.CaptureFixture[str], arguments: list[str], token: str) -> None:
    assert main(["token", *arguments]) == 0
    assert capsys.readouterr() == (f"{token}\n", "")


def test_scale_returns_when_the_workers_are_ready(
    management: FakeManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scale", "--workers", "4"]) == 0
    method, url, query = management.calls[0]
    assert (method, query) == ("PUT", {"min_worker": 4, "max_worker": 4})
    assert url == "http://127.0.0.1:8081/models/pneumonia"
    assert set(management.tokens) == {"Bearer man"}
    assert [worker["status"] for worker in json.loads(capsys.readouterr().out)[0]["workers"]] == ["READY"] * 4


def test_workers_that_do_not_come_up_are_told(
    management: FakeManagement, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manage, "SCALE_TIMEOUT_S", 0.0)
    assert main(["scale", "--workers", "9"]) == 2
    assert "still ['READY', 'READY'" in capsys.readouterr().err
    assert management.calls


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (FakeResponse(400, {"message": "min > max"}), "400: min > max"),
        (FakeResponse(502, None), "502 without JSON"),
    ],
)
def test_refusal_is_one_line(
    management: FakeManagement, capsys: pytest.CaptureFixture[str], refusal: FakeResponse, words: str
) -> None:
    management.refusal = refusal
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


def test_unreachable_torchserve_is_one_line(
    management: FakeManagement, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "request", refuse)
    assert main(["models"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert not management.calls


@pytest.mark.parametrize("arguments", [[], ["scale"], ["scale", "--workers", "0"], ["scale", "--workers", "x"], ["no"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
