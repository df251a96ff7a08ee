import asyncio
from types import SimpleNamespace

import pytest

from proxy.availability import pace as module
from proxy.availability.pace import LEAST_SHARE, Pace, paced


class Starting:
    """Counts."""

    def __init__(self) -> None:
        self.runs = True
        self.pauses = 0
        self.for_good = False

    def pause(self) -> None:
        self.runs = False
        self.pauses += 1

    def resume(self, *, for_good: bool = False) -> None:
        self.runs = True
        self.for_good = for_good


def share_of_time(films: int, *, cores: int, ticks: int = 2000) -> float:
    starting = Starting()
    pace = Pace(starting, SimpleNamespace(in_torchserve=films), cores=cores)
    ran = 0
    for _ in range(ticks):
        pace.tick()
        ran += starting.runs
    return ran / ticks


@pytest.mark.parametrize(("films", "cores"), [(0, 1), (1, 2), (3, 4), (7, 8)])
def test_version_starts_unhindered_where_a_core_is_free(films: int, cores: int) -> None:
    assert share_of_time(films, cores=cores) == 1


@pytest.mark.parametrize(("films", "cores"), [(1, 1), (2, 2), (4, 4), (100, 8)])
def test_version_gets_its_least_share_where_films_take_the_machine(films: int, cores: int) -> None:
    assert share_of_time(films, cores=cores) == pytest.approx(LEAST_SHARE, abs=0.02)


def test_films_that_go_let_it_run_at_once() -> None:
    starting, live = Starting(), SimpleNamespace(in_torchserve=2)
    pace = Pace(starting, live, cores=2)
    pace.tick()
    assert not starting.runs
    live.in_torchserve = 0
    pace.tick()
    assert starting.runs


async def test_it_runs_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    starting, live = Starting(), SimpleNamespace(in_torchserve=2)
    async with paced(starting, live):
        while not starting.pauses:
            await asyncio.sleep(0)
        starting.runs = False
    assert starting.runs
    assert starting.for_good
