import pytest

from bench.figures import RATIOS, Figure, Spread, UniversalLaw, figures, scaling, universal_law
from bench.results import Run
from tests.unit.bench.runs import results_of, round_of_runs, run


def ratios(runs: list[Run]) -> dict[str, Spread | None]:
    found = figures(results_of(runs))
    return {figure.name: found[figure.name] for figure in RATIOS}


def test_each_ratio_is_of_the_figures_it_names() -> None:
    medians = {name: spread.median for name, spread in figures(results_of(round_of_runs())).items() if spread}
    assert medians == {
        "vs_fastapi": pytest.approx(180 / 30),
        "vs_best_peer": pytest.approx(180 / 150),
        "vs_lean_fastapi": pytest.approx(180 / 175),
        "vs_torchserve_stock": pytest.approx(180 / 40),
        "fraction_of_bare": pytest.approx(180 / 200),
        "proxy_share": pytest.approx(180 / 185),
        "p50_vs_bare": pytest.approx(12 / 9),
        "p99_over_p50": pytest.approx(35 / 14),
        "memory_mb": 800.0,
        "start_s": 7.0,
    }


def test_ratio_is_taken_within_a_round_and_the_median_over_rounds() -> None:
    spread = ratios([*round_of_runs(1, ours=100), *round_of_runs(2, ours=200), *round_of_runs(3, ours=160)])[
        "fraction_of_bare"
    ]
    assert spread is not None
    assert (spread.low, spread.median, spread.high) == pytest.approx((0.5, 0.8, 1.0))


def test_ratio_to_a_contender_that_is_missing_is_none() -> None:
    found = ratios([one for one in round_of_runs() if one.contender not in {"fastapi_torch", "bare"}])
    assert [name for name, spread in found.items() if spread is None] == [
        "vs_fastapi",
        "fraction_of_bare",
        "p50_vs_bare",
    ]


def test_best_peer_is_the_best_of_those_that_ran() -> None:
    spread = ratios([one for one in round_of_runs() if one.contender != "litserve"])["vs_best_peer"]
    assert spread is not None
    assert spread.median == pytest.approx(180 / 130)


def test_other_numbers_of_workers_are_no_part_of_a_ratio() -> None:
    odd = [run("ours_proxy", 1.0, round_=0, workers=1), run("bare", 1.0, kind="bare", round_=0, workers=1)]
    assert ratios([*odd, *round_of_runs()]) == ratios(round_of_runs())


@pytest.mark.parametrize(("films", "errors"), [(0, 0), (9, 0), (100, 2)])
def test_contender_that_answered_too_little_gives_no_ratio(films: int, errors: int) -> None:
    runs = [one for one in round_of_runs() if one.contender != "fastapi_torch"]
    assert ratios([*runs, run("fastapi_torch", films, errors=errors)])["vs_fastapi"] is None


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [(">=", 1.0, True), (">=", 0.99, False), ("<=", 1.0, True), ("<=", 1.1, False)],
)
def test_goal_is_met_at_its_bound(sense: str, value: float, met: bool) -> None:
    figure = Figure("name", sense, 1.0, "meaning")  # type: ignore[arg-type]
    assert figure.met(Spread.of([value])) is met
    assert figure.met(None) is None


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


def test_throughput_over_concurrency_is_the_median_of_the_rounds() -> None:
    runs = [run("ours_proxy", rate, round_=number) for number, rate in enumerate((100, 200, 160), start=1)]
    found = scaling(results_of(runs))
    assert found["rows"] == [{"concurrency": 16, "films_per_s": 160.0, "core_ms": pytest.approx(12.5)}]
    assert found["universal_law"] is None
