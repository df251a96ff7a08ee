"""python -m tests.fuzz [libFuzzer's options]: coverage-guided fuzzing of the decoding, over every format.

Every input must be decoded, or refused by a `FilmError`, within seconds and a bounded memory. What fails is written to
build/fuzz; once it is mended, it belongs into tests/fuzz/regressions.
"""

import contextlib
import struct
import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["handler", "pydicom"]):
    from handler.errors import FilmError
    from handler.imaging import decode

from tests.fuzz.seeds import seeds

CORPUS = Path("build/fuzz/corpus")
LIMITS = ("-timeout=10", "-rss_limit_mb=2000", "-max_len=40000", f"-artifact_prefix={CORPUS.parent}/")
"""Of one input: seconds, on a busy machine; the process's memory; bytes."""
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


def main() -> None:
    """Write the seeds, and fuzz until libFuzzer's limits or a failure."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (CORPUS / f"seed-{number:02d}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], str(CORPUS)], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
