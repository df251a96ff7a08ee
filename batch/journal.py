"""What has been screened, kept beside the results, so that a run that was killed goes on where it stopped.

An SQLite database: a row is on disk, or it is not, wherever a kill falls, and rows are sorted on disk, so that memory
does not grow with the worklist. A film is known by its worklist and its name there, what changes with its content (size
and time of a file; checksum and place of an archive's member), and what screens it: model and operating point. Nothing
is read again to see whether it is the same, and a changed file or another model is screened anew.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Self

from batch.errors import InputError
from batch.listing import Entry
from batch.place import as_text
from batch.row import COLUMNS, Row

FORMAT = 2
"""Raised whenever what is written changes."""

KEY_BYTES = 16
PAGE = 1000
"""Entries that are looked up at once."""

TRY_AGAIN = 500
"""Errors from this status on say nothing of the film: the next run tries it again."""
MISSING = 404
"""As it does one that was not there."""

_FIELDS = ", ".join(field.name for field in fields(Row))
_MARKS = ", ".join("?" for _ in fields(Row))


class Task(NamedTuple):
    """A film that is to be screened."""

    key: bytes
    place: str
    """As `place.from_text` reads it."""


class Journal:
    """The rows of all films that were screened, and the listing of this run. Use as a context manager.

    Args:
        path: Where it is, or will be.
        screener: What screens, and what worklist: rows of another one are not taken.

    Raises:
        InputError: It cannot be opened, is of another version, or another run writes it.
    """

    def __init__(self, path: Path, screener: str) -> None:
        self._path = path
        self._screener = screener
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._prepare()
        except sqlite3.Error as exc:
            taken = "another run writes it" if "locked" in str(exc) else str(exc)
            raise InputError(f"the journal {path} cannot be used: {taken}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._database.close()

    def take(self, entries: Iterable[Entry]) -> None:
        """Take the worklist of this run."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO listing (name, key, place) VALUES (?, ?, ?)",
            ((entry.name, self._key(entry), as_text(entry.place)) for entry in entries),
        )
        self._database.execute("COMMIT")

    def count(self) -> tuple[int, int]:
        """Return how many films the worklist has, and how many of them need not be screened."""
        (films,) = self._database.execute("SELECT count(DISTINCT key) FROM listing").fetchone()
        (done,) = self._database.execute(
            "SELECT count(DISTINCT key) FROM listing JOIN films USING (key) WHERE status < ? AND status != ?",
            (TRY_AGAIN, MISSING),
        ).fetchone()
        return films, done

    def errors(self) -> int:
        """Return how many of the worklist's films have no result."""
        (errors,) = self._database.execute(
            "SELECT count(DISTINCT key) FROM listing JOIN films USING (key) WHERE status != ?", (HTTPStatus.OK,)
        ).fetchone()
        return int(errors)

    def open_tasks(self) -> Iterator[Task]:
        """Return the films that are to be screened, each once however often the worklist names it."""
        last = 0
        self._database.execute("DELETE FROM films WHERE status >= ? OR status = ?", (TRY_AGAIN, MISSING))
        while True:
            page = self._database.execute(
                "SELECT ordinal, key, place FROM listing AS this WHERE ordinal > ?"
                " AND NOT EXISTS (SELECT 1 FROM films WHERE films.key = this.key)"
                " AND NOT EXISTS (SELECT 1 FROM listing WHERE key = this.key AND ordinal < this.ordinal)"
                " ORDER BY ordinal LIMIT ?",
                (last, PAGE),
            ).fetchall()
            if not page:
                return
            for ordinal, key, place in page:
                last = ordinal
                yield Task(key, place)

    def keep(self, task: Task, row: Row) -> None:
        """Write a film's row, at once."""
        self._database.execute(
            f"INSERT OR REPLACE INTO films (key, {_FIELDS}) VALUES (?, {_MARKS})",  # noqa: S608  (our own names)
            (task.key, *astuple(row)),
        )

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Return the rows of the worklist's films, by `COLUMNS`: the most urgent first, errors last."""
        columns = ", ".join(COLUMNS).replace("file", "listing.name", 1)
        yield from self._database.execute(
            f"SELECT {columns} FROM listing JOIN films USING (key)"  # noqa: S608  (our own names)
            " ORDER BY urgency IS NULL, urgency DESC, ordinal"
        )

    def _prepare(self) -> None:
        run = self._database.execute
        # One run at a time; without memory shared through a file, which network file systems do not have.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(
                f"it is of version {version}, this code reads {FORMAT}: delete it to begin anew"
            )
        run(f"PRAGMA user_version = {FORMAT}")
        run(f"CREATE TABLE IF NOT EXISTS films (key BLOB PRIMARY KEY, {_FIELDS}) WITHOUT ROWID")
        run("CREATE TEMP TABLE listing (ordinal INTEGER PRIMARY KEY, name TEXT, key BLOB, place TEXT)")
        run("CREATE INDEX temp.listing_key ON listing (key, ordinal)")

    def _key(self, entry: Entry) -> bytes:
        text = "\0".join((self._screener, entry.name, entry.version))
        return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()
