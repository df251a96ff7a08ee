"""What stands around the DICOM node in tests: films, the screening service, and who gets the results."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module when it is asked

from dicom_node.service import Screening
from dicom_node.settings import Settings
from tests.dicoms import dicom

LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""pynetdicom leaves a socket whose peer is gone to the garbage collector."""

NOTE = "High-recall screening model; not a medical device."
MODEL_VERSION = "1.3.1"
PATIENT = {
    "PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "20210203", "PatientSex": "F",
    "IssuerOfPatientID": "WARD", "StudyDate": "20260102", "StudyTime": "101112", "AccessionNumber": "A-1",
    "StudyID": "S-1", "ReferringPhysicianName": "Who^Doctor", "StudyDescription": "Chest",
}  # fmt: skip


def make_film(uid: str = "1.2.3.4", *, side_px: int = 96, **tags: Any) -> bytes:
    """Return a film of a made-up patient as a DICOM file."""
    pixels = np.random.default_rng(1).integers(20, 200, (side_px, side_px), dtype=np.uint8)
    defaults: dict[str, Any] = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "InstanceNumber": 7}
    return dicom(pixels, SOPInstanceUID=uid, **(PATIENT | defaults | tags))


def make_png(width_px: int = 120, height_px: int = 90) -> bytes:
    """Return a picture as the service gives a heatmap."""
    file = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (10, 120, 200)).save(file, "PNG")
    return file.getvalue()


def prediction(*, p: float = 0.99981234, version: str = MODEL_VERSION, **detail: Any) -> dict[str, Any]:
    """Return what the service answers to `/predict?detail=true`."""
    return {
        "prediction": "PNEUMONIA" if p >= 0.1268 else "NORMAL",
        "p_pneumonia": round(p, 4),
        "note": NOTE,
        "detail": {
            "p_pneumonia": p,
            "operating_point": {"name": "rule_out", "threshold": 0.1268},
            "uncertain": False,
            "film": {"kind": "DICOM", "width_px": 96, "height_px": 96, "bits": 8},
            "gate": {"reasons": []},
            "model_version": version,
            "receipt": {},
        }
        | detail,
    }


def make_screening(**changes: Any) -> Screening:
    return Screening.model_validate(prediction(**changes))


def make_settings(folder: Path, **changes: Any) -> Settings:
    """Return settings of a node that nobody can reach, with a queue in a folder."""
    values: dict[str, Any] = {
        "calling_ae_titles": "STORESCU",
        "destinations": "PACS@127.0.0.1:1",
        "queue_dir": folder / "queue",
        "network_timeout_s": 10,
        "retry_first_s": 0.1,
        "retry_longest_s": 0.2,
    }
    return Settings(**(values | changes))


def error(code: str, message: str = "it is so") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@dataclass
class Answer:
    """An HTTP answer."""

    status: int = 200
    body: Any = b""
    """JSON where it is not bytes."""
    headers: dict[str, str] = field(default_factory=dict)


class FakeHttp:
    """An HTTP server on a port of loopback that keeps what it was sent."""

    def __init__(self, answer: Callable[[str, bytes], Answer], port: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = answer
        self.open = threading.Event()
        """Answers wait while it is not set."""
        self.open.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.path, dict(self.headers), body))
                outer.open.wait()
                answer = outer.answer(self.path, body)
                content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815 - the base's name

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a node that was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FakeService(FakeHttp):
    """The screening service, which has one answer for all films."""

    def __init__(self, port: int = 0) -> None:
        self.predicted = prediction()
        self.refusal: Answer | None = None
        super().__init__(self._screen, port)

    def _screen(self, path: str, body: bytes) -> Answer:
        assert body[128:132] == b"DICM"
        if self.refusal is not None:
            return self.refusal
        headers = {"X-Model-Version": self.predicted["detail"]["model_version"]}
        if urlsplit(path).path == "/explain":
            return Answer(body=make_png(), headers=headers)
        assert parse_qs(urlsplit(path).query)["detail"] == ["true"]
        return Answer(body=self.predicted, headers=headers)


class FakePacs:
    """A PACS that takes SR and Secondary Capture by C-STORE."""

    def __init__(
        self, port: int = 0, *, classes: tuple[Any, ...] = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)
    ):
        self.received: list[Dataset] = []
        """In order, repeated ones too."""
        self.status: Callable[[Dataset], int] = lambda _: 0x0000
        self.open = threading.Event()
        """Responses wait while it is not set."""
        self.open.set()
        self.reading = threading.Event()
        """Nothing more is read while it is not set."""
        self.reading.set()
        entity = AE("PACS")
        entity.require_called_aet = True
        for sop_class in (Verification, *classes):
            entity.add_supported_context(sop_class)
        self._sockets: list[Any] = []
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_PDU_RECV, self._read),
        ]
        server: Any = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self._server = server
        self.port = self._server.server_address[1]
        self.name = f"PACS@127.0.0.1:{self.port}"

    def _connected(self, event: Any) -> None:
        self._sockets.append(event.assoc.dul.socket.socket)

    def _read(self, event: Any) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            self.reading.wait()

    def _store(self, event: evt.Event) -> int:
        data_set = dcmread(io.BytesIO(event.encoded_dataset()))
        self.received.append(data_set)
        self.open.wait()
        return self.status(data_set)

    def uids(self) -> set[str]:
        return {str(data_set.SOPInstanceUID) for data_set in self.received}

    def of_class(self, sop_class: Any) -> list[Dataset]:
        return [data_set for data_set in self.received if data_set.SOPClassUID == sop_class]

    def stop(self) -> None:
        self.open.set()
        self.reading.set()
        self._server.shutdown()
        for association in self._server.active_associations:
            association.join()
        for connection in self._sockets:
            connection.close()


@contextmanager
def running(peer: Any) -> Iterator[Any]:
    """A peer that is stopped in the end."""
    try:
        yield peer
    finally:
        peer.stop()


@contextmanager
def associated(
    port: int, *, calling: str = "STORESCU", called: str = "PNEUMONIA", film: bytes | None = None
) -> Iterator[Any]:
    """An association with the node, for the film's SOP class and transfer syntax; it may have been refused."""
    entity = AE(calling)
    entity.dimse_timeout = entity.acse_timeout = 5  # of a test that cuts its own connection
    entity.add_requested_context(Verification)
    if film is not None:
        data_set = dcmread(io.BytesIO(film))
        entity.add_requested_context(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID)
    association: Any = entity.associate("127.0.0.1", port, ae_title=called)
    connection = association.dul.socket and association.dul.socket.socket
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if connection is not None:
            connection.close()


def store(port: int, film: bytes, **options: str) -> int:
    """Send a film as a modality does; return the status of the response."""
    with associated(port, film=film, **options) as association:
        assert association.is_established
        return int(association.send_c_store(dcmread(io.BytesIO(film))).Status)


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
    """Poll until the condition holds; the time is only so long that a test that fails ends."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)
