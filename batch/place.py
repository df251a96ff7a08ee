"""Where the bytes of a film are: a file, a member of a ZIP archive, or an object that fsspec reads.

A place travels to another process as text, and is read there: bytes of films do not pass between processes.
"""

import json
import os
import stat
import zlib
from dataclasses import asdict, dataclass
from typing import BinaryIO, Protocol

from batch.errors import EmptyFile, FilmTooLarge, MissingFile, NestedArchive, NoFilm, UnreadableFile
from handler.errors import FilmError, UnsupportedFormat

ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)
"""First bytes of ZIP, gzip, 7z, RAR, bzip2, xz and Zstandard."""
TAR = (257, b"ustar")
DICOM = (128, b"DICM")
"""A DICOM file may begin with anything."""

STORED, DEFLATED = 0, 8
LOCAL_HEADER = b"PK\x03\x04"
LOCAL_HEADER_BYTES = 30
NAME_LENGTH_AT, EXTRA_LENGTH_AT = 26, 28
PIECE_BYTES = 65_536
DEFLATE_SLACK = 1024
"""Bytes beside a thousandth that deflated data may be larger than what it holds."""


class Place(Protocol):
    """Where the bytes of a film are."""

    def read(self, max_film_bytes: int) -> bytes:
        """Return the film's bytes.

        Raises:
            FilmError: There are none to be had, or too many.
        """
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A file on disk."""

    path: str

    def read(self, max_film_bytes: int) -> bytes:
        """Return its bytes; only those of a regular file, so that a pipe does not make us wait."""
        try:
            with open(self.path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise NoFilm("not a file")
                if facts.st_size > max_film_bytes:
                    raise FilmTooLarge(max_film_bytes)
                # No more than it has: to make room for the largest film takes longer than to read a small one.
                return _checked(file.read(facts.st_size), max_film_bytes)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise MissingFile("there is no such file") from exc
        except IsADirectoryError as exc:
            raise NoFilm("not a file") from exc
        except OSError as exc:
            raise UnreadableFile(exc.strerror or str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a ZIP archive, as the archive's directory describes it.

    Read by itself, without the directory, which may be large: a header, and what follows it (APPNOTE.TXT, 4.3.7). It
    is never on disk, and never larger in memory than it declares to be.
    """

    archive: str
    offset: int
    packed_bytes: int
    size_bytes: int
    crc: int
    method: int

    def read(self, max_film_bytes: int) -> bytes:
        """Return its bytes, checked against the size and checksum that it declares."""
        if self.size_bytes > max_film_bytes:
            raise FilmTooLarge(max_film_bytes)
        if self.method not in (STORED, DEFLATED):
            raise UnsupportedFormat(f"packed by method {self.method} of ZIP: only stored and deflated members are read")
        if self.packed_bytes > self.size_bytes + self.size_bytes // 1000 + DEFLATE_SLACK:
            raise NoFilm("the member is packed into more than it holds")
        try:
            with open(self.archive, "rb") as archive:  # noqa: PTH123  (the name may be no text)
                self._seek(archive)
                data = self._unpacked(archive)
        except OSError as exc:
            raise UnreadableFile(exc.strerror or str(exc)) from exc
        except zlib.error as exc:
            raise NoFilm(f"the member is damaged: {exc}") from exc
        if len(data) != self.size_bytes:
            raise NoFilm("the member does not hold as many bytes as it declares")
        if zlib.crc32(data) != self.crc:
            raise NoFilm("the member's checksum is wrong")
        return _checked(data, max_film_bytes)

    def _seek(self, archive: BinaryIO) -> None:
        archive.seek(self.offset)
        header = archive.read(LOCAL_HEADER_BYTES)
        if len(header) < LOCAL_HEADER_BYTES or not header.startswith(LOCAL_HEADER):
            raise NoFilm("the archive has no member where its directory says")
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (NAME_LENGTH_AT, EXTRA_LENGTH_AT))
        archive.seek(sum(lengths), os.SEEK_CUR)

    def _unpacked(self, archive: BinaryIO) -> bytes:
        if self.method == STORED:
            return archive.read(min(self.packed_bytes, self.size_bytes + 1))
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        pieces, left, room = [], self.packed_bytes, self.size_bytes + 1
        while left > 0 and room > 0 and not unpack.eof:
            packed = archive.read(min(left, PIECE_BYTES))
            if not packed:
                break
            left -= len(packed)
            pieces.append(unpack.decompress(packed, room))
            room -= len(pieces[-1])
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Address:
    """An object in a file system of fsspec."""

    root: str
    """As `addresses.file_system` takes it."""
    path: str

    def read(self, max_film_bytes: int) -> bytes:
        """Return its bytes."""
        from batch import addresses  # noqa: PLC0415  (only where addresses are given)

        try:
            with addresses.file_system(self.root).open(self.path, "rb") as file:
                return _checked(file.read(max_film_bytes + 1), max_film_bytes)
        except FileNotFoundError as exc:
            raise MissingFile("there is no such file") from exc
        except FilmError:
            raise
        except Exception as exc:  # each file system has errors of its own
            raise UnreadableFile(f"{type(exc).__name__}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Nowhere:
    """An entry that was found to hold no film when it was listed."""

    error: str
    """The name of the error's class in ERRORS."""
    message: str

    def read(self, max_film_bytes: int) -> bytes:  # noqa: ARG002  (as all places)
        """Raise the error."""
        raise ERRORS[self.error](self.message)


ERRORS: dict[str, type[FilmError]] = {
    error.__name__: error for error in (MissingFile, NoFilm, UnreadableFile, UnsupportedFormat)
}
"""That a listing may find."""

KINDS: dict[str, type[File | Member | Address | Nowhere]] = {
    kind.__name__: kind for kind in (File, Member, Address, Nowhere)
}


def nowhere(error: FilmError) -> Nowhere:
    """Return the place of an entry with this error."""
    return Nowhere(type(error).__name__, str(error))


def as_text(place: File | Member | Address | Nowhere) -> str:
    """Return a place as a line of ASCII."""
    return json.dumps({"kind": type(place).__name__, **asdict(place)})


def from_text(text: str) -> Place:
    """Return the place that `as_text` wrote."""
    fields = json.loads(text)
    place: Place = KINDS[fields.pop("kind")](**fields)
    return place


def _checked(data: bytes, max_film_bytes: int) -> bytes:
    if not data:
        raise EmptyFile
    if len(data) > max_film_bytes:
        raise FilmTooLarge(max_film_bytes)
    if (data.startswith(ARCHIVES) or _holds(data, TAR)) and not _holds(data, DICOM):
        raise NestedArchive
    return data


def _holds(data: bytes, mark: tuple[int, bytes]) -> bool:
    start, content = mark
    return data[start : start + len(content)] == content
