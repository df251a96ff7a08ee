"""Networks for tests: untrained, but with activations of a trained network's size."""

from pathlib import Path

import torch
from torch import nn

from handler.network import PneumoniaNet


def lively_network(seed: int, *, resolution_px: int = 224) -> PneumoniaNet:
    """Return an untrained network in evaluation mode whose batch norms know its own activations.

    Fresh batch norms assume a variance of one, and 52 layers later nothing is left of the film: every comparison of
    such a network's logits holds.
    """
    torch.manual_seed(seed)
    net = PneumoniaNet(dropout=0.0, resolution_px=resolution_px)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randint(0, 256, (4, 1, 224, 224), dtype=torch.uint8))
    return net.eval()


def save_checkpoint(net: PneumoniaNet, path: Path) -> None:
    """Write a network as a run's checkpoint holds it."""
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "resolution_px": net.resolution_px}, path)
