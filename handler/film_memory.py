"""Films that the proxy has laid into memory that it shares with the workers, so that they need not travel.

A request of this kind names its films, one a line, as `START SIZE` in bytes within that memory. Its answer holds a line
for each, `STATUS JSON`, in the same order.
"""

import os
from pathlib import Path

CONTENT_TYPE = "application/x-film-references"
ANSWER_TYPE = "application/x-film-answers"

VARIABLE = "FILM_MEMORY"
"""The environment variable that says where the memory is; unset where TorchServe runs without the proxy."""


class FilmMemory:
    """The memory, open to read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size

    def films(self, references: bytes | bytearray) -> list[bytes]:
        """Return the films that a request's lines name.

        Raises:
            ValueError: a line is no reference, or to what is not in the memory.
        """
        films = []
        for line in references.splitlines():
            start, size = map(int, line.split())
            if not 0 <= start <= start + size <= self._size:
                raise ValueError(f"there are no {size} bytes at {start}")
            films.append(os.pread(self._file, size, start))
        return films
