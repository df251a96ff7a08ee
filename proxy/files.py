"""Files: how many may be open, and whether one has changed."""

import resource
from contextlib import suppress
from pathlib import Path


def allow_open_files() -> None:
    """Raise the limit of open files, which counts connections, as far as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_version(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file does; None where there is none."""
    with suppress(OSError):
        facts = path.stat()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino
    return None
