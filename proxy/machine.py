"""What the service needs of the machine, checked at the start: who lacks it would fail late, and at length."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from proxy.errors import SettingsError, StartError

OWN_FILES, OWN_FILES_PER_WORKER = 64, 8
"""Files that the service has open beside its clients' connections, during a deployment too."""

LEAST_CONNECTIONS = 32
"""With fewer, it would refuse its clients."""

LEAST_MEMORY, LEAST_MEMORY_PER_WORKER = 190_000_000, 230_000_000
"""In bytes: what proxy and JVM, and each worker, have for themselves when they have just loaded the model."""

SPARE_DISK = 8_000_000
"""In bytes: what else TorchServe may write in RUN_DIR."""


def most_connections(workers: int) -> int:
    """Return how many connections of clients the limit of open files leaves room for.

    Raises:
        SettingsError: Too few.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = OWN_FILES + OWN_FILES_PER_WORKER * workers
    if limit - own < LEAST_CONNECTIONS:
        raise SettingsError(
            f"only {limit} files may be open (ulimit -n): with WORKERS={workers} at least "
            f"{own + LEAST_CONNECTIONS} are needed"
        )
    return limit - own


def workers_that_fit(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return for how many workers, one at least, there is memory; None where the system does not say."""
    limit = min((size for _, size in _memory_limits(proc, cgroups)), default=None)
    return None if limit is None else max(1, (limit - LEAST_MEMORY) // LEAST_MEMORY_PER_WORKER)


def require_memory(workers: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
    """Refuse to start where the workers could not load the model.

    Raises:
        SettingsError: There is too little memory.
    """
    needed = LEAST_MEMORY + LEAST_MEMORY_PER_WORKER * workers
    what, limit = min(_memory_limits(proc, cgroups), key=itemgetter(1), default=("", needed))
    if limit < needed:
        wanted = f"WORKERS={workers} needs {needed / 1e6:.0f} MB at least"
        raise SettingsError(f"there are only {limit / 1e6:.0f} MB of memory ({what}): {wanted}")


def require_disk(folder: Path, needed: int) -> None:
    """Refuse to unpack an archive that needs so many bytes where there is no room for it.

    Raises:
        StartError: There is too little room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_DISK:
        wanted = (needed + SPARE_DISK) / 1e6
        raise StartError(f"RUN_DIR={str(folder)!r} has {free / 1e6:.0f} MB of disk left: {wanted:.0f} MB are needed")


def _memory_limits(proc: Path, cgroups: Path) -> Iterator[tuple[str, int]]:
    """Yield the bytes that may be had, by what bounds them; nothing where the system does not say."""
    with suppress(OSError, ValueError, LookupError):
        lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
        kilobytes = {fields[0]: int(fields[1]) for fields in lines}
        yield "what is available", 1024 * (kilobytes["MemAvailable:"] + kilobytes["SwapFree:"])
    for file in _cgroup_files(proc, cgroups):
        with suppress(OSError, ValueError):  # none there, or "max"
            yield "the control group's limit", int(file.read_text())


def _cgroup_files(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the files with the limits of this process's control groups and those above, of version 2 and 1."""
    with suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            version_1 = "memory" in controllers.split(",")
            if version_1 or not controllers:
                root, name = (cgroups / "memory", "memory.limit_in_bytes") if version_1 else (cgroups, "memory.max")
                own = root / os.path.normpath(path).lstrip("/")  # ".." where a container sees its own as the root
                yield from (folder / name for folder in (own, *own.parents) if folder.is_relative_to(root))
