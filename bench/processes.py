"""Processes that the benchmark starts: on cores of its choice, and ended whatever happens, each by its own id.

Linux only where it matters: a contender's orphans become children of the benchmark, so that none is lost.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from bench.contenders.scoring import ROOT
from proxy.torchserve.process import die_with_parent

STOP_TIMEOUT_S = 12.0
"""A JVM told to end takes about four seconds, and the supervisor waits for films in flight before."""

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""

TAIL_CHARACTERS = 500
"""Of a log, to explain a failed start."""


def adopt_orphans() -> None:
    """Become the parent of whatever a started process leaves behind: Ray's and TorchServe's do leave some."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def pin(cores: int) -> int:
    """Bind this process, and all that it will start, to so many cores; return how many those are.

    Fewer where the machine has fewer, or no say in it (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        return min(cores, os.cpu_count() or 1)
    usable = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, usable)
    return len(usable)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, no two the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for trial in sockets:
            trial.bind(("127.0.0.1", 0))
        return [int(trial.getsockname()[1]) for trial in sockets]


@contextmanager
def started(
    commands: Sequence[tuple[Sequence[str], Mapping[str, str]]], log: Path, cwd: Path = ROOT
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start each command with its additions to the environment, and end it and all that came of it.

    Output goes to the file `log`.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as output:
            for command, environ in commands:
                process = subprocess.Popen(
                    list(command),
                    cwd=cwd,
                    env=dict(os.environ) | dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the benchmark alone, which ends them in order
                    preexec_fn=die_with_parent,  # noqa: PLW1509  (no other threads: the load runs in processes)
                )
                processes.append(process)
        yield processes
    finally:
        with _uninterrupted():
            stop(processes)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C come between: what was started would stay."""
    if threading.current_thread() is not threading.main_thread():  # only there are signals handled
        yield
        return
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to end, and after a bound kill them and every descendant."""
    family = _family(processes)
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    # What started meanwhile, and orphans, are found as children of a member of the family, or of ours.
    left = [member for member in family | _family(processes) if member.is_running()]
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    for process in processes:
        process.wait()
    psutil.wait_procs(left, timeout=STOP_TIMEOUT_S)


def _family(processes: Sequence[subprocess.Popen[bytes]]) -> set[psutil.Process]:
    """Return the processes with all their descendants, and adopted orphans of the same sessions."""
    found: set[psutil.Process] = set()
    sessions = {process.pid for process in processes}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            head = psutil.Process(process.pid)
            found |= {head, *head.children(recursive=True)}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(child.pid) in sessions:
                found.add(child)
    return found


def memory_mb(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the memory of the processes and all their descendants, in megabytes (10^6 bytes) PSS.

    The proportional set size counts a page that several share once, in parts.
    Source: proc(5), /proc/pid/smaps_rollup
    """
    total = 0
    for member in _family(processes):
        with suppress(psutil.Error):
            total += member.memory_full_info().pss
    return total / 1e6


def tail(log: Path) -> str:
    """Return the last of a log, in one line."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " ".join(text[-TAIL_CHARACTERS:].split())
