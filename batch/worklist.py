"""Screen a worklist: list its films, screen those that the journal does not have, and write the table."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch import table
from batch.engines import Engine
from batch.errors import InputError
from batch.journal import Journal, Task
from batch.listing import SCHEME, list_films
from batch.row import Row, readable

JOURNAL_SUFFIX = ".journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did."""

    films: int
    """Of the worklist, one that is named twice counted once."""
    known: int
    """Of these, screened by an earlier run."""
    errors: int
    """Of these, without a result."""

    @property
    def screened(self) -> int:
        """How many were screened now."""
        return self.films - self.known


def screen(
    worklist: str, out: Path, engine: Callable[[], Engine], *, heard: Callable[[Row], None] = lambda _: None
) -> Summary:
    """Screen a worklist, and write its table of results.

    Args:
        worklist: As `list_films` takes it.
        out: Where the table goes; the journal is beside it.
        engine: Makes what screens, once the rest was found to be in order.
        heard: Called with each row.

    Raises:
        InputError: What was given cannot be used.
        StoppedError: Screening cannot go on.
    """
    bar = _progress_bar()
    table.check(out)
    if SCHEME not in worklist and os.path.realpath(worklist) in map(os.path.realpath, (out, _journal(out))):
        raise InputError(f"{readable(worklist)}: is where the results would go: give them another name")
    entries = list_films(worklist, spare=_is_ours(out))
    made = engine()
    with Journal(_journal(out), f"{made.identity} {_source(worklist)}") as journal:
        journal.take(entries)
        films, known = journal.count()
        with bar(films, known) as progress:

            def done(task: Task, row: Row) -> None:
                journal.keep(task, row)
                heard(row)
                progress.update()

            if known < films:
                made.screen(journal.open_tasks(), done)
        table.write(out, journal.rows())
        return Summary(films=films, known=known, errors=journal.errors())


def _source(worklist: str) -> str:
    """Return where the names of a worklist's films lead: the same name elsewhere is another film."""
    return worklist if SCHEME in worklist else readable(os.path.abspath(worklist))  # noqa: PTH100  (links are kept)


def _progress_bar() -> Callable[[int, int], AbstractContextManager[Any]]:
    """Return what makes a progress bar, of so many films of which some are done, on a terminal.

    Raises:
        InputError: Its package is missing.
    """
    try:
        from tqdm import tqdm  # noqa: PLC0415  (`make serve` does not install it)
    except ImportError as exc:
        raise InputError("the progress bar wants the package tqdm: pip install -r requirements/worklist.txt") from exc
    return lambda films, known: tqdm(total=films, initial=known, unit="film", disable=None)


def _journal(out: Path) -> Path:
    return out.with_name(out.name + JOURNAL_SUFFIX)


def _is_ours(out: Path) -> Callable[[str], bool]:
    """Return whether a file is the table, or the journal with what SQLite has beside it."""
    folder, journal = out.parent.resolve(), _journal(out).name

    def is_ours(path: str) -> bool:
        found = Path(path)
        named = found.name == out.name or found.name.startswith(journal)
        return named and found.parent.resolve() == folder

    return is_ours
