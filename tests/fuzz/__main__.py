"""python -m tests.fuzz [libFuzzer's options]: coverage-guided fuzzing of the decoding, over every format.

Every input must be decoded, or refused by a `FilmError`, within seconds and a bounded memory. What fails is written to
build/fuzz; once it is mended, it belongs into tests/fuzz/regressions. Each run begins with the same inputs, in a folder
of its own that is removed at the end: what one run found does not change what the next one tries.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import regressions, seeds

FAILURES = Path("build/fuzz")
LIMITS = ("-timeout=10", "-rss_limit_mb=2000", "-max_len=40000", f"-artifact_prefix={FAILURES}/")
"""Of one input: seconds, on a busy machine; the process's memory; bytes."""


def main() -> int:
    """Fuzz from the seeds until libFuzzer's limits or a failure; return libFuzzer's exit status."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder)
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number:02d}").write_bytes(seed)
        for path in regressions():
            (corpus / path.name).write_bytes(path.read_bytes())
        command = [sys.executable, "-m", "tests.fuzz.target", *LIMITS, *sys.argv[1:], str(corpus)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
