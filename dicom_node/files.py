"""The files of films and results that wait: each whole or not there at all, and on disk when that is said."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from dicom_node.errors import SettingsError

UNFINISHED = ".new"


class Files:
    """The files of a folder, `NAME.KIND.dcm`; a film and its results share the name.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def write(self, name: str, kind: str, content: bytes) -> None:
        """Write a file; on return it is on disk.

        Raises:
            OSError: It cannot be written.
        """
        path = self._path(name, kind)
        new = path.with_name(path.name + UNFINISHED)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self, name: str, kind: str) -> bytes | None:
        """Return a file, or None where it is gone."""
        try:
            return self._path(name, kind).read_bytes()
        except FileNotFoundError:
            return None

    def erase(self, name: str) -> None:
        """Remove all files of a name."""
        for path in self._folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)

    def erase_others(self, names: Collection[str]) -> None:
        """Remove the files of all other names, and those that were not written to their end."""
        for path in self._folder.iterdir():
            if path.name.partition(".")[0] not in names or path.suffix == UNFINISHED:
                path.unlink(missing_ok=True)

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}.dcm"


def require_private(folder: Path) -> None:
    """Refuse a folder that others may look into.

    Raises:
        SettingsError: It is a link, of another user, or open to others.
    """
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} is a link, or of another user")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} is open to other users: chmod 700 {folder}")
