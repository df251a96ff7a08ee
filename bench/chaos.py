"""python -m bench.chaos [--films DIR] [--out DIR] [--seconds S] [--only NAME ...]

Breaks the running service in many ways, under a background load of 60 % of its highest throughput, and starts it where
it cannot start. Writes chaos.json: for each fault the films sent, answered with 200, refused (429 or 503) and failed
(anything else, or a broken connection), the longest wait, what must hold, and whether it held. Ends with 2 where
something did not.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from bench.bad_starts import BAD_STARTS, on_small_disk, tried, with_limits
from bench.cli import Setting, add_common, prepare, run
from bench.contender import live
from bench.contenders.scoring import MODEL_STORE
from bench.errors import LoadError
from bench.faults import (
    Crowd,
    beside,
    commanded,
    disk_full,
    ended,
    kill_jvm,
    kill_workers,
    memory,
    outage,
    overload,
    stop_jvm,
    stop_worker,
    worker_killed,
)
from bench.haproxy import in_front
from bench.results import Timing
from bench.roster import service_with
from bench.under_load import LOAD_SHARE, Row, Service, Trial, row
from handler.gate import FILE as GATE
from proxy.files import allow_open_files
from proxy.torchserve.process import free_ports

logger = logging.getLogger("bench")

Prefix = Callable[[Path], list[str] | None]
"""Takes RUN_DIR; returns the beginning of the service's command line, or None where the system does not allow it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the service, and how it is started before."""

    trial: Trial
    prefix: Prefix = lambda _: []


