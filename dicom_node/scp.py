"""Films in by C-STORE, and C-ECHO: what a modality or a PACS sends to.

A film is acknowledged with 0x0000 only when the queue has it on disk.
"""

import logging
import socket
import threading
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module when it is asked
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.errors import RefusedObjectError, SettingsError, where
from dicom_node.objects import (
    ACCEPTED_CLASSES,
    CLASS_MISMATCH,
    PROCESSING_FAILURE,
    TRANSFER_SYNTAXES,
    ObjectFacts,
    check_object,
)
from dicom_node.settings import MAX_PDU_BYTES, Settings

logger = logging.getLogger(__name__)

Take = Callable[[bytes, ObjectFacts, str], None]
"""Takes a film into the queue: file, facts, sender. On return it is on disk."""

SUCCESS = 0x0000
MAX_COMMENT_CHARACTERS = 64
"""Of Error Comment, VR LO."""
COMMAND_BYTES = 65_536
"""Room beside the object for the message's command and the units' own headers."""
STOP_TIMEOUT_S = 5.0
"""For the thread that listens to end."""


class Scp:
    """Listens from its start on."""

    def __init__(self, settings: Settings, take: Take) -> None:
        """Bind the port.

        Raises:
            SettingsError: It cannot be bound.
        """
        self._settings = settings
        self._take = take
        self._received_bytes: dict[Any, int] = {}
        self._sockets: dict[Any, socket.socket] = {}
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.calling_ae_titles)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = settings.network_timeout_s
        entity.add_supported_context(Verification)
        for sop_class in ACCEPTED_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_PDU_RECV, self._count),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ABORTED, self._ended, ["was aborted"]),
            (evt.EVT_RELEASED, self._ended, ["ended"]),
            (evt.EVT_CONN_CLOSE, self._forget),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            self._server = entity.make_server(
                (settings.host, settings.port), evt_handlers=handlers, server_class=_server_class(settings)
            )
        except OSError as exc:
            raise SettingsError(
                f"DICOM_HOST={settings.host}, DICOM_PORT={settings.port} cannot be used: {exc.strerror}"
            ) from exc
        self._thread = threading.Thread(target=self._server.serve_forever, name="scp", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no more associations, and end those that there are; a film on its way is not acknowledged."""
        BaseServer.shutdown(self._server)  # its own wants the server to be in a list that only `AE.start_server` fills
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()
        self._thread.join(STOP_TIMEOUT_S)

    def _connected(self, event: evt.Event) -> None:
        """Bound what one unit of a message may hold in memory: its length is the sender's word."""
        transport: Any = event.assoc.dul.socket
        self._sockets[event.assoc] = transport.socket
        receive = transport.recv

        def bounded(nr_bytes: int) -> bytearray:
            if nr_bytes > MAX_PDU_BYTES:
                raise OSError("a unit of a message is over the limit")
            return bytearray(receive(nr_bytes))

        transport.recv = bounded

    def _count(self, event: evt.Event) -> None:
        """Abort an association that sends more than one object may have."""
        association = event.assoc
        received = self._received_bytes.get(association, 0) + event.pdu.pdu_length
        self._received_bytes[association] = received
        if received > self._settings.max_object_bytes + COMMAND_BYTES and association.is_established:
            logger.warning("%s sends more than DICOM_MAX_OBJECT_BYTES: aborted", _peer(event))
            association.abort(block=False)

    def _rejected(self, event: evt.Event) -> None:
        request: Any = event.assoc.requestor.primitive
        logger.warning(
            "association rejected: %r at %s calls %r", request.calling_ae_title, event.assoc.requestor.address,
            request.called_ae_title,
        )  # fmt: skip

    def _ended(self, event: evt.Event, how: str) -> None:
        logger.info("association with %s %s", _peer(event), how)

    def _forget(self, event: evt.Event) -> None:
        self._received_bytes.pop(event.assoc, None)
        connection = self._sockets.pop(event.assoc, None)
        if connection is not None:
            connection.close()  # pynetdicom leaves that of a peer that is gone to the garbage collector

    def _echo(self, event: evt.Event) -> int:
        self._received_bytes[event.assoc] = 0
        return SUCCESS

    def _store(self, event: evt.Event) -> Dataset:
        self._received_bytes[event.assoc] = 0
        status = Dataset()
        try:
            self._put_in_queue(event)
        except RefusedObjectError as exc:
            logger.warning("an object of %s is refused with 0x%04X: %s", _peer(event), exc.status, exc)
            status.Status = exc.status
            status.ErrorComment = str(exc)[:MAX_COMMENT_CHARACTERS]
        except Exception as exc:  # a fault of ours: the sender keeps its film
            logger.error("an object of %s failed: %s", _peer(event), where(exc))  # noqa: TRY400
            status.Status = PROCESSING_FAILURE
        else:
            status.Status = SUCCESS
        return status

    def _put_in_queue(self, event: evt.Event) -> None:
        file = event.encoded_dataset()
        facts = check_object(file)
        request: Any = event.request
        if (
            facts.sop_class_uid != request.AffectedSOPClassUID
            or facts.sop_instance_uid != request.AffectedSOPInstanceUID
        ):
            raise RefusedObjectError(CLASS_MISMATCH, "the object is not what the request says")
        self._take(file, facts, _peer(event))


def _peer(event: evt.Event) -> str:
    requestor = event.assoc.requestor
    return f"{requestor.ae_title}@{requestor.address}"


def _server_class(settings: Settings) -> type[ThreadedAssociationServer]:
    class Server(ThreadedAssociationServer):
        """Turns addresses away that are not on the list, and waits for nobody without an end."""

        def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's signature
            if settings.may_connect(client_address[0]):
                return True
            logger.warning("connection refused: %s is not in DICOM_ADDRESSES", client_address[0])
            return False

        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            connection, address = super().get_request()
            connection.settimeout(settings.network_timeout_s)  # or a peer that stops in mid-unit holds its thread
            return connection, address

    return Server
