"""Screen films on Ray Data: in processes of this machine, or of the cluster that RAY_ADDRESS names.

The journal stays here: rows come back as they are made. On a cluster, files must be where its machines can read them.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.exceptions

from batch.errors import InputError, StoppedError, WorkerDied
from batch.journal import Task
from batch.processes import Done
from batch.row import Row
from batch.scorer import Score

FILMS_AT_ONCE = (16, 1)
"""Films that travel together: what is in work when a run is killed is screened again. A film that ends its process
takes those with it that travel beside it, so that what has no row after the first pass goes alone."""

RESTARTS = {"max_restarts": 1000, "max_task_retries": 0}
"""Of processes that ended: by default, a film that ends its process is tried for ever."""

ADDRESS = "RAY_ADDRESS"
STATISTICS = "RAY_USAGE_STATS_ENABLED"
PACKAGES = ("batch", "handler")
"""Ours, which the cluster's machines get from here; the others are those of requirements/worklist-ray.txt."""


class _Screen:
    """What runs on each of Ray's workers."""

    def __init__(self, make: Callable[..., Score], arguments: tuple[Any, ...]) -> None:
        self._score = make(*arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"key": row["key"], "row": json.dumps(asdict(self._score(row["place"])))}


def screen(  # noqa: D417  (the first are its work)
    tasks: Iterator[Task], done: Done, *, make: Callable[..., Score], arguments: tuple[Any, ...], workers: int
) -> None:
    """Screen films, each as `make(*arguments)` screens it.

    Args:
        make: Returns what screens; it is sent to Ray's workers, with its arguments.
        workers: Of Ray, each on a core.

    Raises:
        InputError: There is no cluster at the address.
        StoppedError: Ray failed.
    """
    todo = {task.key: task.place for task in tasks}
    if not todo:
        return
    _connect(workers)
    try:
        for together in FILMS_AT_ONCE:
            for key, row in _rows(todo, together, (make, arguments), workers):
                done(Task(key, todo.pop(key)), row)
        for key, place in todo.items():
            done(Task(key, place), Row.of(WorkerDied("the processes that had this film ended")))
    except ray.exceptions.RayError as exc:
        raise StoppedError(f"Ray: {type(exc).__name__}: {exc}") from exc
    finally:
        ray.shutdown()


def _rows(
    todo: dict[bytes, str], together: int, constructor: tuple[Any, ...], workers: int
) -> Iterator[tuple[bytes, Row]]:
    """Return the rows of films as they come; those of processes that ended are left out."""
    if not todo:
        return
    items = [{"key": key, "place": place} for key, place in todo.items()]
    films = ray.data.from_items(items, override_num_blocks=-(-len(items) // together))
    screened = films.map(
        _Screen,
        fn_constructor_args=constructor,
        compute=ray.data.ActorPoolStrategy(size=min(workers, -(-len(items) // together))),
        num_cpus=1,
        ray_remote_args_fn=lambda: RESTARTS,
    )
    for row in screened.iter_rows():
        yield row["key"], Row(**json.loads(row["row"]))


def _connect(workers: int) -> None:
    """Join the cluster that the environment names, or start one on this machine."""
    os.environ.setdefault(STATISTICS, "0")  # nothing about a site's use of it leaves the site
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if os.environ.get(ADDRESS):
        root = Path(__file__).resolve().parent.parent
        modules = [str(root / package) for package in PACKAGES]
        try:
            ray.init(address=os.environ[ADDRESS], runtime_env={"py_modules": modules}, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as exc:
            raise InputError(f"{ADDRESS}={os.environ[ADDRESS]}: {exc}") from exc
    else:
        ray.init(num_cpus=workers, include_dashboard=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # their films go again
