import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from handler.engine import Engine
from tests.networks import lively_network, save_checkpoint
from training.errors import ArtefactError
from training.learn.export import TOLERANCE, export_onnx, exported_net, parity, save_weights

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # raised inside torch.export


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return weights and ONNX file of an untrained network."""
    folder = tmp_path_factory.mktemp("exported")
    weights, path = folder / "pneumonia.safetensors", folder / "pneumonia.onnx"
    save_network(weights, seed=0)
    export_onnx(weights, path)
    return weights, path


def save_network(weights: Path, *, seed: int, resolution_px: int = 224) -> None:
    """Write an untrained network's weights as a run's checkpoint would be written."""
    checkpoint = weights.with_suffix(".ckpt")
    save_checkpoint(lively_network(seed, resolution_px=resolution_px), checkpoint)
    save_weights(checkpoint, weights)


def test_onnx_runtime_agrees_with_torch(exported: tuple[Path, Path]) -> None:
    assert parity(*exported) < TOLERANCE


def test_batch_is_dynamic_and_items_do_not_see_each_other(exported: tuple[Path, Path]) -> None:
    engine = Engine(exported[1], exact=True)
    films = np.random.default_rng(1).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    together = engine.explain(films)
    assert together.logits.shape == (3, 2)
    assert together.features.shape == (3, 1280)
    assert together.activation_map.shape == (3, 7, 7)
    np.testing.assert_allclose(together.logits[1:2], engine.logits(films[1:2]), atol=1e-5)


def test_export_is_reproducible_and_tells_nothing_of_the_machine(exported: tuple[Path, Path], tmp_path: Path) -> None:
    weights, path = exported
    export_onnx(weights, tmp_path / "again.onnx")
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, tmp_path / "again.onnx")}
    assert len(digests) == 1
    assert b".py" not in path.read_bytes()
    onnx.checker.check_model(path)


def test_resolution_goes_with_the_weights(tmp_path: Path) -> None:
    weights, path = tmp_path / "pneumonia.safetensors", tmp_path / "pneumonia.onnx"
    save_network(weights, seed=0, resolution_px=128)
    assert exported_net(weights).resolution_px == 128
    export_onnx(weights, path)
    assert parity(weights, path) < TOLERANCE
    films = np.zeros((2, 224, 224), dtype=np.uint8)
    assert Engine(path).explain(films).activation_map.shape == (2, 4, 4)


def test_parity_refuses_another_models_graph(exported: tuple[Path, Path], tmp_path: Path) -> None:
    save_network(tmp_path / "other.safetensors", seed=5)
    with pytest.raises(ArtefactError, match="logits differ from torch"):
        parity(tmp_path / "other.safetensors", exported[1])


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_missing_or_corrupt_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "last.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"last\.ckpt: not a checkpoint of this network"):
        save_weights(path, tmp_path / "out.safetensors")


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"none\.safetensors: not this network"):
        exported_net(tmp_path / "none.safetensors")
