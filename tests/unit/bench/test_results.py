import pytest

from bench.results import Timing


def percentiles(took_ms: list[float]) -> tuple[float, float, float]:
    timing = Timing.of(took_ms, errors=0, seconds=1.0)
    return timing.p50_ms, timing.p95_ms, timing.p99_ms


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentiles([float(ms) for ms in range(1, 101)]) == (50.0, 95.0, 99.0)
    assert percentiles([5.0, 7.0]) == (5.0, 7.0, 7.0)


def test_nothing_answered_is_all_zero() -> None:
    timing = Timing.of([], errors=3, seconds=1.0)
    assert (timing.films, timing.films_per_s, timing.p99_ms, timing.valid) == (0, 0.0, 0.0, False)


def test_throughput_is_of_films_answered_with_200() -> None:
    timing = Timing.of([10.0] * 10, errors=4, seconds=2.0, films=6)
    assert (timing.films_per_s, timing.errors, timing.mean_ms) == pytest.approx((3.0, 4, 10.0))


@pytest.mark.parametrize(("films", "errors", "valid"), [(9, 0, False), (10, 0, True), (100, 1, True), (100, 2, False)])
def test_load_with_few_answers_or_many_errors_is_void(films: int, errors: int, valid: bool) -> None:
    assert Timing.of([10.0] * films, errors=errors, seconds=1.0).valid is valid
