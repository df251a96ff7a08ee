"""Serves the page's own files beside made-up answers, so that a browser meets any result and any trouble at will."""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.http.page import Page
from proxy.http.request_id import RequestId

REFERENCE = Path("reference")

POINTS = {"rule_out": 0.1268, "balanced": 0.7579}

MODEL = {
    "version": "1.2.3",
    "served_operating_point": "rule_out",
    "uncertainty": {"coverage": 0.95, "pneumonia_from": 0.12, "normal_to": 0.8},
    "operating_points": [
        {
            "name": name,
            "threshold": threshold,
            "sensitivity": {"value": 0.9927, "low": 0.9815, "high": 0.9972},
            "specificity": {"value": 0.9424, "low": 0.8998, "high": 0.9675},
        }
        for name, threshold in POINTS.items()
    ],
}

NOTE = "High-recall screening model; not a medical device."

HOT = [[-0.2, -0.1, 0.0, -0.1, -0.2], [0.0, 0.3, 0.0, 0.2, -0.1], [0.2, 0.9, 0.1, 0.5, 0.1]]
MAP = [*HOT, [0.3, 1.4, 0.2, 0.8, 0.2], [0.0, 0.5, -0.1, 0.3, -0.3]]


def film(name: str = "pneumonia-1") -> bytes:
    """Return a reference film, small."""
    return (REFERENCE / f"{name}-224.jpeg").read_bytes()


def error(status: int, code: str, *, retry_after_s: int | None = None, reasons: tuple[str, ...] = ()) -> Response:
    """Return an error as the service has them."""
    said: dict[str, object] = {"code": code, "message": f"the message of {code}"}
    if reasons:
        said["reasons"] = reasons
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse({"error": said}, status, headers)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the service says of a film."""

    p: float = 0.9998
    uncertain: bool = False
    labels: tuple[str, ...] = ("NORMAL", "PNEUMONIA")
    """That an uncertain film may have."""
    reasons: tuple[str, ...] = ()
    """Of the gate."""
    warning: str = ""
    """In the note."""


class FakeService:
    """Answers like the service; tests change how."""

    def __init__(self) -> None:
        self.films: dict[bytes, Said] = {}
        """What is said of a film; of others, `Said()`."""
        self.key: str | None = None
        self.refusals: list[Response] = []
        """Given to the next films in place of results, one each."""
        self.refuse: Callable[[bytes], Response | None] = lambda _: None
        """Given to a film in place of its result, each time."""
        self.refuse_explanations: Response | None = None
        self.model_down = False
        self.let_through = threading.Event()
        """While it is not set, films wait."""
        self.let_through.set()
        self.running = 0
        self.most_running = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Path and parameters of each film's request."""
        self.bodies: list[bytes] = []
        self.url = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/model", self.model),
                Route("/model/card", self.card),
                Route("/predict", self.predict, methods=["POST"]),
                Route("/explain", self.explain, methods=["POST"]),
            ]
        )

    def model(self, request: Request) -> Response:
        if self.model_down:
            return error(503, "loading", retry_after_s=2)
        return self._locked(request) or JSONResponse(MODEL)

    def card(self, request: Request) -> Response:
        return self._locked(request) or PlainTextResponse("# Model card\n\n<b>Not</b> for adults.")

    async def predict(self, request: Request) -> Response:
        sent = await self._film(request)
        return await run_in_threadpool(lambda: self._locked(request) or self._predict(request, sent))

    async def explain(self, request: Request) -> Response:
        sent = await self._film(request)
        if refused := self._locked(request) or self.refuse_explanations:
            return refused
        if "image/png" in request.headers["accept"]:
            png = io.BytesIO()
            with Image.open(REFERENCE / "normal-1-224.jpeg") as picture:
                picture.save(png, "PNG")
            return Response(png.getvalue(), media_type="image/png")
        width, height = self._size(sent)
        area = {"left_px": 0, "top_px": 0, "right_px": width, "bottom_px": height}
        explanation = {"map": MAP, "unit": "log odds", "width_px": width, "height_px": height, **area}
        return JSONResponse({**self._result(sent, "rule_out"), "explanation": explanation})

    def _locked(self, request: Request) -> Response | None:
        allowed = self.key is None or request.headers.get("authorization") == f"Bearer {self.key}"
        return None if allowed else error(401, "unauthorised")

    async def _film(self, request: Request) -> bytes:
        body = await request.body()
        self.asked.append((request.url.path, dict(request.query_params)))
        self.bodies.append(body)
        return body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]

    def _predict(self, request: Request, sent: bytes) -> Response:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.let_through.wait(30)
        finally:
            self.running -= 1
        if refused := self.refuse(sent) or (self.refusals.pop(0) if self.refusals else None):
            return refused
        point = request.query_params.get("operating_point", "rule_out")
        return JSONResponse({**self._result(sent, point), "detail": self._detail(sent, point)})

    def _result(self, sent: bytes, point: str) -> dict[str, Any]:
        said = self.films.get(sent, Said())
        prediction = "PNEUMONIA" if said.p >= POINTS[point] else "NORMAL"
        return {"prediction": prediction, "p_pneumonia": said.p, "note": f"{NOTE} {said.warning}".strip()}

    def _detail(self, sent: bytes, point: str) -> dict[str, Any]:
        width, height = self._size(sent)
        said = self.films.get(sent, Said())
        return {
            "p_pneumonia": said.p,
            "operating_point": {"name": point, "threshold": POINTS[point]},
            "uncertain": said.uncertain,
            "prediction_set": {"labels": list(said.labels) if said.uncertain else ["NORMAL"], "coverage": 0.95},
            "film": {
                "kind": "DICOM" if self._is_dicom(sent) else "JPEG",
                "width_px": width,
                "height_px": height,
                "bits": 8,
                "bars": {"left": 0, "top": 12, "right": 0, "bottom": 0},
                "window": {"low": 3.0, "high": 250.0},
                "presentation": {"negative": False, "turned": None, "recognised": True},
                "colour": 0.0,
                "contrast": 55.1,
            },
            "gate": {"reasons": list(said.reasons)},
            "model_version": "1.2.3",
            "receipt": {
                "film_sha256": hashlib.sha256(sent).hexdigest(),
                "operating_point": point,
                "request_id": "0123456789abcdef",
                **self._result(sent, point),
            },
        }

    def _is_dicom(self, sent: bytes) -> bool:
        return sent[128:132] == b"DICM"

    def _size(self, sent: bytes) -> tuple[int, int]:
        if self._is_dicom(sent):
            return 224, 224
        with Image.open(io.BytesIO(sent)) as picture:
            return ImageOps.exif_transpose(picture).size


def slashless(app: ASGIApp) -> ASGIApp:
    """Take the slash off the end of a path, as the proxy does."""

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "path": scope["path"].removesuffix("/")}, receive, send)

    return outermost


@contextmanager
def serving() -> Iterator[FakeService]:
    """A fake service on a port of its own."""
    fake = FakeService()
    server = uvicorn.Server(
        uvicorn.Config(RequestId(slashless(Page(fake.app()))), port=0, ws="none", lifespan="off", log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        fake.url = f"http://127.0.0.1:{port}/"
        yield fake
    finally:
        fake.let_through.set()
        server.should_exit = True
        thread.join()
