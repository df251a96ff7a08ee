"""Files and folders of results: read and written alike everywhere, and a mistake reported in one line."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.errors import ArtefactError, DataError


def make_folder(folder: Path) -> Path:
    """Make a folder for results, if it is not there, and return it.

    Raises:
        DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DataError(f"{folder}: {exc.strerror or exc}") from exc
    return folder


def write_json(path: Path, content: Any, *, indent: int = 2) -> None:
    """Write content as JSON, in which NaN has no place."""
    path.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ArtefactError: it cannot be read.
    """
    with reading(path, "a file"):
        return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Raise ArtefactError for what goes wrong while the file at `path`, which should be `kind`, is read and parsed."""
    try:
        yield
    except OSError as exc:
        raise ArtefactError(f"{path}: {exc.strerror or exc}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ArtefactError(f"{path}: not {kind}: {exc}") from exc
