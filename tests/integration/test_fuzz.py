import os
import subprocess
import sys
from pathlib import Path

from handler.imaging import decode
from tests.fuzz.seeds import seeds


def test_every_seed_is_a_film_that_is_read() -> None:
    kinds = {decode(seed).facts.kind for seed in seeds()}
    assert kinds == {"JPEG", "12-bit JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000", "PNG", "DICOM"}


def test_a_short_fuzzing_finds_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "-max_total_time=15"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Done" in result.stderr
    assert not list(tmp_path.iterdir()), "the next run would begin with what this one found"
