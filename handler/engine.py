"""The model itself: one ONNX graph in ONNX Runtime, on the CPU.

Several times the speed of eager torch on one thread; the same file serves x86-64 and arm64.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What one pass over a batch gives, float32."""

    logits: npt.NDArray[np.float32]
    """(B, 2), in the order of the contract's labels, before calibration."""
    features: npt.NDArray[np.float32]
    """(B, 1280), after global average pooling."""
    activation_map: npt.NDArray[np.float32]
    """(B, 7, 7): what each place adds to the PNEUMONIA logit over the NORMAL one; its mean plus the difference of
    the biases is the difference of the logits."""


class Engine:
    """An ONNX Runtime session on one thread: a worker has one core, and other callers run films side by side."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the core from the other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, films: npt.NDArray[np.uint8]) -> Outputs:
        """Run the model on grey films (B, 224, 224), 0 to 255."""
        logits, features, activation_map = self._session.run(["logits", "features", "activation_map"], {"films": films})
        return Outputs(logits=logits, features=features, activation_map=activation_map)
