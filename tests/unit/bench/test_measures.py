import pytest

from bench.measures import histogram, percentiles, timing_of
from tests.unit.bench.runs import run


def test_percentiles_are_of_the_nearest_rank() -> None:
    took = histogram(float(ms) for ms in range(1, 101))
    assert percentiles(took) == [50.0, 95.0, 99.0]


def test_percentiles_of_few_latencies_are_latencies_that_occurred() -> None:
    assert percentiles({5.0: 1, 7.0: 1}) == [5.0, 7.0, 7.0]


def test_percentiles_of_nothing_are_zero() -> None:
    assert percentiles({}) == [0.0, 0.0, 0.0]


def test_mean_counts_every_request() -> None:
    assert timing_of({10.0: 3, 30.0: 1}, errors=0, seconds=2.0).mean_ms == pytest.approx(15.0)


def test_throughput_is_of_right_answers() -> None:
    timing = timing_of({10.0: 10}, errors=4, seconds=2.0, films=6)
    assert timing.films_per_s == pytest.approx(3.0)
    assert timing.errors == 4


def test_row_of_a_run_is_plain_and_rounded() -> None:
    told = run("ours_proxy", 180, p50_ms=1 / 3).told()
    assert told["contender"] == "ours_proxy"
    assert told["films_per_s"] == 180
    assert told["p50_ms"] == 0.333
    assert told["rate_per_s"] is None
