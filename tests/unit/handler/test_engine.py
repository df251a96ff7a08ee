import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from handler.contract import Calibration
from handler.engine import Engine, starts_in_float
from handler.openvino_runtime import ov
from handler.screening import probabilities
from tests.films import reference_pixels
from tests.models import write_model


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(write_model(tmp_path / "pneumonia.onnx"))


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_have_the_shapes_of_the_batch(engine: Engine, batch: int) -> None:
    films = np.zeros((batch, 224, 224), dtype=np.uint8)
    outputs = engine.explain(films)
    assert engine.logits(films).shape == outputs.logits.shape == (batch, 2)
    assert outputs.features.shape == (batch, 1280)
    assert outputs.activation_map.shape == (batch, 7, 7)
    assert {outputs.logits.dtype, outputs.features.dtype, outputs.activation_map.dtype} == {np.dtype(np.float32)}


ENDED_IN_ANOTHER_THREAD = """
import signal, sys, threading
from pathlib import Path
from handler.engine import Engine

engines = [Engine(Path(sys.argv[1]))]
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
ending = threading.Thread(target=engines.clear)
ending.start()
ending.join()
signal.raise_signal(signal.SIGUSR1)
"""


def test_signal_is_handled_after_another_thread_ended_the_engine(tmp_path: Path) -> None:
    model = write_model(tmp_path / "pneumonia.onnx")
    command = [sys.executable, "-c", ENDED_IN_ANOTHER_THREAD, str(model)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "handled\n"


def test_each_film_of_a_batch_is_scored_by_itself(engine: Engine) -> None:
    films = np.random.default_rng(0).integers(0, 256, size=(4, 224, 224), dtype=np.uint8)
    together = engine.logits(films)
    single = np.concatenate([engine.logits(film[None]) for film in films])
    assert together == pytest.approx(single, abs=1e-6)


def test_served_precision_moves_the_shipped_model_little() -> None:
    path = Path("model_store/pneumonia.onnx")
    uncalibrated, films = Calibration(temperature=1.0, bias=0.0), reference_pixels()
    exact, served = (
        probabilities(Engine(path, exact=precision).logits(films), uncalibrated) for precision in (True, False)
    )
    assert np.abs(served - exact).mean() <= 0.01


def test_two_threads_may_run_films_at_once(tmp_path: Path) -> None:
    engine = Engine(write_model(tmp_path / "pneumonia.onnx"), threads=2)
    films = np.random.default_rng(0).integers(0, 256, size=(32, 1, 224, 224), dtype=np.uint8)
    with ThreadPoolExecutor(2) as pool:
        at_once = np.concatenate(list(pool.map(engine.logits, films)))
    assert at_once == pytest.approx(engine.logits(films[:, 0]), abs=1e-6)


@pytest.mark.parametrize("exact", [True, False])
def test_lone_film_gets_the_same_answer(*, exact: bool) -> None:
    engine, films = Engine(Path("model_store/pneumonia.onnx"), exact=exact, lone_threads=2), reference_pixels()
    assert engine.logits(films, lone=True) == pytest.approx(engine.logits(films), abs=1e-4)


def test_explanation_has_the_logits_that_are_served() -> None:
    engine, films = Engine(Path("model_store/pneumonia.onnx"), exact=True), reference_pixels()
    assert engine.explain(films).logits == pytest.approx(engine.logits(films), abs=1e-4)


def test_first_layers_of_the_compiled_model_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    compiled: list[ov.CompiledModel] = []

    def seen(model: ov.CompiledModel) -> bool:
        compiled.append(model)
        return starts_in_float(model)

    monkeypatch.setattr("handler.engine.starts_in_float", seen)
    Engine(Path("model_store/pneumonia.onnx"))
    (model,) = compiled
    precisions = {op.get_rt_info()["runtimePrecision"].value for op in model.get_runtime_model().get_ordered_ops()}
    assert "bf16" in precisions  # the later ones are rounded, so the check had something to find
    assert starts_in_float(model)


def test_model_whose_first_layers_are_rounded_is_served_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    path, films = Path("model_store/pneumonia.onnx"), reference_pixels()
    monkeypatch.setattr("handler.engine.starts_in_float", lambda _: False)
    assert Engine(path).logits(films) == pytest.approx(Engine(path, exact=True).logits(films), abs=1e-4)


def test_outputs_outlive_the_next_film(engine: Engine) -> None:
    films = np.random.default_rng(0).integers(0, 256, size=(2, 1, 224, 224), dtype=np.uint8)
    first = engine.logits(films[0])
    before = first.copy()
    engine.logits(films[1])
    assert np.array_equal(first, before)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pneumonia.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match="Unable to read the model"):
        Engine(tmp_path / "pneumonia.onnx")
