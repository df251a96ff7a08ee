"""The model itself: one ONNX graph in OpenVINO, on the CPU.

Where the processor multiplies bfloat16 (AVX512-BF16, AMX), so does the model, but for the first layers, in half the
time of float32; elsewhere it runs in float32. No decision hangs on it: `training.parity` measures that.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import openvino as ov

FLOAT_CONVOLUTIONS = 2
"""The first convolutions, which stay in float32: rounded here, the mistake runs through all the rest, and borderline
films change sides. They take no longer for it."""

OUTPUTS = ("logits", "features", "activation_map")
"""The graph's, by the names that `training.export` gives them."""

_CONVOLUTIONS = ("Convolution", "GroupConvolution")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What one pass over a batch gives, float32."""

    logits: npt.NDArray[np.float32]
    """(B, 2), in the order of the contract's labels, before calibration."""
    features: npt.NDArray[np.float32]
    """(B, 1280), after global average pooling."""
    activation_map: npt.NDArray[np.float32]
    """(B, S, S), S a 32nd of the model's resolution: what each place adds to the PNEUMONIA logit over the NORMAL one;
    its mean plus the difference of the biases is the difference of the logits."""


class _Request:
    """A model with one film's place: arrays that stay where they are save OpenVINO's wrapper from looking at them."""

    def __init__(self, model: ov.CompiledModel) -> None:
        self._request = model.create_infer_request()
        self._film = np.empty(model.input(0).shape, dtype=np.uint8)  # (1, 224, 224)
        self._request.set_input_tensor(ov.Tensor(self._film, shared_memory=True))
        self._outputs = [self._request.get_tensor(name).data for name in OUTPUTS]

    def run(self, film: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        self._film[0] = film
        self._request.infer(share_outputs=True)
        return [output.copy() for output in self._outputs]


class _Requests(threading.local):
    """A thread's own."""

    def __init__(self, model: ov.CompiledModel, lone_model: ov.CompiledModel) -> None:
        self.usual = _Request(model)
        self.lone = self.usual if lone_model is model else _Request(lone_model)


class Engine:
    """A model that runs films one at a time: a batch takes longer a film, because its activations leave the caches.

    Args:
        path: The ONNX file.
        exact: In float32 whatever the processor has.
        threads: Threads that may call `run` at once, each film on one of them. A worker has one core, hence one.
        lone_threads: Threads that share a film when `run` is told that nothing else is under way, as far as there are
            cores. Not more than one where several threads call `run`.

    Raises:
        RuntimeError: The file is missing or no model.
    """

    def __init__(self, path: Path, *, exact: bool = False, threads: int = 1, lone_threads: int = 1) -> None:
        core = ov.Core()
        half = not exact and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        model = core.read_model(path)
        model.reshape([1, *model.input(0).partial_shape[1:]])
        if half:
            model = _with_exact_start(core, model)

        def compiled(*, threads: int, films_at_once: int) -> ov.CompiledModel:
            return core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": films_at_once,
                    # Pinned, all workers would sit on the first core.
                    "ENABLE_CPU_PINNING": False,
                },
            )

        usual = compiled(threads=threads, films_at_once=threads)
        lone = usual if lone_threads == 1 else compiled(threads=lone_threads, films_at_once=1)
        self._requests = _Requests(usual, lone)

    def run(self, films: npt.NDArray[np.uint8], *, alone: bool = False) -> Outputs:
        """Run the model without holding Python's lock.

        Args:
            films: Grey films (B, 224, 224), 0 to 255.
            alone: Whether nothing else is under way, so that the other cores are free. The outputs are the same.
        """
        request = self._requests.lone if alone else self._requests.usual
        passes = [request.run(film) for film in films]
        logits, features, activation_map = (np.concatenate(parts) for parts in zip(*passes, strict=True))
        return Outputs(logits=logits, features=features, activation_map=activation_map)


def _with_exact_start(core: ov.Core, model: ov.Model) -> ov.Model:
    """Return the model with all nodes up to the third convolution marked to keep their precision.

    The mark is an attribute that Python can only read, so it goes into the model's text.
    """
    with TemporaryDirectory() as folder:
        text, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        ov.serialize(model, text, weights)
        tree = ElementTree.parse(text)  # noqa: S314  (written a line ago)
        constants = weights.read_bytes()
    convolutions = 0
    for layer in tree.iter("layer"):
        convolutions += layer.get("type") in _CONVOLUTIONS
        if convolutions > FLOAT_CONVOLUTIONS:
            break
        if layer.get("type") != "Const":
            attributes = layer.find("rt_info")
            if attributes is None:
                attributes = ElementTree.SubElement(layer, "rt_info")
            ElementTree.SubElement(attributes, "attribute", name="precise", version="0")
    return core.read_model(ElementTree.tostring(tree.getroot()), constants)
