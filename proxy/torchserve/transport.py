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

PARAMETERS_HEADER = "X-Parameters"
"""What a client asks of the film that is a request's body, URL-encoded."""

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
    def encode(self, films: Sequence[HeldFilm]) -> tuple[bytes | io.BytesIO, dict[str, str]]:
        """Return the body and the header fields, beside the type, of a request with 1 to `batch_films` films."""

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

    def encode(self, films: Sequence[HeldFilm]) -> tuple[io.BytesIO, dict[str, str]]:
        """Return the film's bytes, to be sent in pieces, and its parameters."""
        (film,) = films
        return io.BytesIO(bytes(film)), {PARAMETERS_HEADER: film.parameters} if film.parameters else {}

    def decode(self, status: int, content: bytes) -> list[Item] | None:
        """Return the one item."""
        return [(status, content)]


class SharedMemoryTransport(FilmTransport):
    """Films stay in memory that the workers read too; a request names them, one a line, as `START SIZE` in bytes.

    The film's parameters follow, where it has any. The answer has for each film, in the same order, a line
    `STATUS SIZE` and a body of so many bytes.
    """

    batch_films = SHARED_BATCH_FILMS
    content_type = "application/x-film-references"

    def __init__(self, path: str) -> None:
        self._path = path

    def _names(self) -> dict[str, str]:
        return {"lone_header": LONE_HEADER, "memory": self._path, "content_type": self.content_type}

    def encode(self, films: Sequence[HeldFilm]) -> tuple[bytes, dict[str, str]]:
        """Return a line a film."""
        lines = (b"%d %d %b" % (film.start, film.size, film.parameters.encode("ascii")) for film in films)
        return b"\n".join(lines), {}

    def decode(self, status: int, content: bytes) -> list[Item] | None:
        """Return the items in their order."""
        if status != HTTPStatus.OK:
            return None
        items = []
        start = 0
        while start < len(content):
            end = content.index(b"\n", start) + 1
            number, size = map(int, content[start:end].split())
            start = end + size
            if size < 0 or start > len(content):
                raise ValueError("the answer ends within a film's")
            items.append((number, content[end:start]))
        return items


def transport_for(buffer: FilmBuffer) -> FilmTransport:
    """Return the transport for a buffer: shared memory where other processes can open it."""
    return BodyTransport() if buffer.path is None else SharedMemoryTransport(buffer.path)
