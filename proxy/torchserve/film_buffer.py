"""The memory that films are read into, bounded over all films.

On Linux it is an anonymous file, which has no name, is on no disk and is gone with the last process that has it open;
TorchServe's workers can read it there (`transport.py`). Elsewhere it is the proxy's own.
"""

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.errors import SaturatedError, SettingsError

SLACK = 64
"""Addresses for each byte that may be held, for places are as large as what may yet come: by default there are enough
for 800 films of the largest size to arrive at once. Untouched, they cost nothing."""

SMALLEST_HELD_BYTES = 65_536
"""A request takes at least a read buffer, however small its film."""

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


class HeldFilm:
    """One film in the memory, written piece by piece."""

    __slots__ = ("_allowance", "_map", "end", "held", "parameters", "size", "start")

    def __init__(self, memory: mmap.mmap, allowance: _Allowance, start: int, end: int) -> None:
        self._map = memory
        self._allowance = allowance
        self.start = start
        self.end = end
        """Where its place ends; the film may be shorter."""
        self.size = 0
        self.held = 0
        """The bytes that it has of the allowance."""
        self.parameters = ""
        """What its client asks of it, URL-encoded; the handler reads it."""

    def hold(self, count: int) -> None:
        """Take from the allowance what a film of so many bytes needs.

        Raises:
            SaturatedError: Too many bytes are held.
        """
        if count > self.held:
            self._allowance.take(count - self.held)
            self.held = count

    def append(self, piece: bytes) -> None:
        """Add a piece. What does not fit its place is a fault of ours: the callers bound the size.

        Raises:
            SaturatedError: Too many bytes are held.
        """
        begin = self.start + self.size
        end = begin + len(piece)
        if end > self.end:
            raise ValueError(f"a film of over {self.end - self.start} bytes in a place for so many")
        self.hold(self.size + len(piece))
        self._map[begin:end] = piece
        self.size += len(piece)

    def trim(self) -> None:
        """Give back the addresses of its place that the film, which is whole now, does not need."""
        self.end = self.start + _whole_pages(max(self.size, 1))

    def wipe(self) -> None:
        """Wipe its beginning: a worker that has yet to read it finds no film there, and spends no time on it."""
        count = min(self.size, WIPED_BYTES)
        self._map[self.start : self.start + count] = bytes(count)

    def __bytes__(self) -> bytes:
        return self._map[self.start : self.start + self.size]


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


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
        self._films: list[HeldFilm] = []
        """By their places."""

    @property
    def path(self) -> str | None:
        """Where another process of ours can open it, or None where none can."""
        return None if self._file < 0 else f"/proc/{os.getpid()}/fd/{self._file}"

    @property
    def held_bytes(self) -> int:
        """The bytes of the allowance that are taken."""
        return self._max_held_bytes - self._allowance.left

    def keep(self, content: bytes) -> HeldFilm:
        """Lay a film into the memory for good, beside the allowance."""
        film = self._take(len(content))
        film.held = len(content)
        film.append(content)
        return film

    def drop(self, film: HeldFilm) -> None:
        """Give back the place of a film that was kept."""
        self._films.remove(film)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    @contextmanager
    def place(self, size: int) -> Iterator[HeldFilm]:
        """Find a place for a film of at most `size` bytes, before it is read.

        It counts as held by what has arrived, not by `size`: else a few clients that announce large films, or send
        without saying how much, and take their time, would shut out all others.

        A film that was given up may still be named in a request that TorchServe has, which drops no request. It is
        wiped: else workers that come back would first screen, for nobody, all that was given up while they were gone,
        and let new films wait. Its place is free all the same: whatever a worker reads there, the answer reaches
        nobody.

        Raises:
            SaturatedError: Too many bytes are held, or there is no gap so large.
        """
        film = self._take(size)
        try:
            film.hold(SMALLEST_HELD_BYTES)
            yield film
        except BaseException:
            film.wipe()
            raise
        finally:
            self._allowance.left += film.held
            self._films.remove(film)
            self._return(film)

    def _return(self, film: HeldFilm) -> None:
        """Give a film's memory back to the system, where it may not be wanted again soon.

        What is kept for the next film is bounded so by what may be held, wherever places were.
        """
        if sys.platform == "linux" and (film.size >= RETURNED_BYTES or film.start >= self._max_held_bytes):
            self._map.madvise(mmap.MADV_REMOVE, film.start, film.end - film.start)

    def _take(self, size: int) -> HeldFilm:
        """Take the first gap: places low in the memory are used again and again, and the rest stays untouched."""
        size = _whole_pages(size)
        start = position = 0
        for film in self._films:
            if film.start - start >= size:
                break
            start = film.end
            position += 1
        if start + size > self._size:
            raise SaturatedError
        film = HeldFilm(self._map, self._allowance, start, start + size)
        self._films.insert(position, film)
        return film
