"""C-STORE and C-ECHO of the DICOM node, with pynetdicom as the modality."""

import io
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from dicom_node.errors import RefusedObjectError, SettingsError
from dicom_node.objects import OUT_OF_RESOURCES, ObjectFacts
from dicom_node.scp import Scp
from dicom_node.settings import MAX_PDU_BYTES
from tests.dicom_peers import LEAVES_SOCKETS, associated, make_film, make_settings, store, wait_until
from tests.dicoms import SYNTAXES

pytestmark = [pytest.mark.integration, LEAVES_SOCKETS]

FILM = make_film()


class Taken:
    """The queue's place: keeps what it is given, or does what `act` says."""

    def __init__(self) -> None:
        self.films: list[tuple[bytes, ObjectFacts, str]] = []
        self.act: Callable[[], None] = lambda: None

    def __call__(self, file: bytes, facts: ObjectFacts, sender: str) -> None:
        self.act()
        self.films.append((file, facts, sender))


@contextmanager
def listening(folder: Path, **settings: Any) -> Iterator[tuple[int, Taken]]:
    taken = Taken()
    scp = Scp(make_settings(folder, **settings).model_copy(update={"port": 0}), taken)
    try:
        yield scp.port, taken
    finally:
        scp.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[int, Taken]]:
    with listening(tmp_path) as found:
        yield found


def test_echo_is_answered(node: tuple[int, Taken]) -> None:
    with associated(node[0]) as association:
        assert association.send_c_echo().Status == 0x0000


def test_film_is_taken_as_it_was_sent(node: tuple[int, Taken]) -> None:
    port, taken = node
    assert store(port, FILM) == 0x0000
    ((file, facts, sender),) = taken.films
    assert dcmread(io.BytesIO(file)) == dcmread(io.BytesIO(FILM))
    assert facts.sop_instance_uid == "1.2.3.4"
    assert sender == "STORESCU@127.0.0.1"


@pytest.mark.parametrize("syntax", sorted(set(SYNTAXES) - {"deflated"}))
def test_every_transfer_syntax_of_the_service_is_negotiated(syntax: str, node: tuple[int, Taken]) -> None:
    port, taken = node
    assert store(port, make_film(transfer_syntax=syntax)) == 0x0000
    assert dcmread(io.BytesIO(taken.films[0][0])).file_meta.TransferSyntaxUID == SYNTAXES[syntax]


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1",
                  "1.2.840.10008.5.1.4.1.1.7"]
)  # fmt: skip
def test_radiographs_are_negotiated(sop_class: str, node: tuple[int, Taken]) -> None:
    assert store(node[0], make_film(SOPClassUID=sop_class, modality="RG")) == 0x0000


@pytest.mark.parametrize(
    ("titles", "diagnostic"), [({"calling": "STRANGER"}, 3), ({"called": "ANOTHER"}, 7)], ids=["calling", "called"]
)
def test_wrong_ae_title_is_rejected_with_the_reason(
    titles: dict[str, str], diagnostic: int, node: tuple[int, Taken]
) -> None:
    with associated(node[0], film=FILM, **titles) as association:
        assert association.is_rejected
        assert association.acceptor.primitive.diagnostic == diagnostic


def test_address_that_is_not_listed_is_turned_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with listening(tmp_path, addresses="192.0.2.0/24") as (port, taken):
        with associated(port, film=FILM) as association:
            assert not association.is_established
        assert taken.films == []
    assert "127.0.0.1 is not in DICOM_ADDRESSES" in caplog.text


def test_sop_class_that_is_not_taken_is_not_negotiated(node: tuple[int, Taken]) -> None:
    entity = AE("STORESCU")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", node[0], ae_title="PNEUMONIA")
    assert not association.is_established
    assert association.rejected_contexts


def test_object_that_is_no_film_is_refused_with_a_comment(node: tuple[int, Taken]) -> None:
    port, taken = node
    film = make_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", modality="OT")
    with associated(port, film=film) as association:
        status = association.send_c_store(dcmread(io.BytesIO(film)))
        assert status.Status == 0xC000
        assert "Secondary Capture" in status.ErrorComment
        assert association.send_c_echo().Status == 0x0000, "the association goes on"
    assert taken.films == []


def test_film_without_its_identity_is_refused(node: tuple[int, Taken]) -> None:
    assert store(node[0], make_film(StudyInstanceUID=None)) == 0xA900


def test_object_that_is_not_what_the_request_says_is_refused(node: tuple[int, Taken], monkeypatch: Any) -> None:
    monkeypatch.setattr("dicom_node.scp.check_object", lambda _: ObjectFacts("1.2", "1.2.3.9", "1.2.3", ""))
    assert store(node[0], FILM) == 0xA900


