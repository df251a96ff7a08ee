"""`python -m batch` as its users run it: killed, resumed, given what it should not be given."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from proxy.settings import ROOT
from tests.models import write_model_store
from tests.worklists import command, film, table, write_films, write_zip

pytestmark = pytest.mark.integration

LONG_S = 120


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_model_store(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("worklist") / "films", 400)


def batch(worklist: Path | str, out: Path, store: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(worklist, out, store, *options), cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def killed(films: Path, store: Path, tmp_path: Path) -> Path:
    """The results' path of a run that was killed when some films were screened."""
    out = tmp_path / "results.csv"
    log = tmp_path / "results.csv.journal-wal"
    process = subprocess.Popen(command(films, out, store), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: log.exists() and log.stat().st_size > 300_000)
        below = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    assert not out.exists()
    _, left = psutil.wait_procs(below, timeout=LONG_S)
    assert below
    assert not left, "processes outlived the killed one"
    return out


def known(result: subprocess.CompletedProcess[str]) -> int:
    """Return how many films a run took from the journal."""
    assert result.returncode == 0, result.stderr
    words = result.stdout.split(" of them by an earlier run")
    return int(words[0].rsplit(" ", 1)[1]) if len(words) > 1 else 0


def test_killed_run_goes_on_and_gives_the_same_table(films: Path, store: Path, killed: Path, tmp_path: Path) -> None:
    assert 0 < known(batch(films, killed, store)) < 400
    assert batch(films, tmp_path / "whole.csv", store).returncode == 0
    assert killed.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    rows = table(killed)
    assert len({row["file"] for row in rows}) == len(rows) == 400
    probabilities = [float(row["p_pneumonia"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)


def test_torn_end_of_the_journal_costs_only_what_it_held(films: Path, store: Path, killed: Path) -> None:
    log = killed.with_name("results.csv.journal-wal")
    with log.open("rb+") as file:
        file.truncate(log.stat().st_size - 2000)
    assert 0 < known(batch(films, killed, store)) < 400
    assert len(table(killed)) == 400


def test_interrupted_run_says_how_to_go_on(films: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    log = tmp_path / "results.csv.journal-wal"
    process = subprocess.Popen(command(films, out, store), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: log.exists() and log.stat().st_size > 300_000)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LONG_S)
    assert (process.returncode, said) == (130, "interrupted: the same command goes on from here\n")
    assert known(batch(films, out, store)) > 0


def test_second_run_screens_only_what_is_new(store: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 4)
    out = films / "results.csv"  # in the folder itself: it is no film
    assert batch(films, out, store).returncode == 0
    (films / "new.jpeg").write_bytes(film(250))
    (films / "0000.jpeg").unlink()
    assert known(batch(films, out, store)) == 3
    assert [row["file"] for row in table(out)] == ["new.jpeg", "0003.jpeg", "0002.jpeg", "0001.jpeg"]


def test_film_of_the_same_name_in_another_worklist_is_another_film(store: Path, tmp_path: Path) -> None:
    folders = [write_films(tmp_path / name, 2) for name in ("one", "two")]
    for path in folders[0].iterdir():
        os.utime(path, (1, 1))
        os.utime(folders[1] / path.name, (1, 1))
    assert known(batch(folders[0], tmp_path / "r.csv", store)) == 0
    assert known(batch(folders[1], tmp_path / "r.csv", store)) == 0
    assert known(batch(folders[0], tmp_path / "r.csv", store)) == 2


def test_everything_wrong_with_films_is_in_their_rows(store: Path, tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"x": film()})
    worklist = write_zip(
        tmp_path / "films.zip",
        {
            "whole.jpeg": film(),
            "../../cut.jpeg": film()[:-50],
            "bomb.jpeg": bytes(30_000_000),
            "inner.zip": inner.read_bytes(),
            "=1+1.txt": b"text",
        },
    )
    before = set(tmp_path.parent.iterdir())
    result = batch(worklist, tmp_path / "r.csv", store)
    assert (result.returncode, result.stderr) == (0, "")
    rows = table(tmp_path / "r.csv")
    assert [(row["file"], row["status"], row["error_code"]) for row in rows] == [
        ("whole.jpeg", "200", ""),
        ("../../cut.jpeg", "422", "damaged_film"),
        ("bomb.jpeg", "413", "film_too_large"),
        ("inner.zip", "415", "nested_archive"),
        ("=1+1.txt", "415", "unsupported_format"),
    ]
    assert all(row["error_message"] for row in rows[1:])
    assert set(tmp_path.parent.iterdir()) == before


def test_csv_may_name_what_is_not_there(store: Path, tmp_path: Path) -> None:
    write_films(tmp_path / "films", 2)
    (tmp_path / "list.csv").write_text("path\nfilms/0000.jpeg\ngone.jpeg\nfilms/0001.jpeg\nfilms/0000.jpeg\n")
    assert batch(tmp_path / "list.csv", tmp_path / "r.csv", store).returncode == 0
    rows = [(row["file"], row["status"]) for row in table(tmp_path / "r.csv")]
    assert rows[0] == ("films/0001.jpeg", "200")
    assert rows[1:3] == [("films/0000.jpeg", "200")] * 2
    assert rows[3] == ("gone.jpeg", "404")


@pytest.mark.parametrize(
    "options",
    [
        ("--operating-point", "none"),
        ("--workers", "0"),
        ("--workers", "x"),
        ("--max-film-bytes", "-1"),
        ("--engine", "none"),
        ("--gate", "none"),
        ("--nonsense",),
        ("--server", "http://127.0.0.1:1"),
        ("--model-store", "/nonexistent"),
    ],
)
def test_bad_option_is_said_in_one_line(films: Path, store: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = batch(films, tmp_path / "r.csv", store, *options)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--engine", "ray"), ("--gate", "reject"), ("--model-store", "model_store")])
def test_service_is_not_told_what_it_has_of_its_own(films: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    # Nothing listens there: it is not even asked.
    given = ["--out", str(tmp_path / "r.csv"), "--server", "http://127.0.0.1:1", *option]
    said = subprocess.run(
        [sys.executable, "-m", "batch", str(films), *given],
        cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False,
    )  # fmt: skip
    assert said.returncode == 2
    assert "--server has a model and a gate of its own" in said.stderr
    assert option[0] in said.stderr


def test_gate_rejects_films_where_it_is_asked_to(store: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 2)
    assert known(batch(films, tmp_path / "r.csv", store, "--gate", "reject", "--operating-point", "balanced")) == 0
    assert [(row["status"], row["error_code"]) for row in table(tmp_path / "r.csv")] == [
        ("422", "rejected_by_gate")
    ] * 2
    assert known(batch(films, tmp_path / "r.csv", store, "--operating-point", "balanced")) == 0
    assert [(row["status"], row["threshold"]) for row in table(tmp_path / "r.csv")] == [("200", "0.5")] * 2


@pytest.mark.parametrize(("worklist", "out"), [("gone", "r.csv"), (".", "r.txt"), (".", "r.csv")])
def test_bad_worklist_or_output_is_said_in_one_line(store: Path, tmp_path: Path, worklist: str, out: str) -> None:
    result = batch(tmp_path / worklist, tmp_path / out, store)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_films_of_an_address_are_screened(store: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 3)
    (films / "list.csv").write_text(f"path\n0000.jpeg\nfile://{films}/0001.jpeg\ngone.jpeg\n")
    assert batch(f"file://{films}", tmp_path / "r.csv", store).returncode == 0
    assert [row["status"] for row in table(tmp_path / "r.csv")] == ["200", "200", "200", "415"]
    assert batch(f"file://{films}/list.csv", tmp_path / "l.csv", store).returncode == 0
    assert [row["status"] for row in table(tmp_path / "l.csv")] == ["200", "200", "404"]


def test_worklist_is_not_overwritten_by_its_results(tmp_path: Path, store: Path) -> None:
    worklist = tmp_path / "list.csv"
    worklist.write_text("path\nx.jpeg\n")
    done = subprocess.run(
        command(worklist, worklist, store), cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 2
    assert "another name" in done.stderr
    assert worklist.read_text() == "path\nx.jpeg\n"


def test_film_that_was_missing_is_screened_when_it_has_come(tmp_path: Path, store: Path) -> None:
    worklist, out, late = tmp_path / "list.csv", tmp_path / "out.csv", tmp_path / "late.jpeg"
    worklist.write_text(f"path\n{late.as_uri()}\n")
    for status in ("404", "200"):
        subprocess.run(command(worklist, out, store), cwd=ROOT, capture_output=True, timeout=LONG_S, check=False)
        assert [row["status"] for row in table(out)] == [status]
        late.write_bytes(film())


def test_interrupted_while_its_processes_start_it_says_no_more(films: Path, store: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(films, tmp_path / "results.csv", store),
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: any("spawn_main" in " ".join(one.cmdline()) for one in psutil.Process(process.pid).children()))
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C on a terminal
    _, said = process.communicate(timeout=LONG_S)
    assert (process.returncode, said) == (130, "interrupted: the same command goes on from here\n")
