from pathlib import Path

from bench.contenders.bare import loop
from bench.contenders.scoring import Scorer
from tests.films import grey, jpeg
from tests.models import write_model_store


def test_film_is_answered_as_the_service_does(tmp_path: Path) -> None:
    write_model_store(tmp_path)
    answer = Scorer(tmp_path).score(jpeg(grey(300, 300, level=200)))
    assert list(answer) == ["prediction", "p_pneumonia", "note"]
    assert answer["prediction"] == "PNEUMONIA"


def test_loop_tells_what_each_film_took(tmp_path: Path) -> None:
    write_model_store(tmp_path)
    took_ms = loop(Scorer(tmp_path), [jpeg(grey(300, 300))], 0.1)
    assert len(took_ms) > 1
    assert 80 < sum(took_ms) < 1000
