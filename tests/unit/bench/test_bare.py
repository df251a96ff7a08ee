from itertools import count
from pathlib import Path

import pytest

from bench.contenders.bare import loop
from bench.contenders.scoring import Scorer
from tests.films import grey, jpeg
from tests.models import write_model_store


def test_film_is_answered_as_the_service_does(tmp_path: Path) -> None:
    write_model_store(tmp_path)
    answer = Scorer(tmp_path).score(jpeg(grey(300, 300, level=200)))
    assert list(answer) == ["prediction", "p_pneumonia", "note"]
    assert answer["prediction"] == "PNEUMONIA"


def test_loop_lasts_its_time_and_times_each_film(tmp_path: Path) -> None:
    write_model_store(tmp_path)
    ticks = count()
    took_ms = loop(Scorer(tmp_path), [jpeg(grey(300, 300))], 0.5, clock=lambda: next(ticks) / 10)
    assert took_ms == pytest.approx([100.0] * 5)
