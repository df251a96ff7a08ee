"""Starts that cannot succeed end soon, and say in one line why: the same that `make chaos` measures."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.bad_starts import BAD_STARTS, attempt
from tests.e2e.service import START_TIMEOUT_S


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Unix sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="bad-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.parametrize("name", BAD_STARTS)
def test_start_that_cannot_succeed_says_why_in_one_line(name: str, folder: Path) -> None:
    start = BAD_STARTS[name]
    made = attempt(start, folder)
    if made is None:
        pytest.skip("this system does not let it be made so")
    assert made.status in {1, 2}, made
    assert made.seconds < START_TIMEOUT_S
    assert start.words in made.lines[0], made.lines
    assert len(made.lines) == 1
    assert made.lines[0].startswith("error: ")
    assert not (folder / "run").exists() or name.endswith("disk")  # a mounted folder cannot be removed
