"""Make torchvision importable beside a torch that its compiled operators were not linked against.

PyPI's Linux wheel of torchvision is linked against CUDA. Beside a CPU-only torch its library does not load, and
`import torchvision` (so also torchmetrics and lightning) ends in `operator torchvision::nms does not exist`
(pytorch/vision#9077, #9085): it describes two operators that nothing has declared. Declaring their schemas is enough;
detection needs their kernels, classification calls neither.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[torch.library.Library] = []  # a declaration lives only as long as its Library


def declare_missing() -> None:
    """Declare the schemas where torchvision's own library cannot; call before anything imports torchvision."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _declared:
        return
    try:
        torch.ops.load_library(Path(spec.origin).with_name("_C.so"))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