def faults(seconds: float, broken: Path, unloadable: Path) -> dict[str, Fault]:
    """Return the faults of a running service by name, in the order in which they are tried.

    Args:
        seconds: Of each load.
        broken: A file that is no archive.
        unloadable: An archive of a version that does not load.
    """
    mar = MODEL_STORE / "pneumonia.mar"
    upload = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    declared = upload + b"Content-Length: 20000000\r\n\r\n--b\r\n"
    chunked = upload + b"Transfer-Encoding: chunked\r\n\r\n"
    head = b"GET / HTTP/1.1\r\nX-Slow: "

    def deploy(*options: str) -> tuple[tuple[str, ...], int]:
        return ("deploy", str(mar), *options), 0

    return {
        "worker-killed": Fault(lambda s: worker_killed(s, max(15.0, seconds))),
        "workers-killed": Fault(lambda s: outage(s, "all workers killed", kill_workers, refused_s=1, back_s=10)),
        "jvm-killed": Fault(lambda s: outage(s, "the JVM killed", kill_jvm, refused_s=1, back_s=10)),
        "jvm-stopped": Fault(lambda s: outage(s, "the JVM stopped", stop_jvm, refused_s=2, back_s=15)),
        "worker-stopped": Fault(lambda s: outage(s, "a worker stopped", stop_worker, refused_s=2, back_s=15)),
        "scale": Fault(
            lambda s: commanded(
                s,
                "scale 1, 4, 1",
                *((("scale", "--workers", str(workers)), 0) for workers in (1, 4, 1)),
                share=0.5,  # what one worker can do
            )
        ),
        "deploy": Fault(
            lambda s: commanded(
                s,
                "deploy, canary, promote, rollback",
                *(deploy(), deploy("--canary", "20"), (("promote",), 0), (("rollback",), 0)),
                slower=2,
            )
        ),
        "shadow": Fault(
            lambda s: commanded(
                s,
                "deploy with a shadow, abandon",
                *(deploy("--shadow", "100"), (("shadow",), 0), (("abandon",), 0)),
                slower=2,
            )
        ),
        "bad-deploy": Fault(lambda s: commanded(s, "deploy of what is no archive", (("deploy", str(broken)), 2))),
        "bad-version": Fault(
            lambda s: commanded(
                s,
                "deploy of a version that does not load",
                (("deploy", str(unloadable)), 2),
                slower=2,
                within_s=10,
            )
        ),
        "memory": Fault(lambda s: memory(s, mar)),
        "overload": Fault(lambda s: overload(s, seconds)),
        "slow-heads": Fault(lambda s: beside(s, "200 heads without end", Crowd(200, head, b"x"), seconds)),
        "idle": Fault(lambda s: beside(s, "2,000 idle connections", Crowd(2000, b""), seconds)),
        "uploads": Fault(lambda s: beside(s, "200 uploads of 20 MB that send nothing", Crowd(200, declared), seconds)),
        "chunked": Fault(lambda s: beside(s, "200 chunked uploads that send nothing", Crowd(200, chunked), seconds)),
        "many-chunked": Fault(
            lambda s: beside(s, "1,500 chunked uploads that send nothing", Crowd(1500, chunked), seconds, longest_s=1)
        ),
        "few-files-running": Fault(
            lambda s: beside(s, "400 idle connections where 256 files may be open", Crowd(400, b""), seconds),
            prefix=lambda _: with_limits("--nofile=256:256"),
        ),
        "full-disk-running": Fault(lambda s: disk_full(s, mar), prefix=lambda run_dir: on_small_disk(run_dir, "64m")),
        "sigterm": Fault(ended),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these faults")
    parser.add_argument("--behind-haproxy", action="store_true", help="clients reach it through deploy/haproxy.cfg")
    add_common(parser, out=Path("out/chaos"))
    return run(_chaos, parser.parse_args(arguments))


def _chaos(args: argparse.Namespace) -> None:
    allow_open_files()  # each connection is a file, on both sides
    setting = prepare(args)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        broken = folder / "broken.mar"
        broken.write_bytes(b"no archive")
        unloadable = folder / "unloadable.mar"
        _write_unloadable(unloadable)
        trials: dict[str, partial[Row]] = {
            name: partial(tried, start, folder / name) for name, start in BAD_STARTS.items()
        } | {
            name: partial(_try, name, fault, setting, folder, behind_haproxy=args.behind_haproxy)
            for name, fault in faults(args.seconds, broken, unloadable).items()
        }
        if unknown := set(args.only or ()) - set(trials):
            raise LoadError(f"there is no fault {', '.join(sorted(unknown))}: there are {', '.join(trials)}")
        for name, trial in trials.items():
            if not args.only or name in args.only:
                rows.append(trial())
                _log(rows[-1])
                document: dict[str, Any] = {"machine": setting.machine, "faults": [asdict(one) for one in rows]}
                (args.out / "chaos.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if failed := [one.name for one in rows if not one.holds]:
        raise LoadError(f"{len(failed)} of {len(rows)} do not hold: {', '.join(failed)}")


def _write_unloadable(path: Path) -> None:
    """Write the shipped archive with a gate that is none: the proxy takes it, a worker does not."""
    with ZipFile(MODEL_STORE / "pneumonia.mar") as shipped, ZipFile(path, "w") as archive:
        for name in shipped.namelist():
            archive.writestr(name, b"no gate" if name == GATE else shipped.read(name))


def _log(result: Row) -> None:
    logger.info("%-5s %s: %s (%s)", "holds" if result.holds else "FAILS", result.name, result.value, result.limit)


def _try(name: str, fault: Fault, setting: Setting, folder: Path, *, behind_haproxy: bool) -> Row:
    """Try one fault on a service of its own, whose model store it may write to."""
    store = folder / f"{name}-store"
    store.mkdir()
    shutil.copy(MODEL_STORE / "pneumonia.mar", store)
    prefix = fault.prefix(folder / name / "run")
    if prefix is None:
        return row(name, [], "", "not tried: this system does not let it be made so", holds=True)
    ours = service_with({"MODEL_STORE": str(store)}, prefix)
    with (
        live(ours, folder=folder / name, workers=setting.cores, film=setting.films[0]) as up,
        ExitStack() as stack,
    ):
        if behind_haproxy:
            (public,) = free_ports(1)
            stack.enter_context(in_front(folder / name, public=public, service=up.place.ports[0]))
            up.urls = [f"http://127.0.0.1:{public}/predict"]
        load = up.load(setting.films, folder / name / "bodies")

        def flood(clients: int, seconds: float) -> Timing:
            return setting.wrk.run(load, concurrency=clients, seconds=seconds)

        service = Service(up, setting.films, flood)
        logger.info("highest throughput: %.0f films/s", service.rate_per_s / LOAD_SHARE)
        return asyncio.run(fault.trial(service))


if __name__ == "__main__":
    sys.exit(main())
