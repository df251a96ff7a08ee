"""Starts that cannot succeed: each must end soon, with an exit status that says so and one line that says why."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.contender import python_module
from bench.contenders.scoring import MODEL_STORE, ROOT
from bench.roster import TORCHSERVE_PORTS
from bench.under_load import Row, row
from proxy.torchserve.process import die_with_parent, free_ports

WITHIN_S = 10.0
"""From the command to its end."""

HANGS_S = 60.0

MODEL = "pneumonia.onnx"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a start is tried."""

    store: Path
    """Its model store, with the archive."""
    run_dir: Path
    ports: Mapping[str, int]

    @property
    def archive(self) -> Path:
        """What it would serve."""
        return self.store / "pneumonia.mar"


Condition = Callable[[Place], AbstractContextManager[Sequence[str] | None]]
"""Makes the machine as it must be; yields the beginning of the command line, or None where that cannot be made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadStart:
    """A start that cannot succeed."""

    title: str
    condition: Condition
    words: str
    """Among those that say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of a start."""

    status: int | None
    """The exit status; None where it had not ended in time."""
    seconds: float
    lines: list[str]


def namespace() -> list[str] | None:
    """Return the beginning of a command line that may mount file systems for itself, or None where none may."""
    unshare = shutil.which("unshare") or "unshare"
    for command in ([unshare, "--mount"], [unshare, "--user", "--map-root-user", "--mount"]):
        trial = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        with suppress(FileNotFoundError):
            if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
                return command
    return None


def on_small_disk(folder: Path, size: str) -> list[str] | None:
    """Return the beginning of a command line under which a folder is a disk of that size, or None."""
    script = f'mkdir -p -m 700 "$1" && mount -t tmpfs -o size={size},mode=700 none "$1" && shift && exec "$@"'
    mounting = namespace()
    return None if mounting is None else [*mounting, "sh", "-c", script, "sh", str(folder)]


def with_limits(*limits: str) -> list[str] | None:
    """Return the beginning of a command line that runs under limits of prlimit(1), or None."""
    prlimit = shutil.which("prlimit")
    return None if prlimit is None else [prlimit, *limits]


def _small_disk(size: str) -> Condition:
    @contextmanager
    def condition(place: Place) -> Iterator[Sequence[str] | None]:
        yield on_small_disk(place.run_dir, size)

    return condition


def _limited(*limits: str) -> Condition:
    @contextmanager
    def condition(_: Place) -> Iterator[Sequence[str] | None]:
        yield with_limits(*limits)

    return condition


@contextmanager
def _in_small_group(_: Place) -> Iterator[Sequence[str] | None]:
    """Run in a control group with 300 MB of memory."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"bad-start-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:  # no such version, or not allowed
            continue
        try:
            (group / limit).write_text("300000000")
            yield ["sh", "-c", 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"', "sh", str(group)]
        except OSError:
            continue
        else:
            return
        finally:
            group.rmdir()
    yield None


def _taken(name: str) -> Condition:
    @contextmanager
    def condition(place: Place) -> Iterator[Sequence[str] | None]:
        with socket.create_server(("127.0.0.1", place.ports[name])):
            yield []

    return condition


def _changed(change: Callable[[Path], None]) -> Condition:
    @contextmanager
    def condition(place: Place) -> Iterator[Sequence[str] | None]:
        change(place.archive)
        yield []

    return condition


def _cut_off(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1000])


def _damage(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        middle = packed.getinfo(MODEL).header_offset + packed.getinfo(MODEL).compress_size // 2
    content = bytearray(archive.read_bytes())
    content[middle] ^= 0xFF
    archive.write_bytes(content)


def _lose_model(archive: Path) -> None:
    whole = archive.rename(archive.with_name("whole.mar"))
    with zipfile.ZipFile(whole) as packed, zipfile.ZipFile(archive, "w") as lacking:
        for member in packed.infolist():
            if member.filename != MODEL:
                lacking.writestr(member, packed.read(member))


BAD_STARTS: dict[str, BadStart] = {
    "full-disk": BadStart(title="RUN_DIR on a full disk", condition=_small_disk("64k"), words="RUN_DIR="),
    "small-disk": BadStart(title="RUN_DIR on a disk of 12 MB", condition=_small_disk("12m"), words="MB of disk left"),
    "few-files": BadStart(
        title="64 open files", condition=_limited("--nofile=64:64"), words="only 64 files may be open"
    ),
    "little-memory": BadStart(title="300 MB of memory", condition=_in_small_group, words="MB of memory"),
    "few-addresses": BadStart(
        title="2 GB of addresses (ulimit -v)", condition=_limited("--as=2000000000"), words="cannot be reserved"
    ),
    "port-taken": BadStart(title="the public port taken", condition=_taken("PORT"), words="PORT="),
    "inner-port-taken": BadStart(
        title="a port of TorchServe taken", condition=_taken("GRPC_INFERENCE_PORT"), words="GRPC_INFERENCE_PORT="
    ),
    "no-archive": BadStart(title="no archive", condition=_changed(Path.unlink), words="make archive"),
    "cut-off-archive": BadStart(title="a cut-off archive", condition=_changed(_cut_off), words="cannot be read"),
    "damaged-archive": BadStart(title="an archive with a damaged model", condition=_changed(_damage), words=MODEL),
    "archive-without-model": BadStart(
        title="an archive without its model", condition=_changed(_lose_model), words=MODEL
    ),
}
"""By name."""


def attempt(start: BadStart, folder: Path, *, archive: Path = MODEL_STORE / "pneumonia.mar") -> Attempt | None:
    """Try to start the service; None where the condition cannot be made here."""
    names = ("PORT", *TORCHSERVE_PORTS)
    store = folder / "store"
    store.mkdir(parents=True)
    shutil.copy(archive, store / "pneumonia.mar")
    place = Place(store=store, run_dir=folder / "run", ports=dict(zip(names, free_ports(len(names)), strict=True)))
    environ = {name: str(port) for name, port in place.ports.items()}
    environ |= {"MODEL_STORE": str(store), "RUN_DIR": str(place.run_dir), "WORKERS": "2"}
    with start.condition(place) as prefix, tempfile.TemporaryFile() as output:
        if prefix is None:
            return None
        began = time.monotonic()
        process = subprocess.Popen(
            [*prefix, *python_module("proxy")],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (a caller that is killed leaves none behind)
        )
        try:
            status = process.wait(HANGS_S)
        except subprocess.TimeoutExpired:
            status = None
            process.terminate()
            process.wait(HANGS_S)
        seconds = time.monotonic() - began
        output.seek(0)
        return Attempt(status=status, seconds=seconds, lines=output.read().decode(errors="replace").splitlines())


def tried(start: BadStart, folder: Path) -> Row:
    """Try to start the service, and sum up what became of it."""
    limit = f"one line with {start.words!r}, an exit status that is not 0, within {WITHIN_S:g} s"
    made = attempt(start, folder)
    if made is None:
        return row(start.title, [], limit, "not tried: this system does not let it be made so", holds=True)
    last = made.lines[-1] if made.lines else ""
    errors = [line for line in made.lines if line.startswith("error: ")]
    holds = bool(made.status) and errors == [last] and start.words in last and made.seconds <= WITHIN_S
    return row(start.title, [], limit, f"status {made.status} after {made.seconds:.1f} s: {last}", holds=holds)
