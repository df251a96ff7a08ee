"""Processes that the benchmark starts, and ends whatever happens, each by its own id.

On Linux a contender's orphans become children of the benchmark, so that none is lost.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.contenders.scoring import ROOT
from bench.errors import LoadError
from proxy.torchserve.process import die_with_parent

STOP_TIMEOUT_S = 12.0
"""A JVM takes about four seconds to end, and the supervisor waits for films in flight before."""

READY_TIMEOUT_S = 120.0
"""How long a process waits until all that are to begin together are ready."""

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""

TAIL_CHARACTERS = 500
"""Of a log, to explain a failed start."""

Command = tuple[Sequence[str], Mapping[str, str]]
"""A command line, and its additions to the environment."""

T = TypeVar("T")


def adopt_orphans() -> None:
    """Become the parent of what a started process leaves behind, as Ray's and TorchServe's do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


@contextmanager
def started(
    commands: Sequence[Command], log: Path, *, stop_timeout_s: float = STOP_TIMEOUT_S
) -> Iterator[list[psutil.Popen]]:
    """Start each command, its output appended to `log`, and at last end it and everything that came of it."""
    before = _descendants()
    processes: list[psutil.Popen] = []
    try:
        with log.open("ab") as output:
            for command, environ in commands:
                process = psutil.Popen(
                    list(command),
                    cwd=ROOT,
                    env={**os.environ, **environ},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches only the benchmark, which ends them in order
                    preexec_fn=die_with_parent,
                )
                processes.append(process)
        yield processes
    finally:
        with _uninterrupted():
            _stop(processes, spare=before, timeout_s=stop_timeout_s)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore a second Ctrl-C: it would leave processes behind."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _stop(processes: Sequence[psutil.Popen], *, spare: set[psutil.Process], timeout_s: float) -> None:
    """Ask the processes to end, and kill what remains of them and of their descendants after a bound."""
    # Whatever is new below this process came of them: only one contender runs at a time.
    family = _descendants() - spare
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(processes, timeout=timeout_s)
    remaining = [*processes, *(family | _descendants() - spare)]
    for process in remaining:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for process in processes:
        process.wait()
    psutil.wait_procs(remaining, timeout=timeout_s)


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def memory_mb(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of the processes and all their descendants, in megabytes (10^6 bytes) PSS.

    The proportional set size counts a page that several share once, in parts.
    Source: proc(5), /proc/pid/smaps_rollup
    """
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for member in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    total += member.memory_full_info().pss
    return total / 1e6


def tail(log: Path) -> str:
    """Return the last of a log, in one line."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " ".join(text[-TAIL_CHARACTERS:].split())


def together(work: Callable[..., T], *arguments: Any, processes: int, seconds: float) -> list[T]:
    """Call `work(*arguments, seconds, ready)` in so many new processes at once, and return the result of each.

    `ready()` returns when all have called it, so that all begin together, as busy workers do.

    Raises:
        LoadError: they have not ended long after their time.
    """
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        barrier: Barrier = manager.Barrier(processes, timeout=READY_TIMEOUT_S)  # type: ignore[assignment]  # a proxy
        calls = pool.starmap_async(work, [(*arguments, seconds, barrier.wait)] * processes, chunksize=1)
        try:
            return calls.get(seconds + 2 * READY_TIMEOUT_S)
        except multiprocessing.TimeoutError as exc:
            raise LoadError("the processes of the loop in process did not end") from exc
