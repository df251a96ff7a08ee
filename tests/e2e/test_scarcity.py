"""A service that runs where files or disk run out: it goes on, and says what it lacks."""

import os
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bench.bad_starts import on_small_disk, with_limits
from tests.e2e.service import START_TIMEOUT_S, Service, wait_for


def test_more_connections_than_files_may_be_open_shut_out_nobody(stub: dict[str, Path]) -> None:
    service = Service(**stub)
    limits = with_limits("--nofile=256:256")
    if limits is None:
        pytest.skip("there is no prlimit")
    service.prefix = limits
    try:
        service.start()
        service.wait_until_ready()
        with ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.ports["PORT"])))
            for _ in range(5):
                assert service.predict(b"a film").status_code == 200
            wait_for(lambda: "limit of open files" in service.output, 10, "a line in the log")
        assert service.healthy()
        lines = [line for line in service.output.splitlines() if "limit of open files" in line]
        assert len(lines) == 1
        assert service.stop() == 0
        service.assert_nothing_left()
    finally:
        service.clean_up()


def test_full_disk_stops_deployments_and_no_films(stub: dict[str, Path]) -> None:
    service = Service(**stub)
    disk = on_small_disk(service.run_dir, "64m")
    if disk is None:
        pytest.skip("this system does not let a folder be a disk of its own")
    service.prefix = disk
    try:
        service.start()
        service.wait_until_ready()
        seen = Path(f"/proc/{service.running.pid}/root{service.run_dir}")  # mounted for that process only
        service.settings["RUN_DIR"] = str(seen)
        wait_for(lambda: service.manage("models").stdout.count("READY") == 2, START_TIMEOUT_S, "both workers")
        with suppress(OSError), (seen / "fill").open("wb", buffering=0) as file:
            while file.write(bytes(65_536)):
                pass
        for pid in service.workers()[:1]:
            os.kill(pid, signal.SIGKILL)
        for _ in range(5):
            assert service.predict(b"a film").status_code == 200
        done = service.manage("deploy", str(stub["MODEL_STORE"] / "pneumonia.mar"))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "MB of disk left" in done.stderr
        wait_for(lambda: len(service.workers()) == 2, START_TIMEOUT_S, "the killed worker's successor")
        assert service.stop() == 0
    finally:
        service.clean_up()
