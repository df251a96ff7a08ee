import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler import shared_films
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.transport import BodyTransport, SharedMemoryTransport, transport_for


@pytest.fixture
def buffer() -> Iterator[FilmBuffer]:
    buffer = FilmBuffer(200_000)
    yield buffer
    buffer.close()


def test_body_carries_the_film_itself(buffer: FilmBuffer) -> None:
    transport = BodyTransport()
    with buffer.place(10) as film:
        film.append(b"a film")
        body = transport.encode([film])
    assert isinstance(body, io.BytesIO)
    assert body.read() == b"a film"
    assert transport.decode(415, b"{}") == [(415, b"{}")]


def test_handler_knows_the_names_of_both_transports() -> None:
    for transport in (BodyTransport(), SharedMemoryTransport("/proc/1/fd/9")):
        names = shared_films.TransportNames.from_environ(transport.worker_environment)
        assert names.lone_header == "Lone"
    assert (names.content_type, names.memory) == (transport.content_type, "/proc/1/fd/9")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no anonymous shared file")
def test_handler_finds_the_films_that_a_request_names(buffer: FilmBuffer) -> None:
    transport = transport_for(buffer)
    assert isinstance(transport, SharedMemoryTransport)
    names = shared_films.TransportNames.from_environ(transport.worker_environment)
    with buffer.place(10) as first, buffer.place(5000) as second:
        first.append(b"first")
        second.append(b"second" * 700)
        body = transport.encode([second, first])
        assert shared_films.SharedFilms(Path(names.memory or "")).read(body) == [b"second" * 700, b"first"]


def test_shared_reply_has_a_line_a_film() -> None:
    transport = SharedMemoryTransport("x")
    assert transport.decode(200, b'200 {"p": 1}\n415 {"e": 2}') == [(200, b'{"p": 1}'), (415, b'{"e": 2}')]
    assert transport.decode(503, b'{"message": "no workers"}') is None
    with pytest.raises(ValueError, match="invalid literal"):
        transport.decode(200, b'{"p": 1}')
