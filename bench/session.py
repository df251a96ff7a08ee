"""The measuring itself: round by round, each contender started, checked, warmed up, timed and ended."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from bench import open_loop
from bench.agreement import check
from bench.children import over_films
from bench.closed_loop import Wrk
from bench.contender import Contender, Live, live
from bench.contenders.scoring import Scorer
from bench.errors import ContenderError, LoadError
from bench.films import BenchFilm, megapixels, resized, write_bodies
from bench.load import Load
from bench.measures import Kind, Run, Timing, histogram, timing_of
from bench.plan import LOAD, OPEN_LOOP_SHARE, Plan
from bench.roster import BARE, LEAN, OURS

logger = logging.getLogger(__name__)

EXTRA_ROUND = 0
"""Of runs that belong to no round: other numbers of workers, films of other sizes."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One benchmark, and what it has found so far."""

    plan: Plan
    films: Sequence[BenchFilm]
    contenders: Sequence[Contender]
    with_bare: bool
    wrk: Wrk
    workers: int
    """Of every contender: one a core."""
    folder: Path
    peers_python: Path
    runs: list[Run] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Contenders that are not timed, and why."""
    memory_mb: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    megapixels_of: dict[int, float] = field(default_factory=dict)
    _places: int = 0

    def run(self) -> None:
        """Measure everything that the plan has."""
        scorer = Scorer()
        expected = [float(scorer.score(film.data)["p_pneumonia"]) for film in self.films]
        for number in range(1, self.plan.rounds + 1):
            logger.info("round %d of %d", number, self.plan.rounds)
            if self.with_bare:
                # One process alone, and one a core.
                for processes in sorted({1, self.workers}):
                    self._bare(number, processes, self.films)
            for contender in self.contenders:
                if contender.name not in self.left_out:
                    self._contend(contender, number, scorer, expected)
        ours = next((one for one in self.contenders if one.name == OURS and one.name not in self.left_out), None)
        if ours is not None:
            self._other_numbers_of_workers(ours)

    def _contend(self, contender: Contender, number: int, scorer: Scorer, expected: Sequence[float]) -> None:
        try:
            with self._live(contender, self.workers) as up:
                check(up, self.films, expected, scorer.contract)
                self._closed(up, number, self.plan.concurrencies, self.films)
                if contender.name == OURS:
                    self.start_s.append(up.start_s)
                    self.memory_mb.append(up.memory())
                    self._open(up, number, ("open", "open_poisson"))
                    if number == self.plan.rounds:
                        self._other_sizes(up)
                elif contender.name == LEAN:
                    # Its tail beside ours: nothing stands between its client and the engine.
                    self._open(up, number, ("open",))
        except (ContenderError, LoadError) as exc:
            self.left_out[contender.name] = str(exc)
            logger.warning("left out: %s", exc)

    def _live(self, contender: Contender, workers: int) -> AbstractContextManager[Live]:
        return live(
            contender,
            folder=self._new_folder(),
            workers=workers,
            peers_python=self.peers_python,
            film=self.films[0],
        )

    def _new_folder(self) -> Path:
        """Return a place that is not there yet, by a short name: Unix sockets lie in it."""
        self._places += 1
        return self.folder / str(self._places)

    def _load(self, up: Live, films: Sequence[BenchFilm]) -> Load:
        bodies = write_bodies(films, up.contender.form_field, self._new_folder())
        return Load(urls=up.urls, headers=up.headers, bodies=bodies, folder=up.place.folder)

    def _closed(self, up: Live, number: int, concurrencies: Sequence[int], films: Sequence[BenchFilm]) -> None:
        """Warm up, then time each concurrency."""
        load = self._load(up, films)
        self.wrk.run(load, concurrency=LOAD, seconds=self.plan.warm_up_s)
        for concurrency in concurrencies:
            up.settle()
            self._note(
                Run(
                    contender=up.contender.name,
                    kind="closed",
                    round=number,
                    concurrency=concurrency,
                    workers=up.place.workers,
                    width_px=films[0].width_px,
                    rate_per_s=None,
                    timing=self.wrk.run(load, concurrency=concurrency, seconds=self.plan.seconds),
                )
            )

    def _open(self, up: Live, number: int, kinds: Sequence[Kind]) -> None:
        """Send films at a share of the highest throughput of this round."""
        highest = max(
            run.timing.films_per_s
            for run in self.runs
            if (run.contender, run.kind, run.round) == (up.contender.name, "closed", number)
        )
        rate_per_s = OPEN_LOOP_SHARE * highest
        if rate_per_s <= 0:
            raise LoadError(f"{up.contender.name}: no film was answered in the closed loop")
        load = self._load(up, self.films)
        for kind in kinds:
            up.settle()
            timing = open_loop.run(
                load, rate_per_s=rate_per_s, seconds=self.plan.open_loop_s, poisson=kind == "open_poisson"
            )
            self._note(
                Run(
                    contender=up.contender.name,
                    kind=kind,
                    round=number,
                    concurrency=0,
                    workers=up.place.workers,
                    width_px=None,
                    rate_per_s=rate_per_s,
                    timing=timing,
                )
            )

    def _other_sizes(self, up: Live) -> None:
        """Time films of other sizes, through the proxy and, while it idles, in the bare loop."""
        for width_px in self.plan.widths_px:
            films = [resized(film, width_px) for film in self.films]
            self.megapixels_of[width_px] = mean(megapixels(film) for film in films)
            self._closed(up, EXTRA_ROUND, (1, LOAD), films)
            if self.with_bare:
                self._bare(EXTRA_ROUND, 1, films)

    def _other_numbers_of_workers(self, ours: Contender) -> None:
        for workers in self.plan.workers:
            if workers == self.workers:
                continue
            try:
                with self._live(ours, workers) as up:
                    self._closed(up, EXTRA_ROUND, self.plan.concurrencies, self.films)
            except (ContenderError, LoadError) as exc:
                logger.warning("%d workers: %s", workers, exc)

    def _bare(self, number: int, processes: int, films: Sequence[BenchFilm]) -> None:
        self._note(
            Run(
                contender=BARE,
                kind="bare",
                round=number,
                concurrency=processes,
                workers=self.workers,
                width_px=films[0].width_px,
                rate_per_s=None,
                timing=bare_loop(films, processes=processes, seconds=self.plan.seconds, folder=self._new_folder()),
            )
        )

    def _note(self, run: Run) -> None:
        self.runs.append(run)
        timing = run.timing
        logger.info(
            "%-17s %-9s %2s%s %7.1f films/s, p50 %6.1f ms, p99 %6.1f ms%s",
            run.contender,
            {"bare": "processes", "closed": "clients", "open": "open loop", "open_poisson": "by chance"}[run.kind],
            run.concurrency or "",
            f", {run.width_px} px:" if run.width_px else ":",
            timing.films_per_s,
            timing.p50_ms,
            timing.p99_ms,
            f", {timing.errors} errors" if timing.errors else "",
        )


def bare_loop(films: Sequence[BenchFilm], *, processes: int, seconds: float, folder: Path) -> Timing:
    """Time the loop without a server.

    Raises:
        LoadError: it failed; then nothing can be compared.
    """
    told = over_films("bench.contenders.bare", films, processes=processes, seconds=seconds, folder=folder)
    took_ms: list[list[float]] = told["took_ms"]
    everything = [ms for one in took_ms for ms in one]
    return timing_of(histogram(everything), errors=0, seconds=sum(everything) / 1000 / processes)
