"""What the database of the queue holds, and what is read from it: UIDs, digests, times, reasons; no more of a film."""

from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS films (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,                 -- of its files
    sop_instance_uid TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,        -- of its files, the results' too
    sender TEXT NOT NULL,
    state TEXT NOT NULL,                -- received, screened, delivered, failed
    changed_at REAL NOT NULL,           -- seconds since the epoch
    failures INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS deliveries (
    film INTEGER NOT NULL REFERENCES films (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,                 -- of the result: sr, sc
    destination TEXT NOT NULL,
    state TEXT NOT NULL,                -- waiting, delivered, failed
    changed_at REAL NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (film, kind, destination)
);
CREATE TABLE IF NOT EXISTS wishes (     -- of the operator
    wish TEXT PRIMARY KEY,              -- retry
    at REAL NOT NULL                    -- seconds since the epoch, of the last time
);
CREATE INDEX IF NOT EXISTS films_by_state ON films (state, id);
CREATE INDEX IF NOT EXISTS deliveries_by_destination ON deliveries (destination, state, film);
"""


@dataclass(frozen=True, slots=True)
class WaitingFilm:
    """A film that is to be screened."""

    id: int
    name: str
    sop_instance_uid: str
    failures: int


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A result that is to be sent to one destination."""

    film: int
    name: str
    kind: str
    destination: str
    failures: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the operator's list: a film, or one result of it."""

    film: int
    state: str
    kind: str
    destination: str
    changed_at: float
    failures: int
    sender: str
    sop_instance_uid: str
    reason: str
