"""Screen films on Ray Data: in processes of this machine, or of the cluster that RAY_ADDRESS names.

The journal stays here: rows come back as they are made. On a cluster, files must be where its machines can read them.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data

from batch.journal import Task
from batch.processes import Done
from batch.row import Row
from batch.scorer import Score

FILMS_AT_ONCE = 16
"""That travel together: what is in work when a run is killed is screened again."""

ADDRESS = "RAY_ADDRESS"
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
    """
    todo = [{"key": task.key, "place": task.place} for task in tasks]
    if not todo:
        return
    _connect(workers)
    try:
        films = ray.data.from_items(todo, override_num_blocks=-(-len(todo) // FILMS_AT_ONCE))
        screened = films.map(
            _Screen,
            fn_constructor_args=(make, arguments),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in screened.iter_rows():
            done(Task(row["key"], ""), Row(**json.loads(row["row"])))
    finally:
        ray.shutdown()


def _connect(workers: int) -> None:
    """Join the cluster that the environment names, or start one on this machine."""
    root = Path(__file__).resolve().parent.parent
    if os.environ.get(ADDRESS):
        modules = [str(root / package) for package in PACKAGES]
        ray.init(address=os.environ[ADDRESS], runtime_env={"py_modules": modules}, logging_level="warning")
    else:
        ray.init(num_cpus=workers, include_dashboard=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
