"""What screens films: processes of this machine, Ray, or a running service."""

from collections.abc import Iterator
from typing import Protocol

from batch import processes
from batch.errors import InputError
from batch.journal import Task
from batch.model import Model
from batch.processes import Done
from batch.scorer import Scorer

ENGINES = ("processes", "ray")


class Engine(Protocol):
    """Screens films."""

    identity: str
    """What changes whenever the same film may get another result."""

    def screen(self, tasks: Iterator[Task], done: Done) -> None:
        """Screen films, in any order.

        Raises:
            InputError: The model cannot be run.
            StoppedError: Screening cannot go on.
        """
        ...


class LocalEngine:
    """Runs the model itself, in processes of this machine or on Ray.

    Raises:
        InputError: A package is missing.
    """

    def __init__(self, kind: str, model: Model, *, workers: int, max_film_bytes: int) -> None:
        self._run = _ray_screen() if kind == "ray" else processes.screen
        self._model = model
        self._workers = workers
        self._max_film_bytes = max_film_bytes
        self.identity = self._model.identity

    def screen(self, tasks: Iterator[Task], done: Done) -> None:
        """Screen films, as `Engine.screen`."""
        self._run(tasks, done, make=Scorer, arguments=(self._model, self._max_film_bytes), workers=self._workers)


class ServiceEngine:
    """Has a running service screen films.

    Raises:
        InputError: There is no service, or it does not take the key or the operating point.
    """

    def __init__(self, url: str, operating_point: str | None, *, workers: int, max_film_bytes: int) -> None:
        from batch.service import Service  # noqa: PLC0415  (the model's own machine needs no HTTP client)

        self._service = Service(url, operating_point=operating_point, requests=workers, max_film_bytes=max_film_bytes)
        self.identity = self._service.identity()

    def screen(self, tasks: Iterator[Task], done: Done) -> None:
        """Screen films, as `Engine.screen`."""
        self._service.screen(tasks, done)


def _ray_screen() -> processes.Screen:
    try:
        from batch.ray_data import screen  # noqa: PLC0415  (only where it was asked for)
    except ImportError as exc:
        raise InputError(f"--engine ray wants packages: pip install -r requirements/worklist-ray.txt ({exc})") from exc
    return screen
