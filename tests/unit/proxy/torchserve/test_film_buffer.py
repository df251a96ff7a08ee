import asyncio
import mmap
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from handler.errors import UnsupportedFormat
from handler.formats.registry import open_film
from handler.parameters import FilmRequest
from handler.shared_films import SharedFilms
from proxy.errors import SettingsError, UnavailableError
from proxy.torchserve import film_buffer
from proxy.torchserve.film_buffer import SMALLEST_HELD_BYTES, FilmBuffer, HeldFilm

PAGE = mmap.PAGESIZE
HELD = 200_000


@pytest.fixture
def films() -> Iterator[FilmBuffer]:
    films = FilmBuffer(HELD)
    yield films
    films.close()


def test_film_is_written_piece_by_piece(films: FilmBuffer) -> None:
    with films.place(10) as film:
        film.append(b"a fi")
        film.append(b"lm")
        assert (bytes(film), film.size) == (b"a film", 6)


def test_films_keep_out_of_each_others_places(films: FilmBuffer) -> None:
    with films.place(PAGE + 1) as first, films.place(1) as second:
        first.append(b"1" * (PAGE + 1))
        second.append(b"2")
        assert bytes(first) == b"1" * (PAGE + 1)
        assert bytes(second) == b"2"
        with pytest.raises(ValueError, match="place for so many"):
            second.append(b"2" * PAGE)


def test_gap_is_used_again(films: FilmBuffer) -> None:
    with films.place(PAGE) as first:
        with films.place(PAGE) as gap, films.place(PAGE) as last:
            places = [film.start for film in (first, gap, last)]
        with films.place(PAGE) as again, films.place(PAGE) as after:
            assert [film.start for film in (first, again, after)] == places


def test_what_is_held_is_bounded_and_given_back(films: FilmBuffer) -> None:
    with films.place(HELD) as first:
        first.append(b"x" * (HELD - 70_000))
        with films.place(HELD) as second:
            second.append(b"x" * 70_000)
            with pytest.raises(UnavailableError, match="too many"):
                second.append(b"x")
        with films.place(HELD) as second:
            second.append(b"x" * 70_000)
    with films.place(HELD) as film:
        film.append(b"x" * HELD)


def test_film_to_come_is_held_by_what_has_arrived(films: FilmBuffer) -> None:
    """However large it may become."""
    with films.place(HELD) as first, films.place(HELD) as second, films.place(HELD) as third:
        for film in (first, second, third):
            film.append(b"x" * 60_000)


def test_film_of_which_nothing_has_arrived_counts_too(films: FilmBuffer) -> None:
    with ExitStack() as stack, pytest.raises(UnavailableError, match="too many"):  # noqa: PT012
        for _ in range(HELD // SMALLEST_HELD_BYTES + 1):
            stack.enter_context(films.place(1))


@pytest.mark.parametrize("announced", [20_000_000, 20_065_536])
def test_thousands_that_announce_much_and_send_nothing_take_no_place_of_others(announced: int) -> None:
    films = FilmBuffer(256_000_000)
    with ExitStack() as stack:
        for _ in range(5_000):
            stack.enter_context(films.place(announced))
        with films.place(announced) as film:
            film.append(b"x" * announced)
    films.close()


def test_film_that_outgrows_its_place_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_buffer, "GROWTH", 2)
    films = FilmBuffer(10_000_000)
    content = os.urandom(1_000_000)
    with films.place(len(content)) as film, films.place(PAGE) as neighbour:
        neighbour.append(b"n" * PAGE)
        for start in range(0, len(content), 999):
            film.append(content[start : start + 999])
        assert bytes(film) == content
        assert bytes(neighbour) == b"n" * PAGE
        with pytest.raises(ValueError, match="place for so many"):
            film.append(b"x")
    with films.place(PAGE) as again:
        assert again.start == 0
    films.close()


