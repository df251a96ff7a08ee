import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from batch.errors import InputError, NoFilm, UnreadableFile
from batch.journal import Journal
from batch.listing import Entry
from batch.place import File
from batch.row import COLUMNS, Row
from handler.errors import DamagedFilm


def entry(name: str, version: str = "1") -> Entry:
    return Entry(name, version, File(name))


def result(p_pneumonia: float) -> Row:
    return Row(status=200, prediction="NORMAL", p_pneumonia=round(p_pneumonia, 4), urgency=p_pneumonia)


def screened(journal: Journal, entries: Iterable[Entry], rows: Iterable[Row]) -> None:
    journal.take(entries)
    for task, row in zip(list(journal.open_tasks()), rows, strict=True):
        journal.keep(task, row)


def names(journal: Journal) -> list[object]:
    return [row[COLUMNS.index("file")] for row in journal.rows()]


def test_most_urgent_film_is_first_and_errors_are_last(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "model") as journal:
        rows = [result(0.00001), Row.of(DamagedFilm("cut")), result(0.9), result(0.00002)]
        screened(journal, map(entry, "abcd"), rows)
        assert names(journal) == ["c", "d", "a", "b"]


def test_what_was_screened_is_not_screened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "model") as journal:
        screened(journal, [entry("a"), entry("b")], [result(0.1), Row.of(NoFilm("x"))])
    with Journal(tmp_path / "j", "model") as journal:
        journal.take([entry("a"), entry("b"), entry("c")])
        assert journal.count() == (3, 2)
        assert [task.place for task in journal.open_tasks()] == ['{"kind": "File", "path": "c"}']


@pytest.mark.parametrize(("name", "version", "model"), [("b", "1", "m"), ("a", "2", "m"), ("a", "1", "n")])
def test_another_film_or_content_or_model_is_screened(tmp_path: Path, name: str, version: str, model: str) -> None:
    with Journal(tmp_path / "j", "m") as journal:
        screened(journal, [entry("a", "1")], [result(0.1)])
    with Journal(tmp_path / "j", model) as journal:
        journal.take([entry(name, version)])
        assert len(list(journal.open_tasks())) == 1


def test_error_that_says_nothing_of_the_film_is_tried_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "m") as journal:
        screened(journal, [entry("a")], [Row.of(UnreadableFile("I/O error"))])
        assert journal.errors() == 1
    with Journal(tmp_path / "j", "m") as journal:
        screened(journal, [entry("a")], [result(0.2)])
        assert journal.errors() == 0


def test_film_that_is_named_twice_is_screened_once_and_has_two_rows(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "m") as journal:
        screened(journal, [entry("a"), entry("b"), entry("a")], [result(0.3), result(0.2)])
        assert names(journal) == ["a", "a", "b"]
        assert journal.count() == (2, 2)


def test_film_that_left_the_worklist_has_no_row(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "m") as journal:
        screened(journal, [entry("a"), entry("b")], [result(0.3), result(0.2)])
    with Journal(tmp_path / "j", "m") as journal:
        journal.take([entry("b")])
        assert names(journal) == ["b"]


def test_more_films_than_a_page_are_all_open(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "m") as journal:
        journal.take(entry(str(number)) for number in range(2500))
        taken = 0
        for task in journal.open_tasks():
            journal.keep(task, result(0.1))
            taken += 1
        assert taken == 2500


def test_journal_that_another_run_writes_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "m"), pytest.raises(InputError, match="another run"):
        Journal(tmp_path / "j", "m")


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 100])
def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(InputError, match="journal"):
        Journal(tmp_path / "j", "m")
    assert (tmp_path / "j").read_bytes() == content


def test_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "j")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InputError, match="version 99"):
        Journal(tmp_path / "j", "m")
