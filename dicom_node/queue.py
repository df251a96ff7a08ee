"""The operator's view of the queue; it may be used while the node runs.

    python -m dicom_node.queue list [--all]     what waits, and what failed with its reason; also what was delivered
    python -m dicom_node.queue retry [FILM]     have what failed or waits tried again at once: of one film, or of all
    python -m dicom_node.queue discard FILM     forget a film, its files and its results

The folder is the environment variable DICOM_QUEUE_DIR. FILM is the number of the list's first column.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence

from dicom_node.errors import SettingsError
from dicom_node.records import Entry
from dicom_node.settings import queue_folder
from dicom_node.storage import DATABASE, Queue

DISCARDED = {"delivered": "forgotten: its results were delivered; where it comes again, it is screened again"}
"""What is said of a film that was discarded, by its state."""
COLUMNS = ("film", "state", "result", "since", "failures", "from", "SOP Instance UID", "to", "reason")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 1 where there is no such film."""
    parser = argparse.ArgumentParser(prog="python -m dicom_node.queue", description="Look after the queue.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="print what waits and what failed")
    listing.add_argument("--all", action="store_true", help="also films whose results were delivered")
    retry = commands.add_parser("retry", help="have what failed or waits tried again at once")
    retry.add_argument("film", metavar="FILM", type=int, nargs="?", help="only this film's")
    commands.add_parser("discard", help="forget a film").add_argument("film", metavar="FILM", type=int)
    parsed = parser.parse_args(arguments)
    try:
        return _run(parsed.command, getattr(parsed, "film", None), delivered=getattr(parsed, "all", False))
    except SettingsError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2


def _run(command: str, film: int | None, *, delivered: bool) -> int:
    folder = queue_folder()
    if not (folder / DATABASE).is_file():
        raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} is no queue")
    queue = Queue(folder)
    try:
        if command == "list":
            sys.stdout.write(table(queue.entries(delivered=delivered)))
            return 0
        if command == "discard":
            state = queue.discard(film or 0)
            said = DISCARDED.get(state, "discarded") if state else None
        else:
            tried = queue.retry(film)
            said = f"{tried} to be tried again" if tried or film is None else None
    finally:
        queue.close()
    if said is None:
        sys.stderr.write(f"error: film {film} is not in the queue, or nothing of it waits or failed\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


def table(entries: Sequence[Entry]) -> str:
    """Return the list as lines with columns."""
    rows = [COLUMNS, *(_row(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def _row(entry: Entry) -> tuple[str, ...]:
    since = datetime.datetime.fromtimestamp(entry.changed_at, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        str(entry.film), entry.state, entry.kind or "-", since, str(entry.failures), entry.sender,
        entry.sop_instance_uid, entry.destination or "-", entry.reason or "-",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
