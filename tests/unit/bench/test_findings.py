import json

from bench.findings import Findings
from bench.ratios import NAMES
from bench.report import page
from tests.unit.bench.runs import MACHINE, round_of_runs, session


def test_results_have_the_promised_shape() -> None:
    told = json.loads(json.dumps(Findings.of(session(round_of_runs()), MACHINE).told(), allow_nan=False))
    assert tuple(told["ratios"]) == NAMES
    assert all(isinstance(value, float) for value in told["ratios"].values())
    assert len(told["runs"]) == len(round_of_runs())
    assert told["machine"] == MACHINE
    assert told["goals"]["vs_fastapi"] == {"sense": ">=", "bound": 6.0, "met": True}
    assert told["spread"]["vs_fastapi"] == [6.0, 6.0]
    assert (told["memory_mb"], told["start_s"]) == (800.0, 7.0)


def test_missing_contender_is_null_and_explained() -> None:
    measured = session([run for run in round_of_runs() if run.contender != "fastapi_torch"])
    measured.left_out["fastapi_torch"] = "it did not start"
    found = Findings.of(measured, MACHINE)
    assert found.told()["ratios"]["vs_fastapi"] is None
    assert found.told()["left_out"] == {"fastapi_torch": "it did not start"}
    assert "- **fastapi_torch**: it did not start" in page(found)
    assert "not measured" in page(found)


def test_session_without_any_run_is_told_too() -> None:
    found = Findings.of(session([]), MACHINE)
    assert set(found.told()["ratios"].values()) == {None}
    assert page(found).startswith("# Benchmark")


def test_report_says_that_the_machine_was_busy() -> None:
    runs = round_of_runs()
    assert "busy" in page(Findings.of(session(runs), {**MACHINE, "busy": True}))
    assert "busy" not in page(Findings.of(session(runs), MACHINE))


def test_report_has_each_contender_s_throughput() -> None:
    text = page(Findings.of(session(round_of_runs()), MACHINE))
    assert "| this service | 16 | 180.0 | 10.0 | 20.0 | 20.0 | 0 |" in text
    assert "| bare loop | 2 processes | 200.0 |" in text
    assert "| this service | open loop, evenly spaced | 140.0 |" in text
