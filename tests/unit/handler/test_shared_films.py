import json
from pathlib import Path

import pytest

from handler.errors import FailedFilm, InvalidParameter
from handler.parameters import FilmRequest, Parameters
from handler.response import Response
from handler.shared_films import SharedFilms, TransportNames, joined


@pytest.fixture
def films(tmp_path: Path) -> SharedFilms:
    path = tmp_path / "films"
    path.write_bytes(b"0123456789")
    return SharedFilms(path)


def test_films_are_read_from_the_places_that_are_named(films: SharedFilms) -> None:
    found = films.read(bytearray(b"0 4\n8 2 \n3 0\n"))
    assert found == [FilmRequest(content=content) for content in (b"0123", b"89", b"")]


def test_parameters_follow_the_place(films: SharedFilms) -> None:
    (found,) = films.read(b"0 4 detail=true&operating_point=balanced")
    assert found == FilmRequest(content=b"0123", parameters=Parameters(detail=True, operating_point="balanced"))


def test_unknown_parameter_is_an_error_of_its_own(films: SharedFilms) -> None:
    first, second = films.read(b"0 4 colour=red\n8 2")
    assert isinstance(first, InvalidParameter)
    assert second == FilmRequest(content=b"89")


def test_answers_to_films_are_joined_with_their_sizes() -> None:
    picture = Response.picture(b"\x89PNG\n1")
    failed = Response.of(FailedFilm("x"))
    assert joined([picture, failed]) == b"200 6\n\x89PNG\n1500 %d\n%b" % (len(failed.body), failed.body)


@pytest.mark.parametrize(
    "line", [b"-1 2", b"3 -1", b"8 3", b"0 99999999999999", b"99999999999999 1", b"", b"3", b"a b", b"1 2 \xff"]
)
def test_line_that_names_no_film_is_an_error_of_its_own(films: SharedFilms, line: bytes) -> None:
    first, second, third = films.read(b"0 4\n" + line + b"\n4 2")
    assert (first, third) == (FilmRequest(content=b"0123"), FilmRequest(content=b"45"))
    assert isinstance(second, FailedFilm)


def test_without_the_proxy_there_is_no_transport() -> None:
    assert TransportNames.from_environ({}) == TransportNames()


def test_unknown_name_of_the_proxy_stops_the_worker() -> None:
    with pytest.raises(TypeError, match="other"):
        TransportNames.from_environ({"FILM_TRANSPORT": json.dumps({"other": "x"})})
