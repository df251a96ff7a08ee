import sys

import pytest

from bench import children
from bench.children import json_of
from bench.errors import LoadError


def test_answer_of_a_command_is_read() -> None:
    assert json_of([sys.executable, "-c", "print('{\"took_ms\": [1.5]}')"], 1) == {"took_ms": [1.5]}


@pytest.mark.parametrize(
    ("code", "told"), [("raise SystemExit('out of films')", "out of films"), ("print('no JSON')", "failed")]
)
def test_failure_is_told_with_its_last_words(code: str, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        json_of([sys.executable, "-c", code], 1)


def test_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "START_S", 0.2)
    with pytest.raises(LoadError, match="timed out"):
        json_of([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
