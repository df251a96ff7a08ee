import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batch import processes
from batch.errors import InputError, StoppedError
from batch.journal import Task
from batch.row import Row
from batch.scorer import Score


def echo(folder: str) -> Score:
    """Return what answers with the place's name, and does what it says."""

    def score(place: str) -> Row:
        marks = Path(folder, place)
        with marks.open("a") as file:
            file.write("x")
        if place.startswith("crash") or (place.startswith("once") and marks.stat().st_size == 1):
            os._exit(1)
        if place.startswith("hang"):
            time.sleep(1000)
        return Row(status=200, note=place)

    return score


def broken(_folder: str) -> Score:
    raise RuntimeError("no\nmodel")


def dying(_folder: str) -> Score:
    os._exit(1)


def screen(
    folder: Path, places: list[str], *, workers: int = 2, make: Callable[[str], Score] = echo
) -> list[tuple[str, Row]]:
    found: list[tuple[str, Row]] = []
    tasks = (Task(place.encode(), place) for place in places)
    processes.screen(
        tasks,
        lambda task, row: found.append((task.place, row)),
        make=make,
        arguments=(str(folder),),
        workers=workers,
    )
    return found


def test_each_film_is_screened_once_and_gets_its_own_row(tmp_path: Path) -> None:
    places = [f"film {number}" for number in range(50)]
    found = screen(tmp_path, places)
    assert sorted(place for place, _ in found) == sorted(places)
    assert all(row.note == place for place, row in found)
    assert {(tmp_path / place).read_text() for place in places} == {"x"}


def test_film_that_ends_its_process_spoils_no_other(tmp_path: Path) -> None:
    found = dict(screen(tmp_path, ["a", "crash", "b", "c", "d"]))
    assert {place: row.status for place, row in found.items()} == {"a": 200, "b": 200, "c": 200, "d": 200, "crash": 500}
    assert found["crash"].error_code == "worker_died"
    assert (tmp_path / "crash").read_text() == "xx"


def test_film_whose_process_was_killed_once_gets_its_result(tmp_path: Path) -> None:
    assert dict(screen(tmp_path, ["once", "a"], workers=1))["once"].status == 200


def test_film_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_S", 2.0)
    found = dict(screen(tmp_path, ["hang", "a", "b"], workers=1))
    assert {place: row.status for place, row in found.items()} == {"hang": 500, "a": 200, "b": 200}


def test_model_that_cannot_be_run_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the model cannot be run: no model$"):
        screen(tmp_path, ["a"], make=broken)


def test_processes_that_do_not_start_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        screen(tmp_path, ["a"], make=dying)
