import os
import subprocess
import sys
from pathlib import Path

from proxy.settings import ROOT

PROGRAM = """
import multiprocessing, socket, sys
asked = []
def refuse(*address, **_):
    asked.append(address)
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = refuse
from handler.engine import Engine
Engine({model!r})
assert not multiprocessing.active_children(), "a process that sends"
assert not asked, asked
assert sys.modules["openvino_telemetry"] is None
"""


def test_model_is_loaded_without_a_word_to_other_hosts(tmp_path: Path) -> None:
    # Nothing that would keep the telemetry quiet by itself: neither CI, nor a user who has declined.
    environ = {name: value for name, value in os.environ.items() if name in {"PATH", "LD_LIBRARY_PATH"}}
    program = PROGRAM.format(model=str(ROOT / "model_store" / "pneumonia.onnx"))
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ | {"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []
