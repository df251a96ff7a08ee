"""What the benchmark's own commands share that time something in several processes at once, as busy workers are."""

import argparse
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

START_TIMEOUT_S = 120.0
"""How long a process waits for the others to be ready."""


def parser(module: str) -> argparse.ArgumentParser:
    """Return the parser of such a command: processes, seconds, films."""
    made = argparse.ArgumentParser(prog=f"python -m {module}")
    made.add_argument("--processes", type=int, required=True)
    made.add_argument("--seconds", type=float, required=True)
    made.add_argument("films", type=Path, nargs="+")
    return made


def together(work: Callable[..., Result], *arguments: Any, processes: int) -> list[Result]:
    """Call `work(*arguments, barrier)` in so many processes, and return what each gives.

    Each waits at the barrier when it is ready, so that all begin together.
    """
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        barrier: Barrier = manager.Barrier(processes)  # type: ignore[assignment]  # a proxy of one
        return pool.starmap(work, [(*arguments, barrier)] * processes, chunksize=1)
