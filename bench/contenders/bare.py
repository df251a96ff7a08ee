"""The limit: the decode and the engine in a loop over films in memory, one process a core, no server."""

from collections.abc import Callable, Sequence
from itertools import cycle
from time import perf_counter

from bench.contenders.scoring import Scorer
from bench.processes import together
from bench.results import Timing

WARM_UP_FILMS = 8


def time(films: Sequence[bytes], seconds: float, *, processes: int) -> Timing:
    """Score films in turn for so long, in so many processes at once.

    Raises:
        LoadError: the processes do not end.
    """
    per_process = together(_score, films, processes=processes, seconds=seconds)
    took_ms = [ms for process in per_process for ms in process]
    return Timing.of(took_ms, errors=0, seconds=sum(took_ms) / 1000 / processes)


def _score(films: Sequence[bytes], seconds: float, ready: Callable[[], object]) -> list[float]:
    scorer = Scorer()
    for _, data in zip(range(WARM_UP_FILMS), cycle(films), strict=False):
        scorer.score(data)
    ready()
    return loop(scorer, films, seconds)


def loop(
    scorer: Scorer, films: Sequence[bytes], seconds: float, *, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """Score films in turn for so many seconds of the clock, and return the milliseconds of each."""
    turns = cycle(films)
    took_ms = []
    now = clock()
    end = now + seconds
    while now < end:
        began = now
        scorer.score(next(turns))
        now = clock()
        took_ms.append(1000 * (now - began))
    return took_ms
