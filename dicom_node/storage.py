"""The durable queue: a folder with a SQLite database, the films that wait, and their results.

What `add` has returned for is on disk: it survives the end of the process at any step, and of the machine as far as its
disk keeps what it has confirmed. Files are written before the row that names them, and erased after the row that says
that they are done with; what a kill leaves between the two, `recover` removes.
"""

import json
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicom_node.backoff import Clock
from dicom_node.errors import RefusedObjectError, SettingsError
from dicom_node.files import Files, require_private
from dicom_node.objects import DUPLICATE_INSTANCE, OUT_OF_RESOURCES, ObjectFacts
from dicom_node.records import SCHEMA, Entry, WaitingDelivery, WaitingFilm

logger = logging.getLogger(__name__)

DATABASE = "queue.sqlite"
FILES = "files"
FILM = "film"
BUSY_TIMEOUT_S = 30.0
"""The operator's command and the node write in turns."""


class Queue:
    """The queue of a folder; its methods may be called from any thread."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 62, clock: Clock = time.time) -> None:
        """Open the queue, or make it.

        Raises:
            SettingsError: The folder cannot be used, or is open to other users.
        """
        self.folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.RLock()
        self._claimed: set[int] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private(folder)
            self._files = Files(folder / FILES)
            self._database = sqlite3.connect(
                folder / DATABASE, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} cannot be used: {exc}") from exc
        self._database.row_factory = sqlite3.Row

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def recover(self, *, destinations: Sequence[str]) -> None:
        """Tidy up after whatever ended the node before; only for a node that has the queue for itself.

        Args:
            destinations: The names of those that there are now; what waits for another one fails.
        """
        with self._transaction() as database:
            database.execute("UPDATE films SET due_at = 0")
            database.execute("UPDATE deliveries SET due_at = 0")
            database.execute(
                "UPDATE deliveries SET state = 'failed', reason = 'no destination of the settings any more',"
                " changed_at = ? WHERE state = 'waiting' AND destination NOT IN (SELECT value FROM json_each(?))",
                (self._clock(), json.dumps(list(destinations))),
            )
            kept = {row["name"] for row in database.execute("SELECT name FROM films WHERE state != 'delivered'")}
        self._files.erase_others(kept)

    def forget_delivered(self, *, older_than_s: float) -> None:
        """Forget which films were delivered that long ago."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM films WHERE state = 'delivered' AND changed_at < ?", (self._clock() - older_than_s,)
            )

    # --- films in

    def add(self, file: bytes, facts: ObjectFacts, *, sender: str) -> int | None:
        """Take a film; on return it is on disk.

        Returns:
            Its number, or None for a film that is in the queue, or was delivered, already.

        Raises:
            RefusedObjectError: There is no room, or another object has its UID.
        """
        with self._lock:
            if self._is_known(facts):
                return None
            self._require_room(len(file), facts)
        name = uuid.uuid4().hex
        number = None
        try:
            self._files.write(name, FILM, file)
            number = self._insert_film(name, facts, size_bytes=len(file), sender=sender)
        except (OSError, sqlite3.Error) as exc:
            logger.error("a film cannot be stored: %s", exc)  # noqa: TRY400  (one line says it all)
            message = "the film cannot be stored"
            raise RefusedObjectError(OUT_OF_RESOURCES, message, instance=facts.instance) from exc
        finally:
            if number is None:
                self._files.erase(name)
        return number

    def _insert_film(self, name: str, facts: ObjectFacts, *, size_bytes: int, sender: str) -> int | None:
        with self._transaction() as database:
            if self._is_known(facts):  # it may have come twice at once
                return None
            return database.execute(
                "INSERT INTO films (name, sop_instance_uid, digest, size_bytes, sender, state, changed_at)"
                " VALUES (?, ?, ?, ?, ?, 'received', ?)",
                (name, facts.sop_instance_uid, facts.digest, size_bytes, sender, self._clock()),
            ).lastrowid

    def _is_known(self, facts: ObjectFacts) -> bool:
        """Whether the film has a row, in whatever state.

        Raises:
            RefusedObjectError: The row is of another object; it is kept until the operator discards it.
        """
        row = self._database.execute(
            "SELECT digest FROM films WHERE sop_instance_uid = ?", (facts.sop_instance_uid,)
        ).fetchone()
        if row is not None and row["digest"] != facts.digest:
            raise RefusedObjectError(
                DUPLICATE_INSTANCE,
                "another object with this SOP Instance UID was taken before",
                instance=facts.instance,
            )
        return row is not None

    def _require_room(self, size_bytes: int, facts: ObjectFacts) -> None:
        held = self._database.execute("SELECT total(size_bytes) FROM films WHERE state != 'delivered'").fetchone()[0]
        if held + size_bytes > self._max_bytes:
            raise RefusedObjectError(OUT_OF_RESOURCES, "the queue is full", instance=facts.instance)

    # --- screening

    def claim_film(self) -> WaitingFilm | None:
        """Return the next film to screen, which nobody else gets until `release`."""
        with self._lock:
            now = self._clock()
            rows = self._database.execute(
                "SELECT id, name, sop_instance_uid, failures FROM films WHERE state = 'received' AND due_at <= ?"
                " ORDER BY due_at, id LIMIT ?",
                (now, len(self._claimed) + 1),
            )
            for row in rows:
                if row["id"] not in self._claimed:
                    self._claimed.add(row["id"])
                    return WaitingFilm(**dict(row))
        return None

    def release(self, film: WaitingFilm) -> None:
        """Let others claim the film again, if it still waits."""
        with self._lock:
            self._claimed.discard(film.id)

    def read_film(self, film: WaitingFilm) -> bytes | None:
        """Return a film's file, or None where the operator has discarded it."""
        return self._files.read(film.name, FILM)

    def screened(self, film: WaitingFilm, results: Mapping[str, bytes], *, destinations: Sequence[str]) -> None:
        """Keep the results of a film, DICOM files by kind, to be sent to every destination.

        Raises:
            OSError: They cannot be written.
        """
        for kind, file in results.items():
            self._files.write(film.name, kind, file)
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE films SET state = 'screened', changed_at = ?, reason = '', size_bytes = size_bytes + ?"
                " WHERE id = ? AND state = 'received'",
                (self._clock(), sum(map(len, results.values())), film.id),
            ).rowcount
            if changed:
                database.executemany(
                    "INSERT INTO deliveries (film, kind, destination, state, changed_at)"
                    " VALUES (?, ?, ?, 'waiting', ?)",
                    [(film.id, kind, name, self._clock()) for kind in results for name in destinations],
                )
        if not changed:  # discarded meanwhile
            self._files.erase(film.name)

    def film_failed(self, film: WaitingFilm, reason: str) -> None:
        """Put a film aside for the operator."""
        self._change_film(
            film, "state = 'failed', failures = failures + 1, reason = ?, changed_at = ?", reason, self._clock()
        )

    def postpone_film(self, film: WaitingFilm, reason: str, *, wait_s: float) -> None:
        """Have a film tried again later."""
        assignments = "failures = failures + 1, reason = ?, due_at = ?"
        self._change_film(film, assignments, reason, self._clock() + wait_s)

    def note_film(self, film: WaitingFilm, reason: str) -> None:
        """Say in the list why a film waits, and let the others go first: it may be this one that nothing answers."""
        self._change_film(film, "reason = ?, due_at = ?", reason, self._clock())

    def note_others(self, reason: str) -> None:
        """Say in the list why all films wait that have no reason of their own."""
        with self._transaction() as database:
            database.execute("UPDATE films SET reason = ? WHERE state = 'received' AND failures = 0", (reason,))

    def _change_film(self, film: WaitingFilm, assignments: str, *values: object) -> None:
        with self._transaction() as database:
            database.execute(
                f"UPDATE films SET {assignments} WHERE id = ? AND state = 'received'",  # noqa: S608 - of this module
                (*values, film.id),
            )

    # --- delivering

    def due_deliveries(self, destination: str, *, limit: int) -> list[WaitingDelivery]:
        """Return results that wait for a destination, the oldest first; those that were tried come last."""
        with self._lock:
            rows = self._database.execute(
                "SELECT film, name, kind, destination, deliveries.failures"
                " FROM deliveries JOIN films ON films.id = film"
                " WHERE destination = ? AND deliveries.state = 'waiting' AND deliveries.due_at <= ?"
                " ORDER BY deliveries.due_at, film, kind LIMIT ?",
                (destination, self._clock(), limit),
            )
            return [WaitingDelivery(**dict(row)) for row in rows]

    def read_result(self, delivery: WaitingDelivery) -> bytes | None:
        """Return a result's file, or None where the operator has discarded it."""
        return self._files.read(delivery.name, delivery.kind)

    def delivered(self, delivery: WaitingDelivery) -> None:
        """Record that a destination has a result; the last one of a film erases its files."""
        now = self._clock()
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET state = 'delivered', changed_at = ?, reason = ''"
                " WHERE film = ? AND kind = ? AND destination = ?",
                (now, delivery.film, delivery.kind, delivery.destination),
            )
            done = database.execute(
                "UPDATE films SET state = 'delivered', changed_at = ? WHERE id = ? AND state = 'screened'"
                " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE film = films.id AND state != 'delivered')",
                (now, delivery.film),
            ).rowcount
        if done:
            self._files.erase(delivery.name)

    def delivery_failed(self, delivery: WaitingDelivery, reason: str) -> None:
        """Put a result aside for the operator."""
        assignments = "state = 'failed', failures = failures + 1, reason = ?, changed_at = ?"
        self._change_delivery(delivery, assignments, reason, self._clock())

    def postpone_delivery(self, delivery: WaitingDelivery, reason: str, *, wait_s: float) -> None:
        """Have a result sent again later."""
        assignments = "failures = failures + 1, reason = ?, due_at = ?"
        self._change_delivery(delivery, assignments, reason, self._clock() + wait_s)

    def note_delivery(self, delivery: WaitingDelivery, reason: str) -> None:
        """Say in the list why a result waits, and let the others go first: it may be this one that nothing answers."""
        self._change_delivery(delivery, "reason = ?, due_at = ?", reason, self._clock())

    def note_other_deliveries(self, destination: str, reason: str) -> None:
        """Say in the list why all results wait for a destination that have no reason of their own."""
        with self._transaction() as database:
            database.execute(
                "UPDATE deliveries SET reason = ? WHERE destination = ? AND state = 'waiting' AND failures = 0",
                (reason, destination),
            )

    def _change_delivery(self, delivery: WaitingDelivery, assignments: str, *values: object) -> None:
        with self._transaction() as database:
            database.execute(
                f"UPDATE deliveries SET {assignments}"  # noqa: S608 - of this module
                " WHERE film = ? AND kind = ? AND destination = ? AND state = 'waiting'",
                (*values, delivery.film, delivery.kind, delivery.destination),
            )

    # --- the operator's

    def entries(self, *, delivered: bool = False) -> list[Entry]:
        """Return what waits or failed: films that are not screened yet, and results that are not delivered.

        Args:
            delivered: Also films of which every result was delivered.
        """
        with self._lock:
            rows = self._database.execute(
                "SELECT id AS film, state, '' AS kind, '' AS destination, changed_at, failures, sender,"
                " sop_instance_uid, reason FROM films"
                " WHERE state IN ('received', 'failed') OR (state = 'delivered' AND ?)"
                " UNION ALL SELECT film, deliveries.state, kind, destination, deliveries.changed_at,"
                " deliveries.failures, sender, sop_instance_uid, deliveries.reason"
                " FROM deliveries JOIN films ON films.id = film WHERE deliveries.state != 'delivered'"
                " ORDER BY 1, 3, 4",
                (delivered,),
            )
            return [Entry(**dict(row)) for row in rows]

    def retry(self, film: int | None = None) -> int:
        """Have what failed or waits tried again at once, of one film or of all; return how many of them."""
        again = (
            "failures = 0, due_at = 0, reason = '', changed_at = CASE state WHEN 'failed' THEN :now ELSE changed_at END"
        )
        values = {"now": self._clock(), "film": film}
        with self._transaction() as database:
            films = database.execute(
                f"UPDATE films SET {again}, state = 'received'"  # noqa: S608 - of this module
                " WHERE state IN ('failed', 'received') AND id = ifnull(:film, id)",
                values,
            ).rowcount
            deliveries = database.execute(
                f"UPDATE deliveries SET {again}, state = 'waiting'"  # noqa: S608 - of this module
                " WHERE state IN ('failed', 'waiting') AND film = ifnull(:film, film)",
                values,
            ).rowcount
            database.execute("INSERT OR REPLACE INTO wishes (wish, at) VALUES ('retry', :now)", values)
        return films + deliveries

    def retry_asked_at(self) -> float:
        """Return when the operator last asked for a retry, in seconds since the epoch; 0 for never."""
        with self._lock:
            row = self._database.execute("SELECT at FROM wishes WHERE wish = 'retry'").fetchone()
        return 0.0 if row is None else float(row["at"])

    def discard(self, film: int) -> str | None:
        """Forget a film, with its files and results; return the state that it was in, None where there was none."""
        with self._transaction() as database:
            row = database.execute("SELECT name, state FROM films WHERE id = ?", (film,)).fetchone()
            database.execute("DELETE FROM films WHERE id = ?", (film,))
        if row is None:
            return None
        self._files.erase(row["name"])
        return str(row["state"])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._database:  # which commits, or rolls back, also where the commit fails
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
