"""python -m training.learn.export --run DIR [--model-store DIR]

Turn a run's model into the artefacts that are shipped: `pneumonia.safetensors` (weights at half precision)
and `pneumonia.onnx`, made from those same rounded weights and checked against torch. The contract is the work of
`training.evaluate.calibrate`.
"""

import logging
import pickle
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from handler.engine import Engine
from handler.imaging import INPUT_PX
from handler.network import GraphOutputs, PneumoniaNet, ServedGraph, load_net
from training import cli
from training.errors import ArtefactError

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of a logit between torch and the engine in float32."""


def main() -> None:
    """Parse the command line and export."""
    parser = cli.parser(__doc__, "--run", "--model-store")
    args = parser.parse_args()
    weights, graph = args.model_store / "pneumonia.safetensors", args.model_store / "pneumonia.onnx"
    save_weights(args.run / "last.ckpt", weights)
    export_onnx(weights, graph)
    logger.info("%s and %s: torch and the engine differ by %.1e at most", weights, graph, parity(weights, graph))


def load_checkpoint(checkpoint: Path) -> PneumoniaNet:
    """Return the network of a run's checkpoint, in evaluation mode.

    Raises:
        ArtefactError: the checkpoint is missing, corrupt or of another model.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
        net, state = PneumoniaNet(dropout=0.0, resolution_px=saved["resolution_px"]), saved["state_dict"]
        net.load_state_dict({key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")})
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as exc:
        raise ArtefactError(f"{checkpoint}: not a checkpoint of this network: {exc}") from exc
    return net.eval()


def save_weights(checkpoint: Path, path: Path) -> None:
    """Write a checkpoint's network as safetensors, floating-point values at half precision.

    Raises:
        ArtefactError: the checkpoint is missing, corrupt or of another model.
    """
    net = load_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: _half(value) for key, value in net.state_dict().items()}
    save_file(state, path, metadata={"resolution_px": str(net.resolution_px)})


def exported_net(weights: Path) -> PneumoniaNet:
    """Return the network of a weights file that `save_weights` wrote, in evaluation mode.

    Raises:
        ArtefactError: the file is missing, corrupt or of another model.
    """
    try:
        return load_net(weights)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as exc:
        raise ArtefactError(f"{weights}: not this network's weights: {exc}") from exc


def export_onnx(weights: Path, path: Path) -> None:
    """Write the served graph as one ONNX file with a dynamic batch.

    Raises:
        ArtefactError: the weights file is missing, corrupt or of another model.
    """
    films = torch.zeros(2, INPUT_PX, INPUT_PX, dtype=torch.uint8)
    torch.onnx.export(
        ServedGraph(exported_net(weights)).eval(),
        (films,),
        path,
        input_names=["films"],
        output_names=list(GraphOutputs._fields),
        dynamic_shapes={"films": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    _strip_metadata(path)


def _strip_metadata(path: Path) -> None:
    """Remove what the exporter notes of its source code: stack traces with paths, the same for no two machines."""
    model = onnx.load(path)
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output)
    for part in parts:
        del part.metadata_props[:]
    onnx.save(model, path)


def parity(weights: Path, path: Path) -> float:
    """Return the largest difference of a logit between torch and the engine in float32, over batches of noise.

    Raises:
        ArtefactError: it exceeds TOLERANCE.
    """
    graph, engine = ServedGraph(exported_net(weights)).eval(), Engine(path, exact=True)
    noise = np.random.default_rng(0)
    worst = 0.0
    for batch in (1, 5):
        films = noise.integers(0, 256, (batch, INPUT_PX, INPUT_PX), dtype=np.uint8)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(films)).logits.numpy()
        worst = max(worst, float(np.abs(engine.logits(films) - expected).max()))
    if worst > TOLERANCE:
        raise ArtefactError(f"{path}: logits differ from torch by {worst:.1e}, at most {TOLERANCE} is allowed")
    return worst


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


if __name__ == "__main__":
    cli.run(main)
