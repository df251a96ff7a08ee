"""Films that the proxy has laid into memory that it shares with the workers, so that they need not travel.

A request of this kind names its films, one a line, as `START SIZE` in bytes within that memory, followed by the film's
parameters where it has any. Its answer holds for each film, in the same order, a line `STATUS SIZE` and a body of so
many bytes. The names are the proxy's, `proxy/torchserve/transport.py`, and come in the environment variable
FILM_TRANSPORT as JSON; it is unset where TorchServe runs without the proxy.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from handler.errors import FailedFilm, FilmError
from handler.parameters import FilmRequest, Parameters
from handler.response import Response

VARIABLE = "FILM_TRANSPORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportNames:
    """How the proxy sends films; without a proxy, all is None."""

    lone_header: str | None = None
    """The header with which it says that TorchServe has no other request."""
    content_type: str | None = None
    """Of requests that name films in the shared memory."""
    memory: str | None = None
    """The path of the shared memory."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Return what the proxy set.

        Raises:
            ValueError, TypeError: It is not JSON with these names.
        """
        return cls(**json.loads(environ.get(VARIABLE) or "{}"))


class SharedFilms:
    """The shared memory, open to read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size

    def read(self, references: bytes | bytearray) -> list[FilmRequest | FilmError]:
        """Return the films that a request's lines name, or an error for each line that names none."""
        return [self._film(line) for line in references.splitlines()]

    def _film(self, line: bytes | bytearray) -> FilmRequest | FilmError:
        start, _, rest = line.partition(b" ")
        size, _, parameters = rest.partition(b" ")
        try:
            begin, count = int(start), int(size)
            asked = Parameters.parse(parameters.decode("ascii"))
        except ValueError:
            return FailedFilm("the request names a film in a way we do not know")
        except FilmError as exc:
            return type(exc)(str(exc))  # anew: what was raised holds on to the request through its traceback
        if not 0 <= begin <= begin + count <= self._size:
            return FailedFilm("the request names a film outside the shared memory")
        return FilmRequest(content=os.pread(self._file, count, begin), parameters=asked)


def joined(responses: Iterable[Response]) -> bytes:
    """Return the answer to a request that names films: of each, a line `STATUS SIZE` and the body."""
    return b"".join(b"%d %d\n%b" % (one.status, len(one.body), one.body) for one in responses)
