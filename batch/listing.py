"""The films of a worklist: a folder, a CSV, a ZIP archive, or an address that fsspec reads, as they are found.

Every file is an entry, whatever its name: one that is no film gets a row that says so, and none is left out unseen.
Only hidden files are not listed, and the run's own.
"""

import csv
import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from batch.errors import InputError, MissingFile, NoFilm, UnreadableFile
from batch.place import Address, File, Member, Nowhere, nowhere
from batch.row import readable

COLUMN = "path"
"""Of a CSV, in small letters or not; others are ignored."""
SEPARATORS = (",", ";", "\t")
"""Of a CSV's columns: that of its first line with which it names COLUMN."""
WIDE_TEXT = ("\udcff\udcfe", "\udcfe\udcff")
"""How UTF-16 begins, read as UTF-8 with surrogates for what is none."""

MAX_LINE = 65_536
"""Characters of a line of a CSV."""

HIDDEN = (".", "__MACOSX")
"""How names begin that are no user's films."""

ENCRYPTED = 0x1
"""Bit of a ZIP member's flags (APPNOTE.TXT, 4.4.4)."""

SCHEME = "://"
"""Of an address, as in `s3://bucket/folder`."""

VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")
"""Facts of an object that change with its content, as file systems of fsspec call them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One film of the worklist."""

    name: str
    """As the results name it: relative to the folder, the CSV's path, or the member's name. Only ever a label."""
    version: str
    """What changes whenever the content does."""
    place: File | Member | Address | Nowhere


def list_films(worklist: str, *, spare: Callable[[str], bool]) -> Iterator[Entry]:
    """Find the films of a worklist, always in the same order.

    Args:
        worklist: A folder, a CSV with the column `path`, a ZIP archive, or the address of a folder or of a CSV.
        spare: Whether a file is the run's own.

    Raises:
        InputError: It is none of these, cannot be read, or is empty.
    """
    entries = _entries(worklist, spare)
    first = next(entries, None)
    if first is None:
        raise InputError(f"{worklist}: there is no file in it")
    return chain([first], entries)


def _entries(worklist: str, spare: Callable[[str], bool]) -> Iterator[Entry]:
    if SCHEME in worklist:
        return _addresses(worklist)
    path = os.path.abspath(worklist)  # noqa: PTH100  (places are read in other processes, perhaps of other folders)
    try:
        if Path(path).is_dir():
            return _folder(path, spare)
        with Path(path).open("rb") as file:
            is_zip = zipfile.is_zipfile(file)
    except (OSError, ValueError) as exc:
        raise InputError(f"{worklist}: {getattr(exc, 'strerror', None) or exc}") from exc
    return _archive(path) if is_zip else _manifest(path)


def _folder(folder: str, spare: Callable[[str], bool]) -> Iterator[Entry]:
    """Walk a folder by name, links to folders included, but none twice."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        below = []
        try:
            facts = os.stat(path)  # noqa: PTH116  (names here may be no text)
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(path) as found:
                items = sorted((item.name, item.is_dir()) for item in found if not _hidden(item.name))
        except OSError as exc:
            if path == folder:
                raise InputError(f"{folder}: {exc.strerror}") from exc
            yield Entry(_relative(path, folder) + "/", "", nowhere(UnreadableFile(exc.strerror or str(exc))))
            continue
        for name, is_folder in items:
            item = os.path.join(path, name)  # noqa: PTH118
            if is_folder:
                below.append(item)
            elif not spare(item):
                yield Entry(_relative(item, folder), _version(item), File(item))
        waiting += reversed(below)


def _relative(path: str, folder: str) -> str:
    return readable(os.path.relpath(path, folder).replace(os.sep, "/"))


def _version(path: str) -> str:
    """Return size and time of a file's last change: its bytes are not read again only to see that they are the same."""
    try:
        facts = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}" if stat.S_ISREG(facts.st_mode) else ""


def _manifest(path: str) -> Iterator[Entry]:
    """Read a CSV line by line; file names in it may be in any encoding, as on disk."""
    folder = os.path.dirname(path)  # noqa: PTH120
    # The system's own encoding of names: what is no UTF-8 becomes the same bytes again when the file is opened.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # noqa: PTH123
        yield from _rows(file.readline, path, lambda name: _named(name, folder))


def _named(name: str, folder: str) -> tuple[str, File | Address | Nowhere]:
    """Return version and place of a file that a CSV names."""
    if SCHEME in name:
        return "", _address(name)
    item = os.path.join(folder, name)  # noqa: PTH118
    return ("", nowhere(MissingFile("there is no such file"))) if "\0" in name else (_version(item), File(item))


Resolve = Callable[[str], tuple[str, File | Address | Nowhere]]


def _rows(readline: Callable[[int], str], path: str, resolve: Resolve) -> Iterator[Entry]:
    """Return the entries of a CSV; a line that cannot be read is one with an error.

    Each line is read by itself: a stray quote would have the following lines, and the films that they name, in its
    field.
    """
    lines = _lines(readline)
    first = next(lines, "")
    second = 2
    if first.lower().startswith("sep="):  # how spreadsheets name the separator, which is found anyhow
        first, second = next(lines, ""), 3
    separator, column = _column(first, path)
    for number, line in enumerate(lines, start=second):
        try:
            row = _fields(line, separator)
        except csv.Error as exc:
            yield _no_path(number, f"line {number} is no CSV: {exc}")
            continue
        name = row[column].strip() if column < len(row) else ""
        if name:
            yield Entry(readable(name), *resolve(name))
        elif row:  # an empty line is none
            yield _no_path(number, f"line {number} names no path")


