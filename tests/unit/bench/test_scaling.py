import pytest

from bench.scaling import UniversalLaw, by_concurrency, by_size, line, universal_law
from tests.unit.bench.runs import results_of, run


def test_line_through_costs_is_found() -> None:
    assert line([0.5, 1.0, 2.0], [5.0, 6.0, 8.0]) == pytest.approx({"fixed_ms": 4.0, "ms_per_megapixel": 2.0})


def test_one_size_makes_no_line() -> None:
    assert line([1.0], [5.0]) is None


def test_law_that_made_the_points_is_found() -> None:
    law = UniversalLaw(rate_per_s=80.0, contention=0.3, coherency=0.001)
    clients = [1, 2, 4, 8, 16, 32, 64]
    fit = universal_law(clients, [law.throughput(number) for number in clients])
    assert fit is not None
    assert fit.rate_per_s == pytest.approx(80.0)
    assert fit.contention == pytest.approx(0.3)
    assert fit.coherency == pytest.approx(0.001)


@pytest.mark.parametrize("rates", [[80.0, 150.0], [80.0, 150.0, 0.0]])
def test_law_needs_three_throughputs(rates: list[float]) -> None:
    assert universal_law([1, 16, 64][: len(rates)], rates) is None


def test_cost_of_a_size_is_of_a_lone_request_and_under_load() -> None:
    runs = [
        one
        for width_px, cost_ms in ((512, 5.0), (1024, 8.0))
        for one in (
            run("bare", 0, kind="bare", concurrency=1, width_px=width_px, p50_ms=cost_ms),
            run("ours_proxy", 0, concurrency=1, width_px=width_px, p50_ms=2 * cost_ms),
            run("ours_proxy", 100, concurrency=16, width_px=width_px),
        )
    ]
    found = by_size(results_of(runs, megapixels={512: 0.25, 1024: 1.0}))
    assert found["rows"][0] == {
        "width_px": 512,
        "megapixels": 0.25,
        "bare_ms": 5.0,
        "lone_ms": 10.0,
        "loaded_core_ms": 20.0,
    }
    assert found["lines"]["bare_ms"] == {"fixed_ms": pytest.approx(4.0), "ms_per_megapixel": pytest.approx(4.0)}


def test_sizes_without_the_bare_loop_have_no_cost_in_it() -> None:
    runs = [run("ours_proxy", 100, concurrency=number, width_px=512) for number in (1, 16)]
    found = by_size(results_of(runs, megapixels={512: 0.25}))
    assert found["rows"][0]["bare_ms"] is None
    assert found["lines"]["bare_ms"] is None


def test_throughput_over_concurrency_is_the_median_of_the_rounds() -> None:
    runs = [run("ours_proxy", rate, round_=number) for number, rate in enumerate((100, 200, 160), start=1)]
    found = by_concurrency(results_of(runs))
    assert found["rows"] == [{"concurrency": 16, "films_per_s": 160.0, "core_ms": pytest.approx(12.5)}]
    assert found["universal_law"] is None