def test_shared_film_stays_until_it_is_dropped(films: FilmBuffer) -> None:
    with films.place(10) as film:
        film.append(b"a film")
        films.share(film)
    assert films.held_bytes == 0
    with films.place(10) as other:
        other.append(b"another")
        assert bytes(film) == b"a film"
    films.drop(film)
    with films.place(10) as other:
        assert other.start == film.start


def test_film_without_a_gap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_buffer, "SLACK", 1)
    films = FilmBuffer(HELD)
    kept = films.keep(bytes(HELD - 2 * SMALLEST_HELD_BYTES))
    with films.place(HELD) as film, pytest.raises(UnavailableError, match="too many"):
        film.append(bytes(SMALLEST_HELD_BYTES + 1))
    films.drop(kept)
    with films.place(HELD // 2) as film:
        film.append(bytes(HELD // 2))
    films.close()


@pytest.mark.parametrize("seed", range(5))
def test_all_addresses_are_free_again_in_whatever_order_films_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_buffer, "SLACK", 1)
    films = FilmBuffer(64 * PAGE)
    order = random.Random(seed)
    kept = [films.keep(bytes(order.choice([0, 1, PAGE, 3 * PAGE + 1]))) for _ in range(12)]
    assert len({film.start for film in kept}) == len(kept)
    order.shuffle(kept)
    for film in kept:
        films.drop(film)
    assert len(bytes(films.keep(bytes(64 * PAGE)))) == 64 * PAGE
    films.close()


def test_kept_film_stays(films: FilmBuffer) -> None:
    kept = films.keep(b"reference")
    with films.place(1) as film:
        film.append(b"x")
    assert bytes(kept) == b"reference"


def test_memory_beyond_all_addresses_is_a_bad_setting() -> None:
    with pytest.raises(SettingsError, match="MAX_HELD_BYTES"):
        FilmBuffer(1 << 56)


def given_up(films: FilmBuffer, content: bytes, reason: BaseException) -> HeldFilm:
    """Return a film that had a place and got no answer, for this reason."""
    with suppress(type(reason)), films.place(len(content)) as film:
        film.append(content)
        raise reason
    return film


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="films travel where there is no anonymous shared file")
class TestShared:
    """Linux: workers read the same memory."""

    @pytest.mark.parametrize("size", [5, 9 * PAGE])
    @pytest.mark.parametrize("reason", [UnavailableError("given up"), asyncio.CancelledError()])
    def test_film_that_gets_no_answer_is_no_film_to_a_worker_that_reads_it_later(
        self, films: FilmBuffer, size: int, reason: BaseException
    ) -> None:
        assert films.path is not None
        film = given_up(films, b"\xff\xd8" + b"x" * (size - 2), reason)
        (later,) = SharedFilms(Path(films.path)).read(b"%d %d" % (film.start, film.size))
        assert isinstance(later, FilmRequest)
        assert len(later.content) == size
        with pytest.raises(UnsupportedFormat):
            open_film(later.content)

    def test_film_that_is_given_up_leaves_its_neighbour(self, films: FilmBuffer) -> None:
        with films.place(PAGE) as kept:
            kept.append(b"x" * PAGE)
            given_up(films, b"y", UnavailableError("given up"))
            assert bytes(kept) == b"x" * PAGE

    def test_large_film_gives_its_memory_back(self, films: FilmBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(film_buffer, "RETURNED_BYTES", PAGE)
        assert films.path is not None
        for size in (PAGE - 1, 3 * PAGE):
            with films.place(size) as film:
                film.append(b"x" * size)
        assert Path(films.path).stat().st_blocks == 0

    def test_small_film_far_up_gives_its_memory_back(self, films: FilmBuffer) -> None:
        assert films.path is not None
        for _ in range(HELD // SMALLEST_HELD_BYTES + 2):
            far = films.keep(b"x" * SMALLEST_HELD_BYTES)
        before = Path(films.path).stat().st_blocks
        films.drop(far)
        assert before - Path(films.path).stat().st_blocks == SMALLEST_HELD_BYTES // 512