def _column(line: str, path: str) -> tuple[str, int]:
    """Return what separates the columns of a CSV with this first line, and which of them names the films.

    Raises:
        InputError: There is none, or more than one.
    """
    if line.startswith(WIDE_TEXT):
        raise InputError(f"{path}: text in UTF-16: save it as CSV in UTF-8")
    if line.startswith("PK\x03\x04"):
        raise InputError(f"{path}: a ZIP archive that is damaged or cut off: it has no directory")
    wrong = None
    for separator in SEPARATORS:
        try:
            header = [name.strip() for name in _fields(line, separator)]
        except csv.Error as exc:  # perhaps by another one
            wrong = wrong or exc
            continue
        if COLUMN not in header:
            header = [name.lower() for name in header]
        if header.count(COLUMN) > 1:
            raise InputError(f"{path}: the first line names the column {COLUMN!r} twice")
        if COLUMN in header:
            return separator, header.index(COLUMN)
    if wrong is not None:
        raise InputError(f"{path}: neither a folder, nor a CSV, nor a ZIP archive: line 1: {wrong}") from wrong
    raise InputError(
        f"{path}: neither a folder, nor a ZIP archive, nor a CSV whose first line names a column {COLUMN!r}"
    )


def _fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line.

    Raises:
        csv.Error: It is no CSV by itself, or too long.
    """
    if len(line) > MAX_LINE:
        raise csv.Error(f"it is over {MAX_LINE} characters")
    reader = csv.reader([line, ""], strict=True, delimiter=separator)
    try:
        return next(reader)
    except csv.Error as exc:
        if reader.line_num > 1:  # it wanted another line
            raise csv.Error("a quoted field does not end on its line") from exc
        raise


def _no_path(line: int, message: str) -> Entry:
    return Entry(f"line {line}", message, nowhere(NoFilm(message)))


def _lines(readline: Callable[[int], str]) -> Iterator[str]:
    """Read lines, whatever the file is; of one that is too long, no more than shows that it is."""
    while line := readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(("\n", "\r")):
            line = readline(MAX_LINE + 1)


def _archive(path: str) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and not _hidden(one.filename)]
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
        raise InputError(f"{path}: a ZIP archive that cannot be read: {exc}") from exc
    overlapping = _overlapping(members)
    for number, member in enumerate(members):
        place: Member | Nowhere
        if number in overlapping:
            place = nowhere(NoFilm("the member overlaps another one"))
        elif member.flag_bits & ENCRYPTED:
            place = nowhere(NoFilm("the member is encrypted"))
        else:
            place = Member(
                path,
                offset=member.header_offset,
                packed_bytes=member.compress_size,
                size_bytes=member.file_size,
                crc=member.CRC,
                method=member.compress_type,
            )
        version = f"{member.CRC} {member.file_size} {member.header_offset} {_version(path)}"
        yield Entry(readable(member.filename), version, place)


def _hidden(name: str) -> bool:
    """Return whether a path, or a name in it, is no user's film; one that leads up is a label like others."""
    return any(part.startswith(HIDDEN) and not part.startswith("..") and part != "." for part in name.split("/"))


def _overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """Return the members whose data reaches into the next one: how a small archive holds one film many times."""
    found: set[int] = set()
    order = sorted(range(len(members)), key=lambda number: members[number].header_offset)
    for number, following in pairwise(order):
        member = members[number]
        if member.header_offset + member.compress_size >= members[following].header_offset:
            found |= {number, following}
    return found


def _addresses(url: str) -> Iterator[Entry]:
    """List the objects below an address, or those that a CSV at an address names."""
    from batch import addresses  # noqa: PLC0415  (only where addresses are given)

    try:
        root, path = addresses.split(url)
        files = addresses.file_system(root)
        if files.isfile(path):
            folder = path.rpartition("/")[0]
            with files.open(path, "rb") as file:
                text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
                yield from _rows(text.readline, url, lambda name: ("", _address(name, root, folder)))
            return
        found = files.find(path, detail=True)
    except InputError:
        raise
    except Exception as exc:  # each file system has errors of its own
        raise InputError(f"{url}: {type(exc).__name__}: {exc}") from exc
    for one, facts in sorted(found.items()):
        name = one.removeprefix(path).lstrip("/")
        if not _hidden(name):
            yield Entry(readable(name), _version_of(facts), Address(root, one))


def _address(name: str, root: str = "", folder: str = "") -> Address | Nowhere:
    """Return the place that a CSV names, relative to a folder or not."""
    from batch import addresses  # noqa: PLC0415

    if SCHEME not in name:
        return Address(root, f"{folder}/{name}")
    try:
        return Address(*addresses.split(name))
    except Exception as exc:  # each file system has errors of its own
        return nowhere(UnreadableFile(f"{type(exc).__name__}: {exc}"))


def _version_of(facts: dict[str, Any]) -> str:
    return " ".join(str(facts[name]) for name in ("size", *VERSIONS) if name in facts)
