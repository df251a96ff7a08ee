"""Packs the stub handler, and reference films that it answers, into folders that the service can start from."""

import json
import subprocess
import sys
from pathlib import Path

MODEL_CONFIG = """\
minWorkers: 1
maxWorkers: 1
batchSize: 1
maxBatchDelay: 1
responseTimeout: 60
"""


def make_stub_store(folder: Path, handler: Path = Path(__file__).parent / "stub_handler.py") -> Path:
    """Packs `pneumonia.mar` from one handler file with torch-model-archiver."""
    folder.mkdir()
    config = folder / "model-config.yaml"
    config.write_text(MODEL_CONFIG)
    archiver = Path(sys.executable).parent / "torch-model-archiver"
    model = ["--model-name", "pneumonia", "--version", "1.0"]
    files = ["--handler", str(handler), "--config-file", str(config), "--export-path", str(folder)]
    subprocess.run([str(archiver), *model, *files], check=True, capture_output=True)
    return folder


def make_stub_reference(folder: Path) -> Path:
    """Write two "films" with what the stub answers to them."""
    folder.mkdir()
    films = []
    for label, p_pneumonia in (("NORMAL", 0.1), ("PNEUMONIA", 0.9)):
        name = f"{label.lower()}-1-224.jpeg"
        (folder / name).write_bytes(f"a {label.lower()} film".encode())
        films.append({"file": name, "label": label, "p_pneumonia": p_pneumonia})
    (folder / "expected.json").write_text(json.dumps({"tolerance": 0.02, "films": films}))
    return folder
