import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.contenders.scoring import ROOT
from bench.processes import memory_mb, started, tail, together

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""

ORPHANING = """
import subprocess, sys
from bench.processes import adopt_orphans, started
from pathlib import Path
adopt_orphans()
parent = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
log = Path(sys.argv[1])
with started([([sys.executable, "-c", parent], {})], log) as (process,):
    process.wait()
"""


def python(code: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", code], {}


def wait_for_pid(log: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (text := log.read_text()).strip():
            return int(text)
        time.sleep(0.02)
    raise AssertionError("no process id")


def test_process_and_child_are_ended_even_if_they_will_not(tmp_path: Path) -> None:
    with started([python(STUBBORN)], tmp_path / "log", stop_timeout_s=0.3) as (process,):
        child = wait_for_pid(tmp_path / "log")
    assert process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_processes_are_ended_when_the_benchmark_fails(tmp_path: Path) -> None:
    sleepers = [python("import time; time.sleep(60)")] * 2
    with pytest.raises(KeyboardInterrupt), started(sleepers, tmp_path / "log") as processes:
        raise KeyboardInterrupt
    assert [process.poll() for process in processes] == [-signal.SIGTERM] * 2


def test_second_interrupt_does_not_come_between(tmp_path: Path) -> None:
    code = """
import signal, sys, time
from pathlib import Path
from bench.processes import started
stubborn = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
with started([([sys.executable, "-c", stubborn], {})], Path(sys.argv[1]), stop_timeout_s=1.0):
    time.sleep(60)
"""
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", code, str(log)]
    benchmark = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    stubborn = wait_for_pid(log)
    for _ in range(2):
        benchmark.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert benchmark.wait(20) != 0
    assert not psutil.pid_exists(stubborn)


def test_first_process_is_ended_when_the_second_cannot_start(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    before = set(psutil.Process().children())
    with pytest.raises(FileNotFoundError), started([python(code), (["/no/such/command"], {})], tmp_path / "log"):
        pass
    assert set(psutil.Process().children()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_orphans_are_ended_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", ORPHANING, str(log)], cwd=ROOT, check=True, timeout=30)
    assert not psutil.pid_exists(int(log.read_text()))


def test_environment_and_output_are_the_command_s_own(tmp_path: Path) -> None:
    command = ([sys.executable, "-c", "import os; print(os.environ['COLOUR'])"], {"COLOUR": "grey"})
    with started([command], tmp_path / "log") as (process,):
        process.wait()
    assert tail(tmp_path / "log") == "grey"
    assert "COLOUR" not in os.environ


def test_memory_is_of_the_whole_family(tmp_path: Path) -> None:
    code = "import time; held = bytearray(50_000_000); print(1, flush=True); time.sleep(60)"
    with started([python(code)] * 2, tmp_path / "log") as processes:
        deadline = time.monotonic() + 20
        while (tmp_path / "log").read_text().count("1") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert 100 < memory_mb(processes) < 250


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "log") == ""


def square(number: int, seconds: float, ready: Callable[[], object]) -> tuple[float, int]:
    ready()
    return number**2 + seconds, os.getpid()


def test_processes_work_together_and_return_their_results() -> None:
    results = together(square, 3, processes=2, seconds=0.5)
    assert [value for value, _ in results] == [9.5, 9.5]
    assert len({pid for _, pid in results} - {os.getpid()}) == 2
