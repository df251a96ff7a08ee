"""The one folder that a running service writes to, and in it a folder a TorchServe.

Only its owner can open it (TorchServe leaves its keys there). It is locked while the service lives, cleaned when a
killed run left it behind, and removed at the end.
"""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from proxy.errors import ProxyError, SettingsError

LOCK_NAME = "supervisor.lock"

CURRENT = "current"
"""A link to the folder of the release in service."""

TokenKind = Literal["inference", "management"]


class RunDir:
    """Paths inside the folder, and the keys that TorchServe writes there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.properties"
        self.keys = path / "key_file.json"
        self.temp = path / "tmp"
        self.logs = path / "logs"

    def empty(self) -> None:
        """Make the folder, or remove what an earlier TorchServe left: its keys and sockets would mislead the next."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        _empty(self.path)
        self.temp.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def token(self, kind: TokenKind) -> str:
        """The bearer token for one of TorchServe's APIs.

        Raises:
            ProxyError: There is none: TorchServe is not running, or has not come so far yet.
        """
        try:
            key = json.loads(self.keys.read_bytes())[kind]["key"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ProxyError(f"no {kind} token in {self.keys}: is the service running?") from exc
        return str(key)


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Make, lock and at last remove the folder of a service, which holds a folder a release.

    Raises:
        SettingsError: Another run lives there, or it is not a folder of ours to use.
    """
    _make(path)
    lock = _lock(path)
    try:
        _empty(path)
        yield
    finally:
        # Removed under the lock: a run that starts meanwhile is refused rather than robbed of its folder.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _empty(path: Path) -> None:
    """Remove what is in a folder, but for the lock."""
    for entry in path.iterdir():
        if entry.name == LOCK_NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _check_ours(path)
    except OSError as exc:
        raise SettingsError(f"RUN_DIR={str(path)!r} cannot be made: {exc.strerror}") from exc


def _check_ours(path: Path) -> None:
    """Refuse what we could be tricked into (a link, another user's folder) or must not clean."""
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise SettingsError(f"RUN_DIR={str(path)!r} is not a folder")
    if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise SettingsError(f"RUN_DIR={str(path)!r} is open to other users: name a folder of your own, mode 0700")
    if not (path / LOCK_NAME).exists() and any(path.iterdir()):
        raise SettingsError(f"RUN_DIR={str(path)!r} holds other files: name a new or empty folder")


def _lock(path: Path) -> int:
    """Take the lock; the kernel frees it when this process ends, however it ends."""
    try:
        lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise SettingsError(f"RUN_DIR={str(path)!r} cannot be used: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        in_use = os.fstat(lock).st_nlink == 0  # its owner was ending just as we opened it
    except BlockingIOError:
        in_use = True
    if in_use:
        os.close(lock)
        raise SettingsError(f"RUN_DIR={str(path)!r} is in use by a running service")
    return lock
