"""A model store without trained weights: an ONNX model with the signature of the real one, and its contract."""

import hashlib
from dataclasses import replace
from pathlib import Path

from onnx import TensorProto, helper, save_model

from handler.contract import (
    SCHEMA_VERSION,
    Calibration,
    Gate,
    Interval,
    ModelContract,
    OperatingPoint,
    Uncertainty,
)
from handler.imaging import INPUT_PX, VERSION

NOTE = "High-recall screening model; not a medical device."


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
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("steepness", TensorProto.FLOAT, [1, 2], [-steepness / 2, steepness / 2]),
        helper.make_tensor("ones", TensorProto.FLOAT, [1, 1280], [1.0] * 1280),
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
        gate=Gate(min_contrast=5.0, max_colour=10.0, min_side_px=70),
        model_sha256=model_sha256,
        data_sha256="0" * 64,
        licence="MIT",
        note=NOTE,
    )


def write_model_store(folder: Path) -> ModelContract:
    """Write `pneumonia.onnx` and `contract.json` to a folder, and return the contract."""
    model = write_model(folder / "pneumonia.onnx")
    written = replace(contract(), model_sha256=hashlib.sha256(model.read_bytes()).hexdigest())
    written.save(folder / "contract.json")
    return written
