"""python -m tests.fuzz.target [libFuzzer's options] CORPUS: what `python -m tests.fuzz` runs.

A process of its own, because libFuzzer ends the one that it runs in.
"""

import contextlib
import struct
import sys
import zlib

import atheris

with atheris.instrument_imports(include=["handler", "pydicom"]):
    from handler.errors import FilmError
    from handler.imaging import decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check(data: bytes) -> None:
    """Decode one input: anything but a film or a `FilmError` ends the fuzzing."""
    with contextlib.suppress(FilmError):
        decode(data)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Return another input; a PNG's checksums are set right nine times in ten, or nothing would get past them."""
    mutated: bytes = atheris.Mutate(data, max_size)
    if not mutated.startswith(SIGNATURE) or seed % 10 == 0:
        return mutated
    return with_right_checksums(mutated)[:max_size]


def with_right_checksums(data: bytes) -> bytes:
    """Return a PNG with the checksum of each of its chunks set right, as far as it has whole ones."""
    chunks, place = [data[: len(SIGNATURE)]], len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        chunks += [data[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
        place += 12 + length
    return b"".join(chunks)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check, custom_mutator=mutate)
    atheris.Fuzz()
