from pathlib import Path

import pytest

from handler.film_memory import FilmMemory


@pytest.fixture
def memory(tmp_path: Path) -> FilmMemory:
    path = tmp_path / "films"
    path.write_bytes(b"0123456789")
    return FilmMemory(path)


def test_films_are_read_from_the_places_that_are_named(memory: FilmMemory) -> None:
    assert memory.films(bytearray(b"0 4\n8 2\n3 0\n")) == [b"0123", b"89", b""]


@pytest.mark.parametrize("line", [b"-1 2", b"3 -1", b"8 3", b"0 99999999999999", b"99999999999999 1"])
def test_place_outside_the_memory_is_refused(memory: FilmMemory, line: bytes) -> None:
    with pytest.raises(ValueError, match="there are no"):
        memory.films(b"0 4\n" + line + b"\n0 4")


@pytest.mark.parametrize("line", [b"", b"3", b"a b", b"1 2 3"])
def test_line_that_names_no_place_is_refused(memory: FilmMemory, line: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpack|literal"):
        memory.films(b"0 4\n" + line + b"\n0 4")
