import hashlib
from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.keys import RELOAD_S, Keys, main


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYS_FILE", str(tmp_path / "keys"))
    return tmp_path / "keys"


def add(name: str, capsys: pytest.CaptureFixture[str]) -> bytes:
    assert main(["add", name]) == 0
    return capsys.readouterr().out.strip().encode()


def test_key_is_known_by_its_owner_and_not_kept(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ward, clinic = add("ward-7", capsys), add("clinic", capsys)
    keys = Keys(path)
    assert (keys.owner(ward), keys.owner(clinic)) == ("ward-7", "clinic")
    assert keys.owner(b"guess") is keys.owner(b"") is None
    assert ward not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_keys_change_without_a_restart(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    first = add("first", capsys)
    keys = Keys(path, clock=lambda: now)
    second = add("second", capsys)
    assert main(["remove", "first"]) == 0
    assert keys.owner(second) is None
    now = RELOAD_S
    assert (keys.owner(first), keys.owner(second)) == (None, "second")


def test_broken_file_leaves_the_keys_as_they_were(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    key = add("ward", capsys)
    keys = Keys(path, clock=lambda: now)
    path.write_text("nonsense")
    now = RELOAD_S
    assert keys.owner(key) == "ward"


def test_file_that_others_can_read_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("ward", capsys)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        Keys(path)


@pytest.mark.parametrize("content", ["ward", "ward xyz", f"a b {'0' * 64}", "ward " + "é" * 64])
def test_other_file_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="KEYS_FILE"):
        Keys(path)


def test_list_prints_the_names_only(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = add("ward", capsys)
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "ward\n"
    assert hashlib.sha256(key).hexdigest() in path.read_text()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("arguments", [["remove", "nobody"], ["add", "two words"], ["add", ""], ["add", "x" * 65]])
def test_mistake_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("path")
def test_name_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    add("ward", capsys)
    assert main(["add", "ward"]) == 2


def test_variable_must_be_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("KEYS_FILE", raising=False)
    assert main(["list"]) == 2
    assert "KEYS_FILE" in capsys.readouterr().err