def test_broken_object_is_refused(node: tuple[int, Taken]) -> None:
    port, taken = node
    with associated(port, film=FILM) as association:
        data_set = dcmread(io.BytesIO(FILM))
        whole = association.dimse.send_msg

        def broken(message: Any, context: int) -> None:
            message.DataSet = io.BytesIO(b"\xff" * 999)
            whole(message, context)

        association.dimse.send_msg = broken
        assert association.send_c_store(data_set).Status == 0xC000
    assert taken.films == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(RefusedObjectError(OUT_OF_RESOURCES, "the queue is full"), 0xA700), (RuntimeError("Doe^Jane"), 0x0110)],
)
def test_film_that_cannot_be_kept_is_not_acknowledged(
    error: Exception, status: int, node: tuple[int, Taken], caplog: pytest.LogCaptureFixture
) -> None:
    port, taken = node

    def fail() -> None:
        raise error

    taken.act = fail
    assert store(port, FILM) == status
    assert "Doe" not in caplog.text


def test_association_that_is_aborted_in_the_middle_leaves_nothing(
    node: tuple[int, Taken], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port, taken = node
    with associated(port, film=FILM) as association:
        sent: list[Any] = []
        whole = association.dul.socket.send

        def half(data: bytes) -> None:
            sent.append(data)
            whole(data if len(sent) == 1 else data[: len(data) // 2])
            if len(sent) == 2:
                association.dul.socket.socket.shutdown(socket.SHUT_RDWR)

        association.dul.socket.send = half
        assert "Status" not in association.send_c_store(dcmread(io.BytesIO(FILM)))
    assert store(port, FILM) == 0x0000, "others go on"
    assert len(taken.films) == 1


def test_object_over_the_limit_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = make_film(side_px=1000)
    with listening(tmp_path, max_object_bytes=100_000) as (port, taken):
        with associated(port, film=large) as association:
            assert "Status" not in association.send_c_store(dcmread(io.BytesIO(large)))
        assert store(port, FILM) == 0x0000, "others go on"
        assert len(taken.films) == 1
    assert "DICOM_MAX_OBJECT_BYTES" in caplog.text


def test_limit_is_of_one_object_not_of_an_association(tmp_path: Path) -> None:
    film = make_film(side_px=200)
    with listening(tmp_path, max_object_bytes=len(film)) as (port, taken), associated(port, film=film) as association:
        for _ in range(5):
            assert association.send_c_store(dcmread(io.BytesIO(film))).Status == 0x0000
        assert len(taken.films) == 5


def test_unit_that_claims_gigabytes_ends_its_connection(node: tuple[int, Taken]) -> None:
    for kind in (0x01, 0x04):
        with closing(socket.create_connection(("127.0.0.1", node[0]), timeout=30)) as connection:
            connection.sendall(bytes([kind, 0]) + (MAX_PDU_BYTES + 1).to_bytes(4, "big"))
            while connection.recv(4096):
                pass
    assert store(node[0], FILM) == 0x0000


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00", b"\x01\x00\x00\x00\x00\x04abcd"])
def test_connection_that_says_nothing_sensible_is_closed_in_time(sent: bytes, tmp_path: Path) -> None:
    with listening(tmp_path, network_timeout_s=1) as (port, _):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
            connection.sendall(sent)
            while connection.recv(4096):
                pass
        assert store(port, FILM) == 0x0000


def test_one_association_too_many_is_told_to_come_back(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations=2) as (port, _):
        with associated(port), associated(port), associated(port, film=FILM) as third:
            assert third.is_rejected
            assert third.acceptor.primitive.result == 0x02, "transient"
        wait_until(lambda: _established(port), "an association when others have ended")


def _established(port: int) -> bool:
    with associated(port) as association:
        return bool(association.is_established)


def test_films_of_many_senders_are_all_taken(node: tuple[int, Taken]) -> None:
    port, taken = node
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: statuses.append(store(port, make_film(f"1.2.3.{number}"))))
        for number in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 8
    assert {facts.sop_instance_uid for _, facts, _ in taken.films} == {f"1.2.3.{number}" for number in range(1, 9)}


def test_port_that_is_taken_is_named(node: tuple[int, Taken], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DICOM_PORT"):
        Scp(make_settings(tmp_path, port=node[0]), Taken())


def test_log_names_no_patient(node: tuple[int, Taken], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store(node[0], FILM)
    store(node[0], make_film(StudyInstanceUID=None))
    for value in ("Doe", "4711", "A-1"):
        assert value not in caplog.text
