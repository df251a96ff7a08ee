"""Worklists for tests: archives as nobody should make them, and the tables that come of them."""

import csv
import struct
import sys
import zipfile
import zlib
from pathlib import Path

from tests.films import grey, jpeg


def command(worklist: Path | str, out: Path, store: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "batch", str(worklist), "--out", str(out), "--model-store", str(store),
        "--workers", "2", *options,
    ]  # fmt: skip


def film(level: int = 120, seed: int = 0) -> bytes:
    """Return a small film; one of a higher level is the more urgent one for the tests' model."""
    return jpeg(grey(level=level, seed=seed))


def write_films(folder: Path, count: int) -> Path:
    """Write so many films, from dark to bright, to a new folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04d}.jpeg").write_bytes(film(40 + 170 * number // count, seed=number))
    return folder


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a ZIP archive with these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_flags(path: Path, flags: int) -> Path:
    """Set the flags of an archive's members, such as 1 for encrypted."""
    return _patched(path, b"PK\x01\x02", 8, struct.pack("<H", flags))


def with_declared_size(path: Path, size: int) -> Path:
    """Have an archive's directory declare another size of its members."""
    return _patched(path, b"PK\x01\x02", 24, struct.pack("<I", size))


def with_overlap(path: Path, packed: bytes, size: int, crc: int, names: int) -> Path:
    """Write an archive whose directory has so many names for the same data (as bombs have; Fifield, 2019)."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(packed), size, 1, 0) + b"x"
    entries = b"".join(
        struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(packed), size, 1, 0, 0, 0, 0, 0, 0
        )
        + b"abcdefgh"[number : number + 1]
        for number in range(names)
    )
    start = len(local) + len(packed)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, names, names, len(entries), start, 0)
    path.write_bytes(local + packed + entries + end)
    return path


def deflated(content: bytes) -> bytes:
    """Return content as ZIP packs it."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return pack.compress(content) + pack.flush()


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table of results."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _patched(path: Path, record: bytes, offset: int, value: bytes) -> Path:
    content = bytearray(path.read_bytes())
    at = content.find(record)
    while at >= 0:
        content[at + offset : at + offset + len(value)] = value
        at = content.find(record, at + 1)
    path.write_bytes(content)
    return path
