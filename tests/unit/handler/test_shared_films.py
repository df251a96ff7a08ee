import json
from pathlib import Path

import pytest

from handler.errors import FailedFilm
from handler.shared_films import SharedFilms, TransportNames


@pytest.fixture
def films(tmp_path: Path) -> SharedFilms:
    path = tmp_path / "films"
    path.write_bytes(b"0123456789")
    return SharedFilms(path)


def test_films_are_read_from_the_places_that_are_named(films: SharedFilms) -> None:
    assert films.read(bytearray(b"0 4\n8 2\n3 0\n")) == [b"0123", b"89", b""]


@pytest.mark.parametrize(
    "line", [b"-1 2", b"3 -1", b"8 3", b"0 99999999999999", b"99999999999999 1", b"", b"3", b"a b", b"1 2 3"]
)
def test_line_that_names_no_film_is_an_error_of_its_own(films: SharedFilms, line: bytes) -> None:
    first, second, third = films.read(b"0 4\n" + line + b"\n4 2")
    assert (first, third) == (b"0123", b"45")
    assert isinstance(second, FailedFilm)


def test_without_the_proxy_there_is_no_transport() -> None:
    assert TransportNames.from_environ({}) == TransportNames()


def test_unknown_name_of_the_proxy_stops_the_worker() -> None:
    with pytest.raises(TypeError, match="other"):
        TransportNames.from_environ({"FILM_TRANSPORT": json.dumps({"other": "x"})})
