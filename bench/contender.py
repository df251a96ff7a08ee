"""A contender: how it is started, and what it is sent."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from time import monotonic, sleep

import requests

from bench.contenders.scoring import ROOT
from bench.errors import ContenderError
from bench.films import BenchFilm, Load, body, content_type, write_bodies
from bench.processes import Command, memory_mb, started, tail
from proxy.torchserve.process import free_ports

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""Of the virtual environment that holds the peers."""

PORTS = 8
"""More than any contender needs."""

START_TIMEOUT_S = 90.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a contender runs."""

    folder: Path
    """Its own, empty at first; a short path, for Unix sockets lie in it."""
    ports: Sequence[int]
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to serve the model."""

    name: str
    title: str
    """In tables and plots."""
    commands: Callable[[Place], Sequence[Command]]
    urls: Callable[[Place], list[str]] = lambda place: [f"http://127.0.0.1:{place.ports[0]}/predict"]
    headers: Callable[[Place], Mapping[str, str]] = lambda _: {}
    """Called until it has answered: TorchServe makes its tokens when it starts."""
    form_field: str | None = "file"
    """The film's field in a multipart form; None: the film is the body."""
    same_engine: bool = True
    """Whether it runs the service's decode and engine; else eager torch on films that Pillow decoded in full."""
    peer: bool = False
    """Whether it is one of the serving frameworks that `vs_best_peer` is about."""


@dataclass(slots=True, kw_only=True)
class Live:
    """A contender that has answered its first film."""

    contender: Contender
    place: Place
    urls: list[str]
    headers: dict[str, str]
    memory: Callable[[], float]
    """Returns the megabytes PSS of all its processes."""
    session: requests.Session = field(repr=False)
    start_s: float = 0.0
    """From the start of its processes to its first answer."""

    def ask(self, film: BenchFilm, url: str) -> dict[str, object]:
        """Send one film and return the answer.

        Raises:
            ContenderError: it does not answer, or with something else than JSON and 200.
        """
        data = body(film, self.contender.form_field)
        try:
            response = self.session.post(url, data=data, headers=self.headers, timeout=ANSWER_TIMEOUT_S)
            if response.status_code == HTTPStatus.OK:
                answer: dict[str, object] = response.json()
                return answer
        except (requests.RequestException, ValueError) as exc:
            raise ContenderError(f"{self.contender.name}: no answer to {film.name} ({type(exc).__name__})") from exc
        raise ContenderError(f"{self.contender.name}: {response.status_code} for {film.name}: {response.text[:300]}")

    def as_contender(self, other: Contender) -> "Live":
        """Return the same processes as another contender that is served by the same commands."""
        headers = {"Content-Type": content_type(other.form_field), **other.headers(self.place)}
        return replace(self, contender=other, urls=other.urls(self.place), headers=headers)

    def load(self, films: Sequence[BenchFilm], folder: Path) -> Load:
        """Return the load of these films; their bodies are written to a new folder."""
        bodies = write_bodies(films, self.contender.form_field, folder)
        return Load(urls=self.urls, headers=self.headers, bodies=bodies)

    def await_answers(
        self, film: BenchFilm, *, timeout_s: float = ANSWER_TIMEOUT_S, ended: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until every address answers a film: it has started, or the backlog of the last load is worked off.

        Raises:
            ContenderError: it does not, or has ended.
        """
        deadline = monotonic() + timeout_s
        waiting = list(self.urls)
        while waiting:
            try:
                self.headers |= self.contender.headers(self.place)
                self.ask(film, waiting[0])
                waiting.pop(0)
            except ContenderError as exc:
                if ended() or monotonic() > deadline:
                    state = "ended" if ended() else "gave no answer in time"
                    raise ContenderError(f"{self.contender.name}: {state} ({exc})") from exc
                sleep(POLL_S)


@contextmanager
def live(
    contender: Contender, *, folder: Path, workers: int, film: BenchFilm, timeout_s: float = START_TIMEOUT_S
) -> Iterator[Live]:
    """Start a contender, wait until each of its addresses has answered a film, and end it at last.

    Raises:
        ContenderError: it ends or stays silent, or is not installed.
    """
    folder.mkdir()
    place = Place(folder=folder, ports=free_ports(PORTS), workers=workers)
    commands = contender.commands(place)
    for command, _ in commands:
        if not Path(command[0]).exists():
            raise ContenderError(f"{contender.name}: not installed: there is no {command[0]}")
    log = folder / "log"
    began = monotonic()
    with started(commands, log) as processes, requests.Session() as session:
        session.trust_env = False  # a proxy of the environment is not for loopback
        running = Live(
            contender=contender,
            place=place,
            urls=contender.urls(place),
            headers={"Content-Type": content_type(contender.form_field)},
            memory=lambda: memory_mb(processes),
            session=session,
        )
        try:
            running.await_answers(
                film, timeout_s=timeout_s, ended=lambda: any(process.poll() is not None for process in processes)
            )
        except ContenderError as exc:
            raise ContenderError(f"{exc}; its log ends: {tail(log)}") from exc
        running.start_s = monotonic() - began
        yield running


def python_module(module: str, *arguments: object, python: Path = Path(sys.executable)) -> list[str]:
    """Return the command line `python -m module arguments`."""
    return [str(python), "-m", module, *map(str, arguments)]
