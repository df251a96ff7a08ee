import json
from pathlib import Path

import pytest

from proxy.errors import ProxyError, SettingsError
from proxy.torchserve.run_dir import LOCK_NAME, RunDir, claim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_folder_is_private_and_removed_at_the_end(path: Path) -> None:
    with claim(path):
        assert path.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


def test_folder_in_use_is_refused(path: Path) -> None:
    with claim(path):
        with pytest.raises(SettingsError, match="in use"), claim(path):
            pass
        assert path.exists()


def test_folder_left_by_a_killed_run_is_cleaned(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / LOCK_NAME).touch()
    (path / "key_file.json").write_text("old")
    (path / "tmp").mkdir()
    (path / "tmp" / ".ts.sock.9000").touch()
    with claim(path):
        assert [entry.name for entry in path.iterdir()] == [LOCK_NAME]


def test_folder_of_a_release_is_made_and_emptied(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "1")
    run_dir.empty()
    run_dir.keys.write_text("old")
    (run_dir.temp / ".ts.sock.9000").touch()
    run_dir.empty()
    assert not run_dir.keys.exists()
    assert not any(run_dir.temp.iterdir())
    assert run_dir.path.stat().st_mode & 0o777 == 0o700


def test_folder_with_other_files_is_refused_and_untouched(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="other files"), claim(path):
        pass
    assert (path / "thesis.txt").read_text() == "precious"


def test_link_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="not a folder"), claim(path):
        pass


def test_folder_open_to_others_is_refused(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.chmod(0o755)
    with pytest.raises(SettingsError, match="open to other users"), claim(path):
        pass


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="RUN_DIR"), claim(tmp_path / "file" / "run"):
        pass


def test_links_inside_are_removed_and_not_followed(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    path.mkdir(mode=0o700)
    (path / LOCK_NAME).touch()
    (path / "link").symlink_to(outside)
    with claim(path):
        assert not (path / "link").exists()
    assert (outside / "kept").exists()


def test_tokens_are_read_from_torchserves_keys(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.keys.write_text(json.dumps({"inference": {"key": "in"}, "management": {"key": "man"}}))
    assert (run_dir.token("inference"), run_dir.token("management")) == ("in", "man")


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"inference": 1}'])
def test_missing_token_is_said(tmp_path: Path, content: str | None) -> None:
    run_dir = RunDir(tmp_path)
    if content is not None:
        run_dir.keys.write_text(content)
    with pytest.raises(ProxyError, match="is the service running"):
        run_dir.token("inference")
