"""The benchmark in its smallest form: that it works, not what it finds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.closed_loop import Wrk
from bench.errors import InputError
from bench.figures import RATIOS
from proxy.settings import Settings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the results."""
    try:
        Wrk.find()
    except InputError as exc:
        pytest.skip(str(exc))
    if not Settings.from_environ({}).archive.exists():
        pytest.fail("run the tests by `make test`, which builds the archive first")
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "bench", "--smallest", "--contenders", "bare,ours_proxy", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=180)
    return folder


def test_smallest_benchmark_writes_well_formed_results(out: Path) -> None:
    found = json.loads((out / "results.json").read_text())
    assert list(found["ratios"]) == [figure.name for figure in RATIOS]
    assert found["left_out"] == {}
    # Not equal: on a machine that is busy elsewhere too few films are answered to make a ratio of.
    measured = {name for name, value in found["ratios"].items() if value is not None}
    assert measured <= {"fraction_of_bare", "p50_vs_bare", "p99_over_p50"}
    assert {(run["contender"], run["kind"]) for run in found["runs"]} == {
        ("bare", "bare"),
        ("ours_proxy", "closed"),
        ("ours_proxy", "open"),
        ("ours_proxy", "open_poisson"),
    }
    assert all(run["films"] > 0 for run in found["runs"])
    # A busy machine may refuse films that arrive at a rate, but not those of clients that wait for their answer.
    assert all(run["errors"] == 0 for run in found["runs"] if run["kind"] in {"bare", "closed"})
    assert found["memory_mb"] > 0
    assert found["start_s"] > 0


def test_smallest_benchmark_writes_a_report_and_plots(out: Path) -> None:
    assert "`fraction_of_bare`" in (out / "results.md").read_text()
    assert {path.name for path in out.glob("*.png")} == {"concurrency.png", "workers.png", "scaling.png"}
