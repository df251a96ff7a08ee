import json
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.profile import ROWS, Trip, counters, earlier, main, page, rows_of
from tests.unit.bench.runs import MACHINE

METRICS = """\
# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="pneumonia",model_version="default",hostname="h",} 194.0
# TYPE ts_inference_latency_microseconds counter
ts_inference_latency_microseconds{model_name="pneumonia",model_version="default",hostname="h",} 1234567.5
ts_queue_latency_microseconds{model_name="pneumonia",model_version="1",hostname="h",} 100.5
ts_queue_latency_microseconds{model_name="pneumonia",model_version="2",hostname="h",} 50.0
"""

THROUGH = Trip(round_trip=20.0, latency=14.0, queue=1.0)
STRAIGHT = Trip(round_trip=17.0, latency=15.0, queue=1.0)
COSTS = {"form": 0.5, "jpeg": 3.0, "decode": 5.0, "engine": 4.0, "handle": 10.0}


def profile() -> dict[str, object]:
    rows = rows_of(THROUGH, STRAIGHT, COSTS)
    return {"rows_ms": {"1": rows, "16": rows}, "machine": MACHINE}


def test_counters_are_read_and_added_over_versions() -> None:
    assert counters(METRICS) == {"requests": 194.0, "latency_us": 1234567.5, "queue_us": 150.5}


def test_counter_that_has_not_counted_is_0() -> None:
    assert counters("") == {"requests": 0.0, "latency_us": 0.0, "queue_us": 0.0}


def test_rows_are_what_is_left_between_measurements() -> None:
    assert rows_of(THROUGH, STRAIGHT, COSTS) == {
        "proxy": pytest.approx(20.0 - 14.0 - 2.0 - 0.5),
        "form": 0.5,
        "frontend": pytest.approx(2.0),
        "queue": 1.0,
        "worker": pytest.approx(3.0),
        "jpeg": 3.0,
        "resize": pytest.approx(2.0),
        "engine": 4.0,
        "answer": pytest.approx(1.0),
    }


def test_rows_add_up_to_the_round_trip() -> None:
    assert sum(rows_of(THROUGH, STRAIGHT, COSTS).values()) == pytest.approx(THROUGH.round_trip)


def test_page_has_every_row_and_the_sum() -> None:
    text = page({"": profile()})
    assert all(what in text for what, _ in ROWS.values())
    assert "| **round trip through the proxy** | 20.00 | 20.00 | mean |" in text


def test_earlier_profile_stands_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile()))
    assert "| 1, before (ms) | 1 (ms) | 16, before (ms) | 16 (ms) |" in page({", before": earlier(path), "": profile()})


@pytest.mark.parametrize("content", ["", "{}", '{"rows_ms": {"1": {}, "16": {}}}', '{"rows_ms": []}'])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(InputError, match="no profile"):
        earlier(path)
    assert main(["--before", str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: no profile")
