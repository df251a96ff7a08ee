import logging
from pathlib import Path

import pytest

from bench import stages
from bench.films import BenchFilm
from tests.films import grey, jpeg
from tests.models import write_model_store


@pytest.mark.parametrize("alone", [True, False])
def test_parts_are_timed_in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> None:
    write_model_store(tmp_path)
    monkeypatch.setattr(stages, "MODEL_STORE", tmp_path)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)  # the handler sets it
    films = [BenchFilm(f"{seed}.jpeg", jpeg(grey(300, 200, seed=seed))) for seed in range(2)]
    told = stages.measure(films, 0.2, alone=alone)
    assert min(told.form, told.jpeg, told.decode, told.engine, told.handle) > 0
