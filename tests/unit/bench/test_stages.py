from itertools import count
from pathlib import Path

import pytest

from bench.films import BenchFilm
from bench.stages import mean_ms, measure
from tests.films import grey, jpeg
from tests.models import write_model_store


@pytest.mark.parametrize("processes", [1, 2])
def test_parts_are_timed_in_process(tmp_path: Path, processes: int) -> None:
    write_model_store(tmp_path)
    films = [BenchFilm(f"{seed}.jpeg", jpeg(grey(300, 200, seed=seed))) for seed in range(2)]
    costs = measure(films, 0.2, processes=processes, model_store=tmp_path)
    assert set(costs) == {"form", "jpeg", "decode", "engine", "handle"}
    assert min(costs.values()) > 0


def test_parts_take_turns_over_all_films_until_the_time_is_up() -> None:
    ticks, seen = count(), []
    parts = {"a": lambda film: seen.append(("a", film)), "b": lambda film: seen.append(("b", film))}
    costs = mean_ms(parts, films=2, seconds=0, clock=lambda: float(next(ticks)))
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert costs == pytest.approx({"a": 1000, "b": 1000})
