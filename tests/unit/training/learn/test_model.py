from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from handler.network import PneumoniaNet, ServedGraph
from tests.networks import lively_network
from training.errors import ArtefactError
from training.learn.model import freeze, load_backbone


@pytest.fixture
def net() -> PneumoniaNet:
    return lively_network(seed=0)


@pytest.fixture
def films() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224), dtype=np.uint8))


def test_head_is_dropout_and_one_linear_layer_of_two() -> None:
    dropout, linear = PneumoniaNet(dropout=0.5).mobilenet.classifier
    assert (dropout.p, linear.in_features, linear.out_features) == (0.5, 1280, 2)


def test_served_logits_are_the_trained_networks(net: PneumoniaNet, films: torch.Tensor) -> None:
    with torch.inference_mode():
        assert torch.allclose(ServedGraph(net)(films).logits, net(films.unsqueeze(1)), atol=1e-5)


def test_activation_map_is_exact(net: PneumoniaNet, films: torch.Tensor) -> None:
    with torch.inference_mode():
        served = ServedGraph(net)(films)
    bias = net.mobilenet.classifier[-1].bias
    margin = served.logits[:, 1] - served.logits[:, 0]
    assert torch.allclose(served.activation_map.mean(dim=(1, 2)) + bias[1] - bias[0], margin, atol=1e-5)


def test_film_is_resampled_with_antialiasing_and_keeps_its_grey_levels() -> None:
    net = PneumoniaNet(dropout=0.0, resolution_px=128)
    film = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, 224, 224), dtype=np.uint8))
    expected = interpolate(film.float() / 255, size=(128, 128), mode="bilinear", antialias=True)
    seen = (net.normalise(film) - net.shift) / net.scale / 255
    assert seen.shape == (1, 3, 128, 128)
    assert torch.allclose(seen, expected.expand(1, 3, 128, 128), atol=1e-5)


def test_only_the_last_blocks_and_the_head_learn(net: PneumoniaNet) -> None:
    frozen = freeze(net, trainable_blocks=3)
    learning = {name.split(".")[2] for name, p in net.named_parameters() if p.requires_grad and "features" in name}
    assert len(frozen) == 16
    assert learning == {"16", "17", "18"}
    assert all(p.requires_grad for p in net.mobilenet.classifier.parameters())


def test_backbone_is_loaded_and_the_head_is_not(net: PneumoniaNet, tmp_path: Path) -> None:
    path = tmp_path / "imagenet.safetensors"
    other = PneumoniaNet(dropout=0.0)
    save_file(other.mobilenet.state_dict(), path)
    head = net.mobilenet.classifier[-1].weight.clone()
    load_backbone(net, path)
    assert torch.equal(net.mobilenet.features[0][0].weight, other.mobilenet.features[0][0].weight)
    assert torch.equal(net.mobilenet.classifier[-1].weight, head)


def test_missing_corrupt_or_foreign_weights_are_refused(net: PneumoniaNet, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ArtefactError, match=r"weights\.safetensors: cannot be read"):
        load_backbone(net, path)
    path.write_bytes(b"no tensors")
    with pytest.raises(ArtefactError, match="cannot be read as safetensors"):
        load_backbone(net, path)
    save_file({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ArtefactError, match="is missing"):
        load_backbone(net, path)
    save_file({"features.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ArtefactError, match="not MobileNetV2's weights"):
        load_backbone(net, path)
