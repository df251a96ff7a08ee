import pytest

from bench.ratios import GOALS, NAMES, Goal, ratios, spread
from tests.unit.bench.runs import round_of_runs, run


def test_each_ratio_is_of_the_figures_it_names() -> None:
    told = {name: figure.value for name, figure in ratios(round_of_runs(), workers=2).items() if figure}
    assert told == {
        "vs_fastapi": pytest.approx(180 / 30),
        "vs_best_peer": pytest.approx(180 / 150),
        "vs_lean_fastapi": pytest.approx(180 / 175),
        "vs_torchserve_stock": pytest.approx(180 / 40),
        "fraction_of_bare": pytest.approx(180 / 200),
        "proxy_share": pytest.approx(180 / 185),
        "p50_vs_bare": pytest.approx(12 / 9),
        "p99_over_p50": pytest.approx(35 / 14),
    }


def test_ratio_is_taken_within_a_round_and_the_median_over_rounds() -> None:
    runs = [*round_of_runs(1, ours=100), *round_of_runs(2, ours=200), *round_of_runs(3, ours=160)]
    figure = ratios(runs, workers=2)["fraction_of_bare"]
    assert figure is not None
    assert (figure.low, figure.value, figure.high) == pytest.approx((0.5, 0.8, 1.0))


def test_ratio_to_a_contender_that_is_missing_is_none() -> None:
    runs = [one for one in round_of_runs() if one.contender not in {"fastapi_torch", "bare"}]
    told = ratios(runs, workers=2)
    assert [name for name in NAMES if told[name] is None] == ["vs_fastapi", "fraction_of_bare", "p50_vs_bare"]


def test_best_peer_is_the_best_of_those_that_ran() -> None:
    runs = [one for one in round_of_runs() if one.contender != "litserve"]
    figure = ratios(runs, workers=2)["vs_best_peer"]
    assert figure is not None
    assert figure.value == pytest.approx(180 / 130)


def test_other_workers_and_sizes_are_no_part_of_a_ratio() -> None:
    odd = [
        run("ours_proxy", 1.0, round_=0, workers=1),
        run("ours_proxy", 1.0, round_=0, width_px=512),
        run("bare", 1.0, kind="bare", round_=0, concurrency=1, width_px=512),
    ]
    assert ratios([*odd, *round_of_runs()], workers=2) == ratios(round_of_runs(), workers=2)


@pytest.mark.parametrize(("films", "errors"), [(0, 0), (9, 0), (100, 2)])
def test_contender_that_answered_too_little_gives_no_ratio(films: int, errors: int) -> None:
    runs = [one for one in round_of_runs() if one.contender != "fastapi_torch"]
    assert ratios([*runs, run("fastapi_torch", films, errors=errors)], workers=2)["vs_fastapi"] is None


def test_spread_of_nothing_is_none() -> None:
    assert spread([]) is None


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(">=", 1.0), 1.0, True),
        (Goal(">=", 1.0), 0.99, False),
        (Goal("<=", 3.0), 3.0, True),
        (Goal("<=", 3.0), 3.1, False),
        (Goal("<=", 3.0), None, None),
    ],
)
def test_goal_is_met_at_its_bound(goal: Goal, value: float | None, met: bool | None) -> None:
    assert goal.met(value) is met


def test_every_ratio_has_a_goal() -> None:
    assert set(NAMES) | {"memory_mb", "start_s"} == set(GOALS)
