"""Who may import whom, read from the syntax trees."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"handler", "proxy", "training", "tests", "bench", "batch", "dicom_node"}


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a module imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(path.parent.name if node.level else (node.module or "").partition(".")[0])
    return names


def imported_modules(path: Path) -> set[str]:
    """Return the full names of the modules that a module imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def modules(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("handler", ROOMS - {"handler"} | {"sklearn", "fastapi"}),
        ("training", ROOMS - {"training", "handler"}),
        ("dicom_node", ROOMS - {"dicom_node"} | {"torch", "openvino", "fastapi"}),
        ("batch", ROOMS - {"batch", "handler"} | {"torch", "torchvision"}),
        ("proxy", ROOMS - {"proxy"} | {"torch", "torchvision", "openvino", "PIL", "numpy"}),
    ],
)
def test_room_imports_only_what_it_may(room: str, forbidden: set[str]) -> None:
    assert any(modules(room))
    found = {path.name: names for path in modules(room) if (names := imported(path) & forbidden)}
    assert found == {}


PROXY_LAYERS = ["torchserve", "availability", "http"]
"""From the bottom to the top; each may import those before it."""


def test_rooms_of_the_proxy_import_one_way() -> None:
    for number, layer in enumerate(PROXY_LAYERS):
        above = tuple(f"proxy.{other}" for other in PROXY_LAYERS[number + 1 :])
        for path in modules(f"proxy/{layer}"):
            wrong = [name for name in imported_modules(path) if name.startswith(above)]
            assert wrong == [], f"{path.name} of proxy/{layer} imports {wrong}"
    for path in (ROOT / "proxy" / "settings.py", ROOT / "proxy" / "errors.py"):
        layers = tuple(f"proxy.{layer}" for layer in PROXY_LAYERS)
        assert not [name for name in imported_modules(path) if name.startswith(layers)]


def test_only_a_gpu_worker_imports_torch_s_network() -> None:
    with_torch = {path.name for path in modules("handler") if imported(path) & {"torch", "torchvision", "safetensors"}}
    assert with_torch == {"network.py", "torch_engine.py", "torchvision_operators.py"}
    probe = "import sys, handler.pneumonia_handler; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert result == "False\n"


def test_contenders_with_the_service_s_engine_import_nothing_else_of_ours() -> None:
    apps = list(modules("bench/contenders"))
    assert {"litserve.py", "bentoml.py", "ray_serve.py", "lean_fastapi.py", "bare.py"} <= {path.name for path in apps}
    assert all(imported(path) & ROOMS <= {"bench", "handler"} for path in apps)


def test_only_the_handler_module_knows_of_torchserve() -> None:
    knowing = [path.name for room in ("handler", "training") for path in modules(room) if "ts" in imported(path)]
    assert set(knowing) <= {"pneumonia_handler.py"}


@pytest.mark.parametrize("name", ["evaluate", "reference"])
def test_evaluation_shares_nothing_with_the_training_loop(name: str) -> None:
    probe = f"import sys, training.evaluate.{name}; print(*(one for one in sys.modules if one.startswith('training')))"
    loaded = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shared = {"cli", "errors", "files", "evaluate", "evaluate.evaluate", f"evaluate.{name}", "data", "data.films"}
    figures = {"figures", "figures.metrics", "figures.plots", "figures.tables"}
    assert set(loaded.split()) <= {"training", *(f"training.{module}" for module in shared | figures)}


def test_sub_packages_of_training_import_only_those_before_them() -> None:
    order = re.findall(r"^    (\w+)  ", (ROOT / "training" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(order) == sorted(path.parent.name for path in (ROOT / "training").glob("*/__init__.py"))
    for place, name in enumerate(order):
        imported_from = {
            module.split(".")[1]
            for path in modules(f"training/{name}")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (module := node.module or "").startswith("training.")
        }
        assert imported_from <= {"cli", "errors", "files", *order[: place + 1]}, name
