"""Packs the stub handler into archives that the service can start from."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

MODEL_CONFIG = """\
minWorkers: 1
maxWorkers: 1
batchSize: 1
maxBatchDelay: 1
responseTimeout: 60
"""

HANDLER = Path(__file__).parent / "stub_handler.py"

EXPECTED = {"NORMAL": 0.1, "PNEUMONIA": 0.9}
"""What the stub answers to its reference films."""


def make_stub_store(
    folder: Path, handler: Path = HANDLER, *, version: str = "1.0.0", expected: Mapping[str, float] = EXPECTED
) -> Path:
    """Pack `pneumonia.mar` from one handler file with torch-model-archiver; return the folder."""
    reference = folder / "extra" / "reference"
    reference.mkdir(parents=True)
    films = []
    for label, p_pneumonia in expected.items():
        name = f"{label.lower()}-1-224.jpeg"
        (reference / name).write_bytes(f"a {label.lower()} film".encode())
        films.append({"file": name, "label": label, "p_pneumonia": p_pneumonia})
    (reference / "expected.json").write_text(json.dumps({"tolerance": 0.02, "films": films}))
    contract = {"default_operating_point": "rule_out", "operating_points": [{"name": "rule_out"}]}
    (folder / "extra" / "contract.json").write_text(json.dumps({"model_version": version} | contract))
    config = folder / "model-config.yaml"
    config.write_text(MODEL_CONFIG)
    archiver = Path(sys.executable).parent / "torch-model-archiver"
    model = ["--model-name", "pneumonia", "--version", version, "--extra-files", str(folder / "extra")]
    files = ["--handler", str(handler), "--config-file", str(config), "--export-path", str(folder)]
    subprocess.run([str(archiver), *model, *files], check=True, capture_output=True)
    return folder
