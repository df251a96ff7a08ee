"""The model itself on a GPU: the network in torch, in half precision, whole batches at once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from handler.engine import Outputs
from handler.network import ServedGraph, load_net


class TorchEngine:
    """The exported network on a device that torch drives.

    Rounding to half precision moves p_pneumonia by less than a thousandth; on a CPU it is for tests only.

    Args:
        weights: `pneumonia.safetensors`.
        device: Where it runs.

    Raises:
        OSError, SafetensorError, KeyError, ValueError, RuntimeError: The weights are missing, corrupt or of another
            model, or the device cannot be used.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        net = load_net(weights)
        net.mobilenet.half()
        self._device = device
        net.mobilenet.to(memory_format=torch.channels_last)
        self._graph = ServedGraph(net).eval().to(device)

    def run(self, films: npt.NDArray[np.uint8], *, alone: bool = False) -> Outputs:  # noqa: ARG002  (as `Engine.run`)
        """Run the model on grey films (B, 224, 224), 0 to 255; a batch always has the whole device."""
        with torch.inference_mode():
            served = self._graph(torch.from_numpy(films).to(self._device))
        return Outputs(
            logits=served.logits.float().cpu().numpy(),
            features=served.features.float().cpu().numpy(),
            activation_map=served.activation_map.float().cpu().numpy(),
        )


def usable_gpu(gpu_id: int) -> torch.device | None:
    """Return the GPU that TorchServe gave a worker, or None where this build of torch cannot use it."""
    return torch.device("cuda", gpu_id) if torch.cuda.is_available() else None
