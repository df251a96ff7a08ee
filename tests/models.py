"""A model store without trained weights: an ONNX model with the signature of the real one, and its contract."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save_model

from handler.contract import (
    SCHEMA_VERSION,
    Bounds,
    Calibration,
    Interval,
    ModelContract,
    OperatingPoint,
    Uncertainty,
)
from handler.engine import STATISTICS
from handler.gate import FILE, Detector
from handler.imaging import INPUT_PX, VERSION

NOTE = "High-recall screening model; not a medical device."


CHANNELS = {"stage_4": 64, "stage_5": 96, "stage_6": 160}
"""Of the activations that the model gives at the end of stages."""


def write_model(path: Path, *, steepness: float = 12.0) -> Path:
    """Write a model for which a bright film is PNEUMONIA: logit difference = steepness * (mean level / 255 - 0.5)."""
    side = INPUT_PX // 7
    nodes = [
        helper.make_node("Cast", ["films"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "channel"], ["planes"]),  # (B, 1, 224, 224)
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Squeeze", ["cells", "channel"], ["activation_map"]),  # (B, 7, 7)
        helper.make_node("ReduceMean", ["scaled", "sides"], ["mean"], keepdims=1),  # (B, 1, 1)
        helper.make_node("Squeeze", ["mean", "last"], ["brightness"]),  # (B, 1)
        helper.make_node("Sub", ["brightness", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steepness"], ["logits"]),  # (B, 2)
        helper.make_node("Mul", ["brightness", "ones"], ["features"]),  # (B, 1280)
        helper.make_node("Unsqueeze", ["activation_map", "channel"], ["cell_planes"]),  # (B, 1, 7, 7)
        *(
            helper.make_node("Mul", ["cell_planes", f"ones_{channels}"], [stage])  # (B, C, 7, 7)
            for stage, channels in CHANNELS.items()
        ),
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("steepness", TensorProto.FLOAT, [1, 2], [-steepness / 2, steepness / 2]),
        helper.make_tensor("ones", TensorProto.FLOAT, [1, 1280], [1.0] * 1280),
        *(
            helper.make_tensor(f"ones_{channels}", TensorProto.FLOAT, [1, channels, 1, 1], [1.0] * channels)
            for channels in CHANNELS.values()
        ),
        helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
        helper.make_tensor("sides", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright_is_pneumonia",
        [helper.make_tensor_value_info("films", TensorProto.UINT8, ["batch", INPUT_PX, INPUT_PX])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 1280]),
            helper.make_tensor_value_info("activation_map", TensorProto.FLOAT, ["batch", 7, 7]),
            *(
                helper.make_tensor_value_info(stage, TensorProto.FLOAT, ["batch", channels, 7, 7])
                for stage, channels in CHANNELS.items()
            ),
        ],
        constants,
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def contract(*, model_sha256: str = "0" * 64) -> ModelContract:
    """Return a valid contract with the operating points `rule_out` (0.2, the default) and `balanced` (0.5)."""
    evidence = Interval(value=0.9, low=0.8, high=1.0)
    points = tuple(
        OperatingPoint(name=name, threshold=threshold, sensitivity=evidence, specificity=evidence)
        for name, threshold in (("rule_out", 0.2), ("balanced", 0.5))
    )
    return ModelContract(
        schema_version=SCHEMA_VERSION,
        model_version="0.0.0-test",
        labels=("NORMAL", "PNEUMONIA"),
        input_px=INPUT_PX,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        preprocessing_version=VERSION,
        calibration=Calibration(temperature=1.0, bias=0.0),
        operating_points=points,
        default_operating_point="rule_out",
        uncertainty=Uncertainty(coverage=0.95, pneumonia_from=0.4, normal_to=0.7),
        gate=Bounds(
            min_contrast=5.0, max_colour=10.0, min_side_px=70, min_level=0.0, max_level=255.0, detector_sha256="0" * 64
        ),
        model_sha256=model_sha256,
        data_sha256="0" * 64,
        licence="MIT",
        note=NOTE,
    )


def write_model_store(folder: Path) -> ModelContract:
    """Write `pneumonia.onnx`, `gate.npz` and `contract.json` to a folder, and return the contract."""
    digest = sha256(write_model(folder / "pneumonia.onnx"))
    detector(model_sha256=digest).save(folder / FILE)
    written = contract(model_sha256=digest)
    written = replace(written, gate=replace(written.gate, detector_sha256=sha256(folder / FILE)))
    written.save(folder / "contract.json")
    return written


def detector(*, model_sha256: str = "0" * 64, unlike: float = 1e9) -> Detector:
    """Return a detector of the model's statistics: all distances are from zero, most films within reach."""
    return Detector(
        mean=np.zeros(STATISTICS, dtype=np.float32),
        scale=np.ones(STATISTICS, dtype=np.float32),
        directions=np.eye(STATISTICS, 2, dtype=np.float32),
        variances=np.array([2.0, 1.5], dtype=np.float32),
        rest=1.0,
        unlike=unlike,
        foreign=10 * unlike,
        model_sha256=model_sha256,
    )


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
