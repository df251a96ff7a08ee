"""The memory that films are read into, bounded over all films.

On Linux it is an anonymous file, which has no name, is on no disk and is gone with the last process that has it open;
TorchServe's workers can read it there (`transport.py`). Elsewhere it is the proxy's own.
"""

import mmap
import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter

from proxy.errors import SaturatedError, SettingsError

SLACK = 64
"""Addresses for each byte that may be held: more than `GROWTH`, and for the gaps between places. Untouched, they cost
nothing."""

SMALLEST_HELD_BYTES = 16_384
"""A request takes some memory, however little of its film has arrived. A film's place is so large at first: were it as
large as what may yet come, clients that announce much and send nothing would soon have all."""

GROWTH = 16
"""A film that outgrows its place moves to one so many times as large: most move once or twice."""

WIPED_BYTES = 4096
"""How much of a film is wiped when it gets no answer: more than what any format is known by."""

RETURNED_BYTES = 2**20
"""The memory of a film from this size on is given back to the system; that of smaller ones is used again at once."""


class _Allowance:
    """The bytes that may still be held, over all films."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        if count > self.left:
            raise SaturatedError
        self.left -= count


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Addresses in the memory, from `start` up to `end`."""

    start: int
    end: int


class HeldFilm:
    """One film in the memory, written piece by piece."""

    __slots__ = ("_allowance", "_map", "_move", "held", "keepers", "most", "parameters", "place", "size")

    def __init__(
        self,
        memory: mmap.mmap,
        allowance: _Allowance,
        move: Callable[["HeldFilm", int], None],
        place: _Place,
        most: int,
    ) -> None:
        self._map = memory
        self._allowance = allowance
        self._move = move
        self.place = place
        self.most = most
        """Its size at most; its place may be smaller or larger."""
        self.size = 0
        self.held = 0
        """The bytes that it has of the allowance."""
        self.keepers = 1
        """Who needs it; at none its place is free."""
        self.parameters = ""
        """What its client asks of it, URL-encoded; the handler reads it."""

    @property
    def start(self) -> int:
        """Where it begins. It may move until it is whole."""
        return self.place.start

    def hold(self, count: int) -> None:
        """Take from the allowance what a film of so many bytes needs.

        Raises:
            SaturatedError: Too many bytes are held.
        """
        if count > self.held:
            self._allowance.take(count - self.held)
            self.held = count

    def append(self, piece: bytes) -> None:
        """Add a piece. What is more than it may have is a fault of ours: the callers bound the size.

        Raises:
            SaturatedError: Too many bytes are held, or there is no place for so large a film.
        """
        size = self.size + len(piece)
        if size > self.most:
            raise ValueError(f"a film of over {self.most} bytes in a place for so many")
        self.hold(size)
        if size > self.place.end - self.place.start:
            self._move(self, size)
        begin = self.place.start + self.size
        self._map[begin : begin + len(piece)] = piece
        self.size = size

    def wipe(self) -> None:
        """Wipe its beginning: a worker that has yet to read it finds no film there, and spends no time on it."""
        count = min(self.size, WIPED_BYTES)
        self._map[self.start : self.start + count] = bytes(count)

    def __bytes__(self) -> bytes:
        return self._map[self.start : self.start + self.size]


class FilmBuffer:
    """Gives films a place, as long as they are held.

    Raises:
        SettingsError: There are not so many addresses to have.
    """

    def __init__(self, max_held_bytes: int) -> None:
        self._max_held_bytes = max_held_bytes
        self._allowance = _Allowance(max_held_bytes)
        self._size = SLACK * max_held_bytes
        self._file = -1
        try:
            if sys.platform == "linux":
                self._file = os.memfd_create("films")
                os.ftruncate(self._file, self._size)
            self._map = mmap.mmap(self._file, self._size)
        except OSError as exc:
            raise SettingsError(f"MAX_HELD_BYTES={max_held_bytes} cannot be reserved: {exc.strerror}") from exc
        self._gaps = [_Place(0, self._size)]
        """Between the places that are taken, in their order."""

    @property
    def path(self) -> str | None:
        """Where another process of ours can open it, or None where none can."""
        return None if self._file < 0 else f"/proc/{os.getpid()}/fd/{self._file}"

    @property
    def held_bytes(self) -> int:
        """The bytes of the allowance that are taken."""
        return self._max_held_bytes - self._allowance.left

    def keep(self, content: bytes) -> HeldFilm:
        """Lay a film into the memory, beside the allowance, until it is dropped."""
        film = self._film(self._take(len(content)), len(content))
        film.held = len(content)
        film.append(content)
        return film

    def share(self, film: HeldFilm) -> None:
        """Have a film stay, beside the allowance, until it is dropped, even if who had it placed is done with it."""
        film.keepers += 1

    def drop(self, film: HeldFilm) -> None:
        """Need a film no more that was kept or shared."""
        film.keepers -= 1
        if not film.keepers:
            self._free(film.place, film.size)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    @contextmanager
    def place(self, size: int) -> Iterator[HeldFilm]:
        """Find a place for a film of at most `size` bytes, before it is read.

        It counts as held, and has room, by what has arrived, not by `size`: else clients that announce large films, or
        send without saying how much, and take their time, would shut out all others.

        A film that was given up may still be named in a request that TorchServe has, which drops no request. It is
        wiped: else workers that come back would first screen, for nobody, all that was given up while they were gone,
        and let new films wait. Its place is free all the same: whatever a worker reads there, the answer reaches
        nobody.

        Raises:
            SaturatedError: Too many bytes are held, or there is no gap.
        """
        film = self._film(self._take(min(size, SMALLEST_HELD_BYTES)), size)
        try:
            film.hold(SMALLEST_HELD_BYTES)
            yield film
        except BaseException:
            film.wipe()
            raise
        finally:
            self._allowance.left += film.held
            self.drop(film)

    def _film(self, place: _Place, most: int) -> HeldFilm:
        return HeldFilm(self._map, self._allowance, self._move, place, most)

    def _move(self, film: HeldFilm, size: int) -> None:
        """Move a film to a place for `size` bytes, and for more to come."""
        old = film.place
        new = self._take(min(film.most, max(size, GROWTH * (old.end - old.start))))
        self._map.move(new.start, old.start, film.size)
        film.place = new
        self._free(old, film.size)

    def _take(self, size: int) -> _Place:
        """Take the first gap: places low in the memory are used again and again, and the rest stays untouched."""
        size = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        for position, gap in enumerate(self._gaps):
            if gap.end - gap.start >= size:
                place = _Place(gap.start, gap.start + size)
                self._gaps[position : position + 1] = [_Place(place.end, gap.end)] if place.end < gap.end else []
                return place
        raise SaturatedError

    def _free(self, place: _Place, used: int) -> None:
        """Free a place, of which so many bytes were used.

        Its memory goes back to the system where it may not be wanted again soon. What is kept for the next film is
        bounded so by what may be held, wherever places were.
        """
        start, end = place.start, place.end
        position = bisect_left(self._gaps, start, key=attrgetter("start"))
        if position < len(self._gaps) and self._gaps[position].start == end:
            end = self._gaps.pop(position).end
        if position > 0 and self._gaps[position - 1].end == start:
            position -= 1
            start = self._gaps.pop(position).start
        self._gaps.insert(position, _Place(start, end))
        if sys.platform == "linux" and (used >= RETURNED_BYTES or place.start >= self._max_held_bytes):
            self._map.madvise(mmap.MADV_REMOVE, place.start, place.end - place.start)
