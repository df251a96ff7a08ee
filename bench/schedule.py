"""How long and how often everything is measured: in full, quickly, or only to see that it works."""

from dataclasses import dataclass

LOAD = 16
"""The concurrency at which contenders are compared."""

OPEN_LOOP_SHARE = 0.8
"""Of the highest throughput: the rate of the open loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One size of benchmark."""

    name: str
    rounds: int
    """Each starts, checks and times every contender once."""
    concurrencies: tuple[int, ...]
    seconds: float
    """Of one load, in whole seconds, which is what wrk knows."""
    warm_up_s: float
    """A JVM takes some seconds to compile what it runs."""
    open_loop_s: float
    workers: tuple[int, ...] = ()
    """Numbers of workers that this service is measured with, beside one a core."""


FULL = Schedule(
    name="full",
    rounds=3,
    concurrencies=(1, 2, 4, 8, 16, 32, 64),
    seconds=4,
    warm_up_s=5,
    open_loop_s=15,
    workers=(1, 2, 3, 4),
)
QUICK = Schedule(
    name="quick",
    rounds=2,
    concurrencies=(1, 16),
    seconds=2,
    warm_up_s=2,
    open_loop_s=4,
    workers=(1,),
)
SMALLEST = Schedule(name="smallest", rounds=1, concurrencies=(1, 16), seconds=1, warm_up_s=1, open_loop_s=2)
