"""How films travel to TorchServe's workers: one interface, two implementations.

The names that both sides use stand here only. A worker gets them, as JSON, in the environment variable of
`worker_environment`; `handler/shared_films.py` is the other side.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from http import HTTPStatus

from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm

LONE_HEADER = "Lone"
"""Set on a request while TorchServe has no other: all cores are free for it."""

SHARED_BATCH_FILMS = 4
"""Films in one request at most, where a request only names them."""

Item = tuple[int, bytes]
"""The handler's status and JSON for one film."""


class FilmTransport(ABC):
    """How the films of a request, and the handler's answers to them, are put into HTTP."""

    batch_films: int
    """Films in one request at most."""
    content_type: str
    """Of the request."""

    @property
    def worker_environment(self) -> dict[str, str]:
        """The variables that a worker needs."""
        return {"FILM_TRANSPORT": json.dumps(self._names())}

    @abstractmethod
    def _names(self) -> dict[str, str]:
        """Return the fields of `handler.shared_films.TransportNames`."""

    @abstractmethod
    def encode(self, films: Sequence[HeldFilm]) -> bytes | io.BytesIO:
        """Return the body of a request with 1 to `batch_films` films."""

    @abstractmethod
    def decode(self, status: int, content: bytes) -> list[Item] | None:
        """Return an item a film, in order; None where the whole request failed.

        Raises:
            ValueError: The handler did not answer in this transport's way.
        """


class BodyTransport(FilmTransport):
    """A film is the request's body; works on any system."""

    batch_films = 1
    content_type = "application/octet-stream"

    def _names(self) -> dict[str, str]:
        return {"lone_header": LONE_HEADER}

    def encode(self, films: Sequence[HeldFilm]) -> io.BytesIO:
        """Return the film's bytes, to be sent in pieces."""
        (film,) = films
        return io.BytesIO(bytes(film))

    def decode(self, status: int, content: bytes) -> list[Item] | None:
        """Return the one item."""
        return [(status, content)]


class SharedMemoryTransport(FilmTransport):
    """Films stay in memory that the workers read too; a request names them, one a line, as `START SIZE` in bytes.

    The answer has a line a film, `STATUS JSON`, in the same order.
    """

    batch_films = SHARED_BATCH_FILMS
    content_type = "application/x-film-references"

    def __init__(self, path: str) -> None:
        self._path = path

    def _names(self) -> dict[str, str]:
        return {"lone_header": LONE_HEADER, "memory": self._path, "content_type": self.content_type}

    def encode(self, films: Sequence[HeldFilm]) -> bytes:
        """Return a line a film."""
        return b"\n".join(b"%d %d" % (film.start, film.size) for film in films)

    def decode(self, status: int, content: bytes) -> list[Item] | None:
        """Return an item a line."""
        if status != HTTPStatus.OK:
            return None
        return [(int(number), body) for number, _, body in (line.partition(b" ") for line in content.split(b"\n"))]


def transport_for(buffer: FilmBuffer) -> FilmTransport:
    """Return the transport for a buffer: shared memory where other processes can open it."""
    return BodyTransport() if buffer.path is None else SharedMemoryTransport(buffer.path)
