"""The archive of the stock TorchServe: its own image classifier on our weights, packed as its documentation says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bench.contenders.scoring import MODEL_STORE, ROOT
from bench.errors import ContenderError

CONTENDERS = ROOT / "bench" / "contenders"


def pack(folder: Path) -> Path:
    """Write `pneumonia.mar` to the folder, unless it is there from an earlier round, and return its path.

    Raises:
        ContenderError: the archiver fails.
    """
    archive = folder / "pneumonia.mar"
    if archive.exists():
        return archive
    extra = folder / "extra"
    (extra / "handler").mkdir(parents=True)
    for name in ("__init__.py", "torchvision_operators.py"):
        shutil.copy(ROOT / "handler" / name, extra / "handler")
    weights = MODEL_STORE / "pneumonia.safetensors"
    with safe_open(weights, framework="pt") as file:
        (folder / "resolution_px").write_text(file.metadata()["resolution_px"])
    state = {name.removeprefix("mobilenet."): tensor.float() for name, tensor in load_file(weights).items()}
    torch.save(state, folder / "weights.pth")
    # In the order of the logits, as the contract has them.
    (folder / "index_to_name.json").write_text(json.dumps({"0": "NORMAL", "1": "PNEUMONIA"}))
    command = [
        str(Path(sys.executable).parent / "torch-model-archiver"),
        *("--model-name", "pneumonia", "--version", "1.0", "--export-path", str(folder)),
        *("--model-file", str(CONTENDERS / "torchserve_stock_model.py")),
        *("--handler", str(CONTENDERS / "torchserve_stock.py")),
        *("--serialized-file", str(folder / "weights.pth")),
        *("--extra-files", f"{folder / 'index_to_name.json'},{folder / 'resolution_px'},{extra}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContenderError(f"torchserve_stock: the archiver failed: {' '.join(done.stderr.split())[-500:]}")
    return archive
