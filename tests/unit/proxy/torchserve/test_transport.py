import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler import shared_films
from handler.parameters import HEADER, FilmRequest, Parameters
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.transport import PARAMETERS_HEADER, BodyTransport, SharedMemoryTransport, transport_for


@pytest.fixture
def buffer() -> Iterator[FilmBuffer]:
    buffer = FilmBuffer(200_000)
    yield buffer
    buffer.close()


def test_body_carries_the_film_itself(buffer: FilmBuffer) -> None:
    transport = BodyTransport()
    with buffer.place(10) as film:
        film.append(b"a film")
        body, fields = transport.encode([film])
        film.parameters = "detail=true"
        assert transport.encode([film])[1] == {"X-Parameters": "detail=true"}
    assert isinstance(body, io.BytesIO)
    assert body.read() == b"a film"
    assert fields == {}
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
        first.parameters = "detail=true"
        body, fields = transport.encode([second, first])
        found = shared_films.SharedFilms(Path(names.memory or "")).read(body)
    assert found == [
        FilmRequest(content=b"second" * 700),
        FilmRequest(content=b"first", parameters=Parameters(detail=True)),
    ]
    assert fields == {}


def test_both_sides_know_the_header_of_parameters() -> None:
    assert PARAMETERS_HEADER == HEADER


def test_shared_reply_has_a_body_of_its_size_for_each_film() -> None:
    transport = SharedMemoryTransport("x")
    assert transport.decode(200, b"200 3\na\nb415 0\n") == [(200, b"a\nb"), (415, b"")]
    assert transport.decode(503, b'{"message": "no workers"}') is None
    with pytest.raises(ValueError, match="invalid literal"):
        transport.decode(200, b'{"p": 1}\n')
    for broken in (b"200", b"200 5\nab", b"200 -1\nab", b"200\nab"):
        with pytest.raises(ValueError, match=r"\w"):
            transport.decode(200, broken)
