from pathlib import Path

import numpy as np
import pytest
import torch

from handler.contract import ModelContract
from handler.engine import Engine
from handler.screening import decide, probabilities
from handler.torch_engine import TorchEngine, usable_gpu
from tests.films import reference_pixels

STORE = Path("model_store")


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    """Return the shipped weights in half precision, as on a GPU, on the CPU."""
    return TorchEngine(STORE / "pneumonia.safetensors", torch.device("cpu"))


def test_outputs_have_the_shapes_of_the_batch(engine: TorchEngine) -> None:
    outputs = engine.explain(np.zeros((3, 224, 224), dtype=np.uint8))
    assert outputs.logits.shape == (3, 2)
    assert outputs.features.shape == (3, 1280)
    assert outputs.activation_map.shape == (3, 5, 5)  # of 160 pixels, halved five times
    assert {outputs.logits.dtype, outputs.features.dtype, outputs.activation_map.dtype} == {np.dtype(np.float32)}


def test_decisions_are_those_of_the_cpu(engine: TorchEngine) -> None:
    contract = ModelContract.load(STORE / "contract.json")
    films = reference_pixels()
    on_cpu = Engine(STORE / "pneumonia.onnx", exact=True).logits(films)
    exact, half = (probabilities(logits, contract.calibration) for logits in (on_cpu, engine.logits(films)))
    assert np.abs(half - exact).max() <= 0.01
    for point in contract.operating_points:
        assert (decide(half, point.threshold) == decide(exact, point.threshold)).all()


@pytest.mark.parametrize("available", [True, False])
def test_gpu_is_used_where_torch_can(monkeypatch: pytest.MonkeyPatch, *, available: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: available)
    assert usable_gpu(1) == (torch.device("cuda", 1) if available else None)
