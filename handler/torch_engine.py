"""The model itself on a GPU: the network in torch, in half precision, whole batches at once."""

from pathlib import Path

import torch

from handler.engine import Explanation, Films, Outputs, Seen
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

    def logits(self, films: Films, *, lone: bool = False) -> Outputs:
        """Return the logits (B, 2) of films, as `screen` does."""
        return self.screen(films, lone=lone).logits

    def screen(self, films: Films, *, lone: bool = False) -> Seen:  # noqa: ARG002  (as `Engine.screen`)
        """Return logits and statistics of grey films (B, 224, 224), 0 to 255; a batch always has the whole device."""
        return Seen.of(self._outputs(films))

    def explain(self, films: Films, *, lone: bool = False) -> Explanation:  # noqa: ARG002  (as `Engine.explain`)
        """Return logits, statistics and class-activation maps of grey films (B, 224, 224), 0 to 255."""
        return Explanation.of(self._outputs(films))

    def _outputs(self, films: Films) -> dict[str, Outputs]:
        with torch.inference_mode():
            outputs = self._graph(torch.from_numpy(films).to(self._device))._asdict()
        return {name: _on_host(value) for name, value in outputs.items()}


def _on_host(values: torch.Tensor) -> Outputs:
    on_host: Outputs = values.float().cpu().numpy()
    return on_host


def usable_gpu(gpu_id: int) -> torch.device | None:
    """Return the GPU that TorchServe gave a worker, or None where this build of torch cannot use it."""
    return torch.device("cuda", gpu_id) if torch.cuda.is_available() else None
