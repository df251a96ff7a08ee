"""Results out: one interface, with C-STORE and STOW-RS behind it.

Delivery is at least once: a result is sent again where the node ended between the answer and the record of it, or the
answer was lost. It is the same file with the same SOP Instance UID, by which a PACS recognises the copy.
"""

import io
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any

import requests
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module when it is asked

from dicom_node.addresses import Address, DicomAddress, StowAddress
from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError
from dicom_node.service import CONNECT_TIMEOUT_S, retry_after_s
from dicom_node.settings import Settings

# Of a C-STORE response (PS3.4, Table B.2-1; PS3.7, Annex C).
SUCCESS = 0x0000
WARNINGS = range(0xB000, 0xC000)
"""Stored, with a remark."""
OUT_OF_RESOURCES = range(0xA700, 0xA800)
DOUBTFUL = frozenset({0x0110, 0x0213})
"""Processing failure, resource limitation: they may pass."""

FAILED_SEQUENCE, FAILURE_REASON = "00081198", "00081197"
"""Tags of a STOW-RS response (PS3.18, I.2)."""
HOPELESS_STATUSES = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class Connection(ABC):
    """Takes results, one after the other."""

    @abstractmethod
    def send(self, file: bytes) -> None:
        """Send a DICOM file; on return the destination has confirmed that it has it.

        Raises:
            RetryLaterError: The destination cannot be reached, or has no room.
            DoubtfulError: It does not take this one, perhaps not for good.
            HopelessError: It does not take this one.
        """


class Destination(ABC):
    """Who gets results."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def connect(self) -> AbstractContextManager[Connection]:
        """Reach the destination.

        Raises:
            RetryLaterError: It cannot be reached.
        """


def destination(address: Address, settings: Settings) -> Destination:
    """Return the destination at an address."""
    if isinstance(address, DicomAddress):
        return StoreDestination(address, settings)
    return StowDestination(address, settings)


class StoreDestination(Destination):
    """An application entity that takes C-STORE."""

    def __init__(self, address: DicomAddress, settings: Settings) -> None:
        super().__init__(address.name)
        self._address = address
        self._entity = AE(settings.ae_title)
        self._entity.connection_timeout = CONNECT_TIMEOUT_S
        self._timeout_s = settings.network_timeout_s
        self._entity.network_timeout = self._entity.acse_timeout = self._entity.dimse_timeout = self._timeout_s
        # Every PACS has it: with it, one that takes neither result accepts the association all the same, and says so.
        self._entity.add_requested_context(Verification)
        for sop_class in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Associate; released at the end."""
        opened = threading.Event()
        try:
            association: Any = self._entity.associate(
                self._address.host,
                self._address.port,
                ae_title=self._address.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: opened.set())],
            )
        except OSError as exc:  # no such name
            raise RetryLaterError(f"no connection: {exc.strerror or type(exc).__name__}") from exc
        if not association.is_established:
            raise RetryLaterError(
                "no connection: nobody answers at this address" if not opened.is_set()
                else "the association is rejected" if association.is_rejected
                else "the association is aborted, or not answered"
            )  # fmt: skip
        # pynetdicom leaves it without: a peer that stops reading in mid-object would be waited for without an end.
        association.dul.socket.socket.settimeout(self._timeout_s)
        try:
            yield _Association(association)
        finally:
            if association.is_established:
                association.release()


class _Association(Connection):
    def __init__(self, association: Any) -> None:
        self._association = association

    def send(self, file: bytes) -> None:
        data_set = dcmread(io.BytesIO(file))
        try:
            response = self._association.send_c_store(data_set)
        except ValueError as exc:
            raise HopelessError(f"the destination does not take {data_set.SOPClassUID.name}") from exc
        except RuntimeError as exc:
            raise RetryLaterError("the association has ended") from exc
        if "Status" not in response:
            raise RetryLaterError("the association ended, or was silent too long, before the response")
        status = int(response.Status)
        if status == SUCCESS or status in WARNINGS:
            return
        reason = f"the destination answers 0x{status:04X}"
        if status in OUT_OF_RESOURCES:
            raise RetryLaterError(f"{reason}, out of resources")
        if status in DOUBTFUL:
            raise DoubtfulError(reason)
        raise HopelessError(reason)


class StowDestination(Destination):
    """A DICOMweb service that takes STOW-RS."""

    def __init__(self, address: StowAddress, settings: Settings) -> None:
        super().__init__(address.name)
        self._address = address
        self._settings = settings

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a session; it connects with the first result."""
        with requests.Session() as session:
            session.trust_env = False  # results go where the settings say, not through the environment's proxies
            if self._settings.ca_file is not None:
                session.verify = str(self._settings.ca_file)
            if self._address.user is not None:
                session.auth = (self._address.user, self._address.password or "")
            elif self._settings.destination_token is not None:
                session.headers["Authorization"] = f"Bearer {self._settings.destination_token.get_secret_value()}"
            yield _StowSession(session, f"{self._address.url}/studies", self._settings.network_timeout_s)


class _StowSession(Connection):
    def __init__(self, session: requests.Session, url: str, timeout_s: float) -> None:
        self._session = session
        self._url = url
        self._timeout = (CONNECT_TIMEOUT_S, timeout_s)

    def send(self, file: bytes) -> None:
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        try:
            answer = self._session.post(
                self._url,
                data=head + file + f"\r\n--{boundary}--\r\n".encode(),
                headers={
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                    "Accept": "application/dicom+json",
                },
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            raise RetryLaterError(f"no connection: {type(exc).__name__}") from exc
        _check(answer)


def _check(answer: requests.Response) -> None:
    """Raise what the answer to one instance says.

    Source:
        PS3.18, 10.5.3, and Annex I.
    """
    reason = failure_reason(answer)
    told = f"the destination answers {answer.status_code}" + ("" if reason is None else f", reason 0x{reason:04X}")
    if answer.status_code in {HTTPStatus.OK, HTTPStatus.ACCEPTED} and reason is None:
        return
    if reason is not None and reason in OUT_OF_RESOURCES:
        raise RetryLaterError(told)
    if reason is not None and reason in DOUBTFUL:
        raise DoubtfulError(told)
    if reason is not None or answer.status_code in HOPELESS_STATUSES:
        raise HopelessError(told)
    raise RetryLaterError(told, after_s=retry_after_s(answer))


def failure_reason(answer: requests.Response) -> int | None:
    """Return why the one instance of a request was not stored; None where the answer does not say that."""
    try:
        item = answer.json()[FAILED_SEQUENCE]["Value"][0]
        return int(item[FAILURE_REASON]["Value"][0])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
