"""MobileNetV2 for two classes in torch, and the graph that is served: what training learns and a GPU worker runs."""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor, nn

from handler.imaging import INPUT_PX
from handler.torchvision_operators import declare_missing

declare_missing()

from torchvision.models import mobilenet_v2  # noqa: E402

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB channels in [0, 1]: what the pretrained backbone expects."""


class PneumoniaNet(nn.Module):
    """torchvision's MobileNetV2 with global average pooling, dropout and one linear layer of 2, on grey films.

    The backbone sees the film at `resolution_px`: resampled inside the graph, it needs no decoding of its own.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    """

    scale: Tensor
    shift: Tensor
    resample: Tensor

    def __init__(self, *, dropout: float, resolution_px: int = INPUT_PX) -> None:
        super().__init__()
        self.resolution_px = resolution_px
        self.mobilenet = mobilenet_v2(num_classes=2, dropout=dropout)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.register_buffer("scale", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.register_buffer("resample", _resampling(resolution_px), persistent=False)

    def forward(self, films: Tensor) -> Tensor:
        """Return logits (B, 2) of grey films (B, 1, 224, 224), uint8."""
        pixels = self.normalise(films).to(self.mobilenet.classifier[-1].weight.dtype)  # half on a GPU
        logits: Tensor = self.mobilenet(pixels)
        return logits

    def normalise(self, films: Tensor) -> Tensor:
        """Return uint8 grey films (B, 1, 224, 224) as normalised float RGB (B, 3, resolution_px, resolution_px)."""
        grey = films.float()
        if self.resolution_px != INPUT_PX:
            grey = self.resample @ grey @ self.resample.T
        # A product and a sum: OpenVINO replaces a quotient or a difference, and what it puts there may be rounded.
        return grey * self.scale + self.shift


class GraphOutputs(NamedTuple):
    """What the exported graph gives for a batch, float32."""

    logits: Tensor
    """(B, 2)."""
    features: Tensor
    """(B, 1280)."""
    activation_map: Tensor
    """(B, S, S), S being the 32nd part of the network's resolution."""
    stage_4: Tensor
    """(B, 64, 2S, 2S), the activations at the end of this stage of the backbone: what `handler.gate` judges."""
    stage_5: Tensor
    """(B, 96, 2S, 2S)."""
    stage_6: Tensor
    """(B, 160, S, S)."""


STAGE_ENDS = (10, 13, 16)
"""Blocks that end the stages whose activations the graph gives: the last with residuals of 64, 96 and 160 channels."""


class ServedGraph(nn.Module):
    """The network as it is served: uint8 films in; logits, features, the class-activation map and more of one pass.

    With global average pooling and one linear layer the map is exact: its mean plus the difference of the biases is
    the difference of the logits.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """

    def __init__(self, net: PneumoniaNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, films: Tensor) -> GraphOutputs:
        """Run on grey films (B, 224, 224), uint8."""
        head = self.net.mobilenet.classifier[-1]
        pixels = self.net.normalise(films.unsqueeze(1)).to(head.weight.dtype)  # half on a GPU
        stages, places = [], pixels
        for number, block in enumerate(self.net.mobilenet.features):
            places = block(places)
            if number in STAGE_ENDS:
                stages.append(places)
        # places: (B, 1280, S, S)
        features = places.mean(dim=(2, 3))  # (B, 1280)
        weights = (head.weight[1] - head.weight[0]).view(1, -1, 1, 1)  # (1, 1280, 1, 1)
        activation_map = (places * weights).sum(dim=1)
        return GraphOutputs(head(features), features, activation_map, *stages)


def _resampling(side_px: int) -> Tensor:
    """Return the matrix (side_px, 224) that resamples each column of a film: linear, with antialiasing."""
    identity = torch.eye(INPUT_PX).view(1, 1, INPUT_PX, INPUT_PX)
    return F.interpolate(identity, size=(side_px, INPUT_PX), mode="bilinear", antialias=True)[0, 0]


def load_net(weights: Path) -> PneumoniaNet:
    """Return the network of a weights file that `training.learn.export` wrote, in float32 and evaluation mode.

    Raises:
        OSError, SafetensorError, KeyError, ValueError, RuntimeError: it is missing, corrupt or of another model.
    """
    with safe_open(weights, framework="pt") as file:
        net = PneumoniaNet(dropout=0.0, resolution_px=int((file.metadata() or {})["resolution_px"]))
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return net.eval()
