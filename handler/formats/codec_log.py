"""What the codecs' libraries remark on a file: kept out of the service's log, and handed to who asks for it.

A remark is either an error, and raised as well, or of no use to who runs the service: of PNG, there is one for every
interlaced film.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_REMARKS = 10_000
"""The most that are kept at a time."""

_asked = threading.local()


def _keep(record: logging.LogRecord) -> bool:
    """Hand a remark to who asked for it in the same thread, and have the logger drop it."""
    kept: list[str] | None = getattr(_asked, "kept", None)
    if kept is not None and len(kept) < MAX_REMARKS:
        kept.append(record.getMessage())
    return False


logging.getLogger("imagecodecs").setLevel(logging.WARNING)
logging.getLogger("imagecodecs").addFilter(_keep)


@contextmanager
def remarks() -> Iterator[list[str]]:
    """Collect what the codecs remark in this thread, as the list that is returned."""
    kept: list[str] = []
    _asked.kept = kept
    try:
        yield kept
    finally:
        _asked.kept = None
