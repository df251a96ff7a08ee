"""Screen films in processes of this machine, one a core.

Each has a pipe of its own, and at most DEPTH films ahead: what is in memory is a film a process. A process whose pipe
ends has lost this one, as by a kill, and ends.
"""

import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from batch.errors import InputError, StoppedError, WorkerDied
from batch.journal import Task
from batch.row import Row
from batch.scorer import Score

logger = logging.getLogger(__name__)

DEPTH = 2
"""Films that a process has: one in work, one behind it so that it does not wait for us."""

PATIENCE_S = 120.0
"""After which a process that gives no answer is taken for hung: decoding is bounded to about a second a film, so that
only reading can take longer, as where a network file system is gone."""

START_TIMEOUT_S = 300.0
TRIES = 2
"""Of a film whose process ended: another one's memory may have ended it."""

READY = "ready"

Done = Callable[[Task, Row], None]
"""Takes each film's row, as soon as there is one."""


class Screen(Protocol):
    """A way to run what screens."""

    def __call__(
        self,
        tasks: Iterator[Task],
        done: Done,
        *,
        make: Callable[..., Score],
        arguments: tuple[Any, ...],
        workers: int,
    ) -> None:
        """Screen films, each as `make(*arguments)` screens it."""
        ...


class _Process:
    """A process, and the films it has."""

    def __init__(self, make: Callable[..., Score], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        with _uninterrupted():
            self._process.start()
        other.close()
        self.films: deque[tuple[Task, int]] = deque()
        """Each with the tries that it has had, the one in work first."""
        self.heard_at = time.monotonic()

    def wait_until_ready(self) -> None:
        """Wait until it can screen.

        Raises:
            InputError: It says why it cannot.
            StoppedError: It ended, or does not come up.
        """
        try:
            word = self.pipe.recv() if self.pipe.poll(START_TIMEOUT_S) else "it does not start"
        except EOFError:
            raise StoppedError("a process that screens films ended while it started: is there memory left?") from None
        if word != READY:
            raise InputError(f"the model cannot be run: {word}")
        self.heard_at = time.monotonic()

    def give(self, task: Task, tries: int) -> None:
        if not self.films:
            self.heard_at = time.monotonic()
        self.films.append((task, tries + 1))
        try:
            self.pipe.send(task.place)
        except OSError:  # it has ended: seen when its pipe is read
            return

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have an interrupt wait until a process has started, and this process not hear Ctrl-C.

    That reaches the whole group: the first process ends the others, in the midst of whose start it would say so at
    length.
    """
    resource_tracker.ensure_running()  # else it is started meanwhile, and has SIGINT heard again
    waiting: list[int] = []
    here = threading.current_thread() is threading.main_thread()  # another one hears no signals
    numbers = (signal.SIGINT, signal.SIGTERM) if here else ()
    handlers = {number: signal.signal(number, lambda caught, _: waiting.append(caught)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # is inherited
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if waiting:
        raise KeyboardInterrupt


def screen(  # noqa: D417  (the first are its work)
    tasks: Iterator[Task], done: Done, *, make: Callable[..., Score], arguments: tuple[Any, ...], workers: int
) -> None:
    """Screen films, each as `make(*arguments)` in a process screens it.

    Args:
        make: Returns what screens, in the process; it is sent there, with its arguments.
        workers: Processes.

    Raises:
        InputError: The model cannot be run.
        StoppedError: Processes do not start.
    """
    again: deque[tuple[Task, int]] = deque()
    processes: list[_Process] = []
    try:
        processes.extend(_Process(make, arguments) for _ in range(workers))  # one by one: what has started is ended
        for process in processes:
            process.wait_until_ready()
        while True:
            for process in processes:
                _fill(process, again, tasks)
            busy = {process.pipe: process for process in processes if process.films}
            if not busy:
                return
            for pipe in wait(list(busy), timeout=1.0):
                process = busy[pipe]  # type: ignore[index]  # only connections were waited for
                if not _take(process, done):
                    _lose(process, again, done)
                    processes[processes.index(process)] = _started(make, arguments)
            for number, process in enumerate(processes):
                if process.films and time.monotonic() - process.heard_at > PATIENCE_S:
                    _lose(process, again, done)
                    processes[number] = _started(make, arguments)
    finally:
        for process in processes:
            process.end()


def _fill(process: _Process, again: deque[tuple[Task, int]], tasks: Iterator[Task]) -> None:
    while len(process.films) < DEPTH:
        if again:
            process.give(*again.popleft())
        elif (task := next(tasks, None)) is not None:
            process.give(task, 0)
        else:
            return


def _take(process: _Process, done: Done) -> bool:
    """Take a row from a process that has one; return False where it has ended."""
    try:
        row = process.pipe.recv()
    except (EOFError, OSError):
        return False
    task, _ = process.films.popleft()
    process.heard_at = time.monotonic()
    done(task, row)
    return True


def _lose(process: _Process, again: deque[tuple[Task, int]], done: Done) -> None:
    """End a process that ended by itself or hangs: its films are tried once more, the others of it are not to blame."""
    process.end()
    (task, tries), *others = process.films
    logger.warning(
        "a process that screens films ended or hung: its film is %s", "given up" if tries >= TRIES else "tried again"
    )
    if tries >= TRIES:
        done(task, Row.of(WorkerDied(f"{TRIES} processes ended or hung while they had this film")))
    else:
        again.append((task, tries))
    again.extend((other, before - 1) for other, before in others)


def _started(make: Callable[..., Score], arguments: tuple[Any, ...]) -> _Process:
    process = _Process(make, arguments)
    try:
        process.wait_until_ready()
    except BaseException:
        process.end()
        raise
    return process


def _serve(pipe: "Connection[Any, Any]", make: Callable[..., Score], arguments: tuple[Any, ...]) -> None:
    """Screen what comes through the pipe, until it ends."""
    with suppress(EOFError, OSError):  # the other side is gone
        try:
            score = make(*arguments)
        except Exception as exc:  # the other side says it in one line
            pipe.send(" ".join(str(exc).split()))
            return
        pipe.send(READY)
        while True:
            pipe.send(score(pipe.recv()))
