"""What a contender is: how it is started, what it is sent, and how its answers are read."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import monotonic, sleep

import requests

from bench.errors import ContenderError
from bench.films import BenchFilm, body, content_type
from bench.processes import free_ports, memory_mb, started, tail

PORTS = 8

START_TIMEOUT_S = 90.0
POLL_S = 0.03
ANSWER_TIMEOUT_S = 10.0

Command = tuple[Sequence[str], Mapping[str, str]]
"""A command line, and what it adds to the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a contender lives while it is measured."""

    folder: Path
    """Its own, empty at first, removed at the end; a short path, for Unix sockets lie in it."""
    ports: Sequence[int]
    """Free ones, more than any contender needs."""
    workers: int
    peers_python: Path
    """Of the virtual environment that holds the peers."""

    @property
    def port(self) -> int:
        """The first port: where a contender that needs only one listens."""
        return self.ports[0]


def first_port(place: Place) -> list[str]:
    """Return the addresses of a contender that listens on one port."""
    return [f"http://127.0.0.1:{place.port}/predict"]


def no_headers(place: Place) -> dict[str, str]:  # noqa: ARG001  (one signature for all contenders)
    """Return what a contender without tokens wants in its headers."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to serve the model."""

    name: str
    title: str
    """In tables and plots."""
    commands: Callable[[Place], Sequence[Command]]
    urls: Callable[[Place], list[str]] = first_port
    headers: Callable[[Place], dict[str, str]] = no_headers
    """Read once it is up: TorchServe makes its tokens at its start."""
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
    film: BenchFilm
    """What it was first asked."""
    start_s: float
    """From the start of its processes to its first answer."""
    memory: Callable[[], float]
    """Megabytes PSS of all its processes, now."""
    session: requests.Session = field(repr=False)

    def ask(self, film: BenchFilm, url: str) -> dict[str, object]:
        """Send one film and return the answer.

        Raises:
            ContenderError: it does not answer, or with something else than JSON and 200.
        """
        try:
            response = self.session.post(
                url, data=body(film, self.contender.form_field), headers=self.headers, timeout=ANSWER_TIMEOUT_S
            )
            if response.status_code == HTTPStatus.OK:
                answer: dict[str, object] = response.json()
                return answer
        except (requests.RequestException, ValueError) as exc:
            raise ContenderError(f"{self.contender.name}: no answer to {film.name} ({type(exc).__name__})") from exc
        raise ContenderError(f"{self.contender.name}: {response.status_code} for {film.name}: {response.text[:300]}")

    def settle(self) -> None:
        """Wait until every address answers a film: what the clients of the last load left behind has been worked off.

        Raises:
            ContenderError: it does not.
        """
        deadline = monotonic() + ANSWER_TIMEOUT_S
        for url in self.urls:
            _first_answer(self, url, deadline=deadline, dead=lambda: False)


@contextmanager
def live(contender: Contender, *, folder: Path, workers: int, peers_python: Path, film: BenchFilm) -> Iterator[Live]:
    """Start a contender, wait until each of its addresses has answered a film, and end it at last.

    Raises:
        ContenderError: it ends or stays silent, or is not installed.
    """
    folder.mkdir()
    place = Place(folder=folder, ports=free_ports(PORTS), workers=workers, peers_python=peers_python)
    commands = contender.commands(place)
    for command, _ in commands:
        if not Path(command[0]).exists():
            raise ContenderError(f"{contender.name}: not installed: there is no {command[0]}")
    log = folder / "log"
    began = monotonic()
    with started(commands, log) as processes, requests.Session() as session:
        session.trust_env = False  # a proxy of the environment is not for loopback

        def dead() -> bool:
            return any(process.poll() is not None for process in processes)

        up = Live(
            contender=contender,
            place=place,
            urls=contender.urls(place),
            headers={"Content-Type": content_type(contender.form_field)},
            film=film,
            start_s=0.0,
            memory=lambda: memory_mb(processes),
            session=session,
        )
        try:
            for url in up.urls:
                _first_answer(up, url, deadline=began + START_TIMEOUT_S, dead=dead)
        except ContenderError as exc:
            raise ContenderError(f"{exc}; its log ends: {tail(log)}") from exc
        up.start_s = monotonic() - began
        yield up


def _first_answer(up: Live, url: str, *, deadline: float, dead: Callable[[], bool]) -> None:
    while True:
        try:
            up.headers |= up.contender.headers(up.place)
            up.ask(up.film, url)
        except (ContenderError, OSError) as exc:
            if dead() or monotonic() > deadline:
                state = "ended" if dead() else "gave no answer in time"
                raise ContenderError(f"{up.contender.name}: {state} ({exc})") from exc
            sleep(POLL_S)
        else:
            return


def python_module(module: str, *arguments: object, python: Path = Path(sys.executable)) -> list[str]:
    """Return the command line `python -m module arguments`."""
    return [str(python), "-m", module, *map(str, arguments)]


def bin_of(python: Path, name: str) -> str:
    """Return the path of a command that lies beside a Python."""
    return str(python.parent / name)
