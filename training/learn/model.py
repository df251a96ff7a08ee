"""What training does to the network of `handler.network`: ImageNet's weights at first, and parts that do not learn."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights

from handler.network import PneumoniaNet
from training.errors import ArtefactError


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
        state = _read(weights)
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    try:
        net.mobilenet.load_state_dict(features, strict=False)
    except RuntimeError as exc:
        raise ArtefactError(f"{weights}: not MobileNetV2's weights: {exc}") from exc
    absent = net.mobilenet.features.state_dict(prefix="features.").keys() - features.keys()
    if absent:
        raise ArtefactError(f"{weights}: not MobileNetV2's weights: {min(absent)} is missing")


def _read(weights: Path) -> dict[str, Tensor]:
    try:
        return load_file(weights)
    except (OSError, SafetensorError) as exc:
        raise ArtefactError(f"{weights}: cannot be read as safetensors: {exc}") from exc


def freeze(net: PneumoniaNet, *, trainable_blocks: int) -> list[nn.Module]:
    """Let only the last `trainable_blocks` feature blocks and the classifier learn; return the frozen blocks.

    The caller keeps the frozen blocks in evaluation mode, or their batch norms would drift.
    """
    blocks = list(net.mobilenet.features)
    frozen = blocks[: len(blocks) - trainable_blocks]
    for block in frozen:
        block.requires_grad_(requires_grad=False)
    return frozen
