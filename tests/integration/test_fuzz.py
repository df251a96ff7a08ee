import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from handler.errors import FilmError
from handler.imaging import decode
from tests.fuzz.seeds import seeds

REGRESSIONS = sorted(Path("tests/fuzz/regressions").iterdir())


def test_every_seed_is_a_film_that_is_read() -> None:
    kinds = {decode(seed).facts.kind for seed in seeds()}
    assert kinds == {"JPEG", "12-bit JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000", "PNG", "DICOM"}


def test_a_short_fuzzing_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "-max_total_time=15"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    assert "Done" in told.stderr


@pytest.mark.parametrize("path", REGRESSIONS, ids=[path.name for path in REGRESSIONS])
def test_what_the_fuzzing_once_found_is_read_or_refused(path: Path) -> None:
    with contextlib.suppress(FilmError):
        decode(path.read_bytes())
