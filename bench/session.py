"""The measuring itself: round by round, each contender started, checked, warmed up, timed and ended."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import agreement, open_loop
from bench.closed_loop import Wrk
from bench.contender import Contender, Live, live
from bench.contenders import bare
from bench.contenders.scoring import Scorer
from bench.errors import ContenderError, LoadError
from bench.films import BenchFilm
from bench.results import EXTRA_ROUND, Kind, Results, Run, select
from bench.roster import BARE, LEAN, OURS
from bench.schedule import LOAD, OPEN_LOOP_SHARE

logger = logging.getLogger(__name__)

LOADS = {"bare": "processes", "closed": "clients", "open": "open loop", "open_poisson": "Poisson"}


@dataclass(slots=True, kw_only=True)
class Session:
    """One benchmark."""

    results: Results
    """Filled as it runs."""
    films: Sequence[BenchFilm]
    contenders: Sequence[Contender]
    with_bare: bool
    wrk: Wrk
    folder: Path
    """For files of the contenders, and of the load generators."""
    _folders: int = 0

    def run(self) -> None:
        """Measure everything that the schedule has."""
        scorer = Scorer()
        expected = [float(scorer.score(film.data)["p_pneumonia"]) for film in self.films]
        for number in range(1, self.results.schedule.rounds + 1):
            logger.info("round %d of %d", number, self.results.schedule.rounds)
            if self.with_bare:
                for processes in sorted({1, self.results.workers}):
                    self._bare(number, processes)
            for contender in self.contenders:
                if contender.name not in self.results.left_out:
                    self._contend(contender, number, scorer, expected)
        for contender in self.contenders:
            if contender.name == OURS and OURS not in self.results.left_out:
                self._other_numbers_of_workers(contender)

    def _contend(self, contender: Contender, number: int, scorer: Scorer, expected: Sequence[float]) -> None:
        schedule = self.results.schedule
        try:
            with self._live(contender, self.results.workers) as running:
                agreement.check(running, self.films, expected, scorer.contract)
                self._closed(running, number, schedule.concurrencies)
                if contender.name == OURS:
                    self.results.start_s.append(running.start_s)
                    self.results.memory_mb.append(running.memory())
                    self._open(running, number, ("open", "open_poisson"))
                elif contender.name == LEAN:  # its tail beside ours
                    self._open(running, number, ("open",))
        except (ContenderError, LoadError) as exc:
            self.results.left_out[contender.name] = str(exc)
            logger.warning("left out: %s", exc)

    def _live(self, contender: Contender, workers: int) -> AbstractContextManager[Live]:
        return live(contender, folder=self._new_folder(), workers=workers, film=self.films[0])

    def _closed(self, running: Live, number: int, concurrencies: Sequence[int]) -> None:
        """Warm up, then time each concurrency."""
        load, schedule = running.load(self.films, self._new_folder()), self.results.schedule
        self.wrk.run(load, concurrency=LOAD, seconds=schedule.warm_up_s)
        common = {"contender": running.contender.name, "workers": running.place.workers}
        for concurrency in concurrencies:
            running.await_answers(self.films[0])
            timing = self.wrk.run(load, concurrency=concurrency, seconds=schedule.seconds)
            self._add(kind="closed", round=number, concurrency=concurrency, timing=timing, **common)

    def _open(self, running: Live, number: int, kinds: Sequence[Kind]) -> None:
        """Send films at a share of the highest throughput of this round."""
        common = {"contender": running.contender.name, "workers": running.place.workers, "concurrency": 0}
        closed = select(self.results.runs, contender=common["contender"], kind="closed", round=number)
        rate_per_s = OPEN_LOOP_SHARE * max(run.timing.films_per_s for run in closed)
        if rate_per_s <= 0:
            raise LoadError(f"{common['contender']}: no film was answered in the closed loop")
        load, seconds = running.load(self.films, self._new_folder()), self.results.schedule.open_loop_s
        for kind in kinds:
            running.await_answers(self.films[0])
            timing = open_loop.run(load, rate_per_s=rate_per_s, seconds=seconds, poisson=kind == "open_poisson")
            self._add(kind=kind, round=number, rate_per_s=rate_per_s, timing=timing, **common)

    def _other_numbers_of_workers(self, ours: Contender) -> None:
        for workers in self.results.schedule.workers:
            if workers == self.results.workers:
                continue
            try:
                with self._live(ours, workers) as running:
                    self._closed(running, EXTRA_ROUND, self.results.schedule.concurrencies)
            except (ContenderError, LoadError) as exc:
                logger.warning("%d workers: %s", workers, exc)

    def _bare(self, number: int, processes: int) -> None:
        timing = bare.time([film.data for film in self.films], self.results.schedule.seconds, processes=processes)
        common = {"contender": BARE, "workers": self.results.workers}
        self._add(kind="bare", round=number, concurrency=processes, timing=timing, **common)

    def _new_folder(self) -> Path:
        """Return the path of a folder that does not exist yet, short because Unix sockets lie in it."""
        self._folders += 1
        return self.folder / str(self._folders)

    def _add(self, **values: Any) -> None:
        run = Run(**values)
        self.results.runs.append(run)
        load = f"{LOADS[run.kind]} {run.concurrency or ''}"
        timing = run.timing
        speed = f"{timing.films_per_s:7.1f} films/s, p50 {timing.p50_ms:6.1f} ms, p99 {timing.p99_ms:6.1f} ms"
        logger.info("%-17s %-20s %s, %d errors", run.contender, load, speed, timing.errors)
