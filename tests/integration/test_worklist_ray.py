"""`python -m batch --engine ray`, on a Ray of this machine."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from batch.journal import Task
from batch.row import Row
from batch.scorer import Score
from proxy.settings import ROOT
from tests.models import write_model_store
from tests.worklists import command, table, write_films

pytest.importorskip("ray.data", reason="Ray is not installed: make worklist ENGINE=ray")
pytestmark = pytest.mark.integration

LONG_S = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_model_store(folder)
    return folder


def batch(worklist: Path | str, out: Path, store: Path, *options: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command(worklist, out, store, *options), cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert result.returncode == 0, result.stderr
    return result


def test_ray_gives_the_same_table_and_takes_over_a_journal(store: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 30)
    (films / "none.txt").write_bytes(b"none")
    (tmp_path / "list.csv").write_text("\n".join(["path", *(f"films/{n:04d}.jpeg" for n in range(10)), "gone.jpeg"]))
    worklists: tuple[Path | str, ...] = (films, tmp_path / "list.csv", f"file://{films}")
    for number, worklist in enumerate(worklists):
        by_ray, by_processes = tmp_path / f"ray{number}.csv", tmp_path / f"processes{number}.csv"
        batch(worklist, by_ray, store, "--engine", "ray")
        batch(worklist, by_processes, store)
        assert by_ray.read_bytes() == by_processes.read_bytes()
    for engine in ("ray", "processes"):
        batch(films, tmp_path / f"rejected-{engine}.csv", store, "--engine", engine, "--gate", "reject")
    rejected = (tmp_path / "rejected-ray.csv").read_bytes()
    assert rejected == (tmp_path / "rejected-processes.csv").read_bytes()
    assert rejected.count(b",rejected_by_gate,") == 30
    again = batch(films, tmp_path / "processes0.csv", store, "--engine", "ray")
    assert "31 of them by an earlier run" in again.stdout


def test_killed_run_goes_on(store: Path, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 1500)
    out, log = tmp_path / "r.csv", tmp_path / "r.csv.journal-wal"
    process = subprocess.Popen(command(films, out, store, "--engine", "ray"), cwd=ROOT)
    deadline = time.monotonic() + LONG_S
    while not log.exists() or log.stat().st_size < 100_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    known = batch(films, out, store, "--engine", "ray").stdout.split(" of them by an earlier run")[0]
    assert 0 < int(known.rsplit(" ", 1)[1]) < 1500
    assert len({row["file"] for row in table(out)}) == 1500


def crashing() -> Score:
    """Return what ends its process at one film."""

    def score(place: str) -> Row:
        if place == "crash":
            os._exit(1)
        return Row(status=200)

    return score


@pytest.mark.filterwarnings("ignore")  # of Ray, about itself
def test_film_that_ends_its_process_spoils_no_other() -> None:
    from batch import ray_data  # noqa: PLC0415  (Ray is not always there)

    found: dict[bytes, int] = {}
    places = [*(str(number) for number in range(20)), "crash"]
    ray_data.screen(
        iter([Task(place.encode(), place) for place in places]),
        lambda task, row: found.__setitem__(task.key, row.status),
        make=crashing,
        arguments=(),
        workers=2,
    )
    assert found.pop(b"crash") == 500
    assert set(found.values()) == {200}
    assert len(found) == 20
