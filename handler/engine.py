"""The model itself: one ONNX graph in OpenVINO, on the CPU.

Where the processor multiplies bfloat16 (AVX512-BF16, AMX), so does the model, but for the first layers, in half the
time of float32; elsewhere it runs in float32. No decision hangs on it: `training.evaluate.parity` measures that.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from handler.openvino_runtime import ov

FLOAT_CONVOLUTIONS = 2
"""The first convolutions, which stay in float32: rounded here, the mistake runs through all the rest, and borderline
films change sides. They take no longer for it."""

STAGES = ("stage_4", "stage_5", "stage_6")
SERVED = ("logits", *STAGES)
EXPLANATION = ("logits", "features", "activation_map", *STAGES)
"""Outputs of the graph, by the names of `handler.network.GraphOutputs`."""

STATISTICS = 640
"""Of a film: two a channel of STAGES."""
LEAST_SPREAD = 1e-3
"""Added to a spread before its logarithm, so that a channel that is the same everywhere has one."""

_CORE = ov.Core()
"""One for the process, never ended: OpenVINO gives the thread that makes the first use of it a stack for signals, and
takes that back in whatever thread ends the last. Where they differ, the next signal is a segmentation fault."""

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_FLOAT32, _BFLOAT16 = "f32", "bf16"

Films = npt.NDArray[np.uint8]
"""Grey films (B, 224, 224), 0 to 255."""
Outputs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a pass over a batch gives, float32."""

    logits: Outputs
    """(B, 2), in the order of the contract's labels, before calibration."""
    statistics: Outputs
    """(B, 640): what `statistics` returns of STAGES, for `handler.gate`."""

    @classmethod
    def of(cls, outputs: Mapping[str, Outputs]) -> Self:
        """Return what the graph's outputs SERVED say."""
        return cls(logits=outputs["logits"], statistics=statistics([outputs[name] for name in STAGES]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation(Seen):
    """What a pass over a batch gives with the places that it comes of, float32."""

    features: Outputs
    """(B, 1280), after global average pooling."""
    activation_map: Outputs
    """(B, S, S), S a 32nd of the model's resolution: what each place adds to the PNEUMONIA logit over the NORMAL one;
    its mean plus the difference of the biases is the difference of the logits."""

    @classmethod
    def of(cls, outputs: Mapping[str, Outputs]) -> Self:
        """Return what the graph's outputs EXPLANATION say."""
        return cls(
            logits=outputs["logits"],
            statistics=statistics([outputs[name] for name in STAGES]),
            features=outputs["features"],
            activation_map=outputs["activation_map"],
        )


def statistics(stages: Sequence[Outputs]) -> Outputs:
    """Return of stages (B, C, S, S) the mean of each channel, then the logarithm of each one's spread: (B, 640).

    By few and large operations, in a third of the time of `mean` and `std`.
    """
    means, squares = [], []
    for stage in stages:
        batch, channels, *sides = stage.shape
        places = stage.reshape(batch * channels, -1)  # (B * C, S * S)
        shares = _shares(sides[0] * sides[1])
        means.append((places @ shares).reshape(batch, channels))
        squares.append(((places * places) @ shares).reshape(batch, channels))
    mean, square = np.concatenate(means, axis=1), np.concatenate(squares, axis=1)  # (B, 320)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return np.concatenate([mean, np.log(spread + LEAST_SPREAD)], axis=1)


@cache
def _shares(places: int) -> Outputs:
    return np.full(places, 1 / places, dtype=np.float32)


class _Request:
    """A compiled model with a place for one film: fixed arrays save OpenVINO's wrapper from checking them each time."""

    def __init__(self, model: ov.CompiledModel) -> None:
        self._request = model.create_infer_request()
        self._film = np.empty(model.input(0).shape, dtype=np.uint8)  # (1, 224, 224)
        self._request.set_input_tensor(ov.Tensor(self._film, shared_memory=True))
        self._outputs = [self._request.get_tensor(output).data for output in model.outputs]

    def run(self, film: npt.NDArray[np.uint8]) -> list[Outputs]:
        self._film[0] = film
        self._request.infer(share_outputs=True)
        return [output.copy() for output in self._outputs]


class _Requests(threading.local):
    """Per-thread requests to a model for busy times and to one for a lone film."""

    def __init__(self, busy: ov.CompiledModel, lone: ov.CompiledModel) -> None:
        self.busy = _Request(busy)
        self.lone = self.busy if lone is busy else _Request(lone)


class Engine:
    """A model that runs films one at a time: a batch takes longer a film, because its activations leave the caches.

    Args:
        path: The ONNX file.
        exact: In float32 whatever the processor has.
        threads: Threads that may call it at once, each film on one of them. A worker has one core, hence one.
        lone_threads: Threads that share a lone film, as far as there are cores. Not more than one where several threads
            call it.

    Raises:
        RuntimeError: The file is missing or no model.
    """

    def __init__(self, path: Path, *, exact: bool = False, threads: int = 1, lone_threads: int = 1) -> None:
        self._threads, self._lone_threads = threads, lone_threads
        self._model = _CORE.read_model(path)
        self._model.reshape([1, *self._model.input(0).partial_shape[1:]])
        self._half = not exact and "BF16" in _CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._requests = self._compiled(SERVED)
        self._explaining: _Requests | None = None

    def logits(self, films: Films, *, lone: bool = False) -> Outputs:
        """Return the logits (B, 2) of films, as `screen` does."""
        return self.screen(films, lone=lone).logits

    def screen(self, films: Films, *, lone: bool = False) -> Seen:
        """Return logits and statistics of films.

        Python's lock is not held meanwhile.

        Args:
            films: Grey films (B, 224, 224), 0 to 255.
            lone: Whether nothing else is under way, so that the other cores are free. The logits are the same.
        """
        request = self._requests.lone if lone else self._requests.busy
        return Seen.of(_joined([request.run(film) for film in films], SERVED))

    def explain(self, films: Films, *, lone: bool = False) -> Explanation:
        """Return logits, features and class-activation maps of grey films (B, 224, 224), 0 to 255.

        Args:
            films: As `screen` takes them.
            lone: As `screen` takes it.

        The models for it are compiled when it is first asked for, which takes about a second.
        """
        if self._explaining is None:
            self._explaining = self._compiled(EXPLANATION)
        request = self._explaining.lone if lone else self._explaining.busy
        return Explanation.of(_joined([request.run(film) for film in films], EXPLANATION))

    def _compiled(self, outputs: tuple[str, ...]) -> _Requests:
        graph = self._graph(outputs)
        busy = self._compile(graph, threads=self._threads, films_at_once=self._threads)
        if self._half and not starts_in_float(busy):  # a change of OpenVINO's: right before quick
            self._half = False
            graph = self._graph(outputs)
            busy = self._compile(graph, threads=self._threads, films_at_once=self._threads)
        lone = busy if self._lone_threads == 1 else self._compile(graph, threads=self._lone_threads, films_at_once=1)
        return _Requests(busy, lone)

    def _graph(self, outputs: tuple[str, ...]) -> ov.Model:
        graph = ov.Model([self._model.output(name).node for name in outputs], self._model.get_parameters())
        return _with_float_start(graph) if self._half else graph

    def _compile(self, graph: ov.Model, *, threads: int, films_at_once: int) -> ov.CompiledModel:
        return _CORE.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _BFLOAT16 if self._half else _FLOAT32,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": films_at_once,
                # Pinned, all workers would sit on the first core.
                "ENABLE_CPU_PINNING": False,
            },
        )


def _joined(passes: Sequence[Sequence[Outputs]], names: Sequence[str]) -> dict[str, Outputs]:
    """Return the outputs of all passes together, by their names."""
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*passes, strict=True), strict=True)}


def starts_in_float(model: ov.CompiledModel) -> bool:
    """Return whether nothing of a compiled model is rounded to bfloat16 before the end of its first convolutions.

    What OpenVINO makes of a graph is its own: an operation that it replaces loses its mark to stay in float32.
    """
    convolutions = 0
    for operation in model.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        if facts["runtimePrecision"].value == _BFLOAT16:
            return False
        convolutions += facts["layerType"].value in _CONVOLUTIONS
        if convolutions == FLOAT_CONVOLUTIONS:
            break
    return True


def _with_float_start(model: ov.Model) -> ov.Model:
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
    return _CORE.read_model(ElementTree.tostring(tree.getroot()), constants)
