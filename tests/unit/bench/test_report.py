import json

from bench.figures import RATIOS
from bench.report import document, page, table
from tests.unit.bench.runs import MACHINE, results_of, round_of_runs


def test_results_have_the_promised_shape() -> None:
    found = json.loads(json.dumps(document(results_of(round_of_runs())), allow_nan=False))
    assert list(found["ratios"]) == [figure.name for figure in RATIOS]
    assert all(isinstance(value, float) for value in found["ratios"].values())
    assert len(found["runs"]) == len(round_of_runs())
    assert found["runs"][2]["contender"] == "ours_proxy"
    assert found["runs"][2]["films_per_s"] == 60
    assert found["runs"][2]["p50_ms"] == 12.0
    assert found["machine"] == MACHINE
    assert found["goals"]["vs_fastapi"] == {"sense": ">=", "bound": 6.0, "met": True}
    assert found["spread"]["vs_fastapi"] == [6.0, 6.0]
    assert (found["memory_mb"], found["start_s"]) == (800.0, 7.0)


def test_missing_contender_is_null_and_explained() -> None:
    runs = [run for run in round_of_runs() if run.contender != "fastapi_torch"]
    results = results_of(runs, left_out={"fastapi_torch": "it did not start"})
    assert document(results)["ratios"]["vs_fastapi"] is None
    assert document(results)["left_out"] == {"fastapi_torch": "it did not start"}
    assert "- **fastapi_torch**: it did not start" in page(results)
    assert "not measured" in page(results)


def test_benchmark_without_any_run_is_reported_too() -> None:
    results = results_of([])
    assert set(document(results)["ratios"].values()) == {None}
    assert page(results).startswith("# Benchmark")


def test_report_warns_where_the_machine_was_busy() -> None:
    runs = round_of_runs()
    assert "busy" in page(results_of(runs, machine={**MACHINE, "busy": True}))
    assert "busy" not in page(results_of(runs))


def test_report_has_each_contender_s_throughput() -> None:
    text = page(results_of(round_of_runs()))
    assert "| this service | 16 | 180.0 | 10.0 | 20.0 | 20.0 | 0 |" in text
    assert "| bare loop | 2 processes | 200.0 |" in text
    assert "| this service | open loop, evenly spaced | 140.0 |" in text


def test_table_is_markdown() -> None:
    assert table(["", "b"], [["a", "1"]]) == "|  | b |\n|-|-|\n| a | 1 |"
