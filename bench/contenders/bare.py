"""The limit: the decode and the engine in a loop over films in memory, one process a core, no server.

    python -m bench.contenders.bare --processes 2 --seconds 3 FILM...

Prints one JSON object: for each process the milliseconds that each film took it.
"""

import json
import sys
import time
from itertools import cycle
from multiprocessing.synchronize import Barrier

from bench.contenders.scoring import Scorer
from bench.side_by_side import START_TIMEOUT_S, parser, together

WARM_UP_FILMS = 8


def loop(scorer: Scorer, films: list[bytes], seconds: float) -> list[float]:
    """Score films in turn for so long, and return what each took, in milliseconds."""
    turns = cycle(films)
    took_ms = []
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        began = now
        scorer.score(next(turns))
        now = time.perf_counter()
        took_ms.append(1000 * (now - began))
    return took_ms


def _begin_together(films: list[bytes], seconds: float, barrier: Barrier) -> list[float]:
    scorer = Scorer()
    for turn in range(WARM_UP_FILMS):
        scorer.score(films[turn % len(films)])
    barrier.wait(START_TIMEOUT_S)
    return loop(scorer, films, seconds)


def loops(films: list[bytes], seconds: float, processes: int) -> list[list[float]]:
    """Run the loop in so many processes at once, which begin together, and return what each film took each of them."""
    return together(_begin_together, films, seconds, processes=processes)


def main() -> None:
    """Run the command."""
    args = parser("bench.contenders.bare").parse_args()
    films = [path.read_bytes() for path in args.films]
    sys.stdout.write(json.dumps({"took_ms": loops(films, args.seconds, args.processes)}) + "\n")


if __name__ == "__main__":
    main()
