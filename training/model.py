"""MobileNetV2 for two classes, and the graph that is exported from it."""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from handler.imaging import INPUT_PX
from training.errors import ArtefactError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB channels in [0, 1]: what the pretrained backbone expects."""


class PneumoniaNet(nn.Module):
    """torchvision's MobileNetV2 with global average pooling, dropout and one linear layer of 2, on grey films.

    The backbone sees the film at `resolution_px`: resampled inside the graph, it needs no decoding of its own.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    """

    mean: Tensor
    std: Tensor
    resample: Tensor

    def __init__(self, *, dropout: float, resolution_px: int = INPUT_PX) -> None:
        super().__init__()
        self.resolution_px = resolution_px
        self.mobilenet = mobilenet_v2(num_classes=2, dropout=dropout)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("resample", _resampling(resolution_px), persistent=False)

    def forward(self, films: Tensor) -> Tensor:
        """Return logits (B, 2) of grey films (B, 1, 224, 224), uint8."""
        logits: Tensor = self.mobilenet(self.normalise(films))
        return logits

    def normalise(self, films: Tensor) -> Tensor:
        """Return uint8 grey films (B, 1, 224, 224) as normalised float RGB (B, 3, resolution_px, resolution_px)."""
        grey = films.float() / 255.0
        if self.resolution_px != INPUT_PX:
            grey = self.resample @ grey @ self.resample.T
        return (grey - self.mean) / self.std


class Served(NamedTuple):
    """What the exported graph gives for a batch, float32."""

    logits: Tensor
    """(B, 2)."""
    features: Tensor
    """(B, 1280)."""
    activation_map: Tensor
    """(B, S, S), S being the 32nd part of the network's resolution."""


class ServedGraph(nn.Module):
    """The network as it is served: uint8 films in; logits, features and the class-activation map out of one pass.

    With global average pooling and one linear layer the map is exact: its mean plus the difference of the biases is
    the difference of the logits.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """

    def __init__(self, net: PneumoniaNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, films: Tensor) -> Served:
        """Run on grey films (B, 224, 224), uint8."""
        places = self.net.mobilenet.features(self.net.normalise(films.unsqueeze(1)))  # (B, 1280, S, S)
        features = places.mean(dim=(2, 3))  # (B, 1280)
        head = self.net.mobilenet.classifier[-1]
        weights = (head.weight[1] - head.weight[0]).view(1, -1, 1, 1)  # (1, 1280, 1, 1)
        return Served(logits=head(features), features=features, activation_map=(places * weights).sum(dim=1))


def _resampling(side_px: int) -> Tensor:
    """Return the matrix (side_px, 224) that resamples each column of a film: linear, with antialiasing."""
    identity = torch.eye(INPUT_PX).view(1, 1, INPUT_PX, INPUT_PX)
    return F.interpolate(identity, size=(side_px, INPUT_PX), mode="bilinear", antialias=True)[0, 0]


def load_backbone(net: PneumoniaNet, weights: Path | None) -> None:
    """Load ImageNet weights into the feature blocks; the classifier stays as it was initialised.

    Args:
        net: the network to load into.
        weights: a safetensors file in torchvision's parameter names, or None for torchvision's own
            `MobileNet_V2_Weights.IMAGENET1K_V2`, downloaded at first use.

    Raises:
        ArtefactError: the file is missing, corrupt or of another model, or cannot be downloaded.
    """
    if weights is None:
        try:
            state = MobileNet_V2_Weights.IMAGENET1K_V2.get_state_dict(progress=False, check_hash=True)
        except OSError as exc:
            raise ArtefactError(f"ImageNet weights cannot be downloaded ({exc}): name a file of them") from exc
    else:
        state, _ = read_weights(weights)
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    try:
        net.mobilenet.load_state_dict(features, strict=False)
    except RuntimeError as exc:
        raise ArtefactError(f"{weights}: not MobileNetV2's weights: {exc}") from exc
    absent = net.mobilenet.features.state_dict(prefix="features.").keys() - features.keys()
    if absent:
        raise ArtefactError(f"{weights}: not MobileNetV2's weights: {min(absent)} is missing")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Raises:
        ArtefactError: it is missing or corrupt.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as exc:
        raise ArtefactError(f"{path}: cannot be read as safetensors: {exc}") from exc


def freeze(net: PneumoniaNet, *, trainable_blocks: int) -> list[nn.Module]:
    """Let only the last `trainable_blocks` feature blocks and the classifier learn; return the frozen blocks.

    The caller keeps the frozen blocks in evaluation mode, or their batch norms would drift.
    """
    blocks = list(net.mobilenet.features)
    frozen = blocks[: len(blocks) - trainable_blocks]
    for block in frozen:
        block.requires_grad_(requires_grad=False)
    return frozen
