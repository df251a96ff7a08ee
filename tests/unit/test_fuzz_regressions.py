import contextlib
from pathlib import Path

import pytest

from handler.errors import FilmError
from handler.imaging import decode
from tests.fuzz.seeds import regressions


@pytest.mark.parametrize("path", regressions(), ids=lambda path: path.name)
def test_what_once_broke_the_decoding_is_read_or_refused(path: Path) -> None:
    with contextlib.suppress(FilmError):
        decode(path.read_bytes())


@pytest.mark.parametrize("path", regressions(), ids=lambda path: path.name)
def test_regression_is_small(path: Path) -> None:
    assert path.stat().st_size <= 20_000, "make it smaller first"
