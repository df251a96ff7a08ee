"""The whole DICOM node in one process, between a modality, a service and a PACS of the test's."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from dicom_node.__main__ import require_operating_point
from dicom_node.errors import SettingsError
from dicom_node.node import Node, sole_owner
from dicom_node.scp import Scp
from tests.dicom_peers import (
    LEAVES_SOCKETS,
    Answer,
    FakeHttp,
    FakePacs,
    FakeService,
    error,
    make_film,
    make_settings,
    running,
    store,
    wait_until,
)
from tests.e2e.service import free_ports

pytestmark = [pytest.mark.integration, LEAVES_SOCKETS]


@pytest.fixture
def service() -> Iterator[FakeService]:
    with running(FakeService()) as service:
        yield service


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with running(FakePacs()) as pacs:
        yield pacs


@contextmanager
def started(folder: Path, service: FakeService, *destinations: str, **settings: Any) -> Iterator[Node]:
    values = {"service_url": service.url, "destinations": ",".join(destinations), "port": free_ports(1)[0]}
    node = Node(make_settings(folder, **(values | settings)))
    try:
        yield node
    finally:
        node.stop()


def points(*names: str) -> Answer:
    return Answer(body={"operating_points": [{"name": name} for name in names]})


def test_operating_point_that_the_service_has_not_ends_the_start(tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: points("rule_out", "balanced"))) as service:
        require_operating_point(make_settings(tmp_path, service_url=service.url, operating_point="balanced"))
        with pytest.raises(SettingsError, match=r"DICOM_OPERATING_POINT='zzz'.*rule_out, balanced"):
            require_operating_point(make_settings(tmp_path, service_url=service.url, operating_point="zzz"))


@pytest.mark.parametrize("answer", [Answer(503), Answer(body=b"{}"), Answer(body=[1])])
def test_service_that_does_not_say_its_operating_points_is_no_hindrance(answer: Answer, tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: answer)) as service:
        require_operating_point(make_settings(tmp_path, service_url=service.url, operating_point="zzz"))


def send(node: Node, *uids: str) -> None:
    for uid in uids:
        assert store(node.settings.port, make_film(uid)) == 0x0000


def test_film_comes_back_as_report_and_heatmap(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    with started(tmp_path, service, pacs.name) as node:
        send(node, "1.2.3.4")
        wait_until(lambda: len(pacs.received) == 2, "both results")
        wait_until(lambda: not list((node.settings.queue_dir / "files").iterdir()), "nothing left on disk")
    (report,), (heatmap,) = pacs.of_class(ComprehensiveSRStorage), pacs.of_class(SecondaryCaptureImageStorage)
    assert (
        (report.PatientID, report.StudyInstanceUID)
        == (heatmap.PatientID, heatmap.StudyInstanceUID)
        == ("4711", "1.2.3")
    )


def test_every_destination_gets_every_result_once(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    with running(FakePacs()) as other, running(FakeHttp(lambda _path, _body: Answer(200))) as web:
        with started(tmp_path, service, pacs.name, other.name, web.url) as node:
            send(node, "1.2.3.1", "1.2.3.2", "1.2.3.1")
            wait_until(lambda: not node.queue.entries() and len(web.requests) == 4, "all delivered")
        assert len(pacs.received) == len(other.received) == len(pacs.uids()) == 4
    assert len(service.requests) == 4, "two films, a prediction and a heatmap each"


def test_destination_that_is_down_holds_up_no_other(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with started(tmp_path, service, f"PACS@127.0.0.1:{port}", pacs.name) as node:
        send(node, "1.2.3.1", "1.2.3.2")
        wait_until(lambda: len(pacs.received) == 4, "the results at the destination that is up")
        assert len(node.queue.entries()) == 4
        with running(FakePacs(port)) as back:
            wait_until(lambda: not node.queue.entries(), "the results at the destination that is back")
            assert len(back.received) == len(back.uids()) == 4
    assert len(pacs.received) == 4, "none twice"


def test_service_that_is_down_and_back_loses_no_film(pacs: FakePacs, tmp_path: Path) -> None:
    down = FakeService()
    port = down.port
    down.stop()
    with started(tmp_path, down, pacs.name) as node:
        send(node, "1.2.3.1", "1.2.3.2", "1.2.3.3")
        wait_until(lambda: any("reached" in entry.reason for entry in node.queue.entries()), "a try")
        assert pacs.received == []
        with running(FakeService(port)):
            wait_until(lambda: len(pacs.received) == 6, "all results")


def test_film_that_the_service_refuses_is_listed_and_the_others_go_on(
    service: FakeService, pacs: FakePacs, tmp_path: Path
) -> None:
    with started(tmp_path, service, pacs.name) as node:
        service.refusal = Answer(422, error("damaged_film", "the film is cut off"))
        send(node, "1.2.3.1")
        wait_until(lambda: [entry.state for entry in node.queue.entries()] == ["failed"], "the refusal")
        service.refusal = None
        send(node, "1.2.3.2")
        wait_until(lambda: len(pacs.received) == 2, "the other film's results")
        wait_until(lambda: len(node.queue.entries()) == 1, "nothing else that waits")
        (entry,) = node.queue.entries()
        assert "422 damaged_film: the film is cut off" in entry.reason
        node.queue.retry()
        wait_until(lambda: len(pacs.received) == 4, "its results after the operator's retry")


def test_film_that_failed_gives_way_to_a_corrected_one_when_it_is_discarded(
    service: FakeService, pacs: FakePacs, tmp_path: Path
) -> None:
    corrected = make_film("1.2.3.1", ViewPosition="AP")
    with started(tmp_path, service, pacs.name) as node:
        service.refusal = Answer(422, error("damaged_film"))
        send(node, "1.2.3.1")
        wait_until(lambda: [entry.state for entry in node.queue.entries()] == ["failed"], "the refusal")
        service.refusal = None
        assert store(node.settings.port, corrected) == 0x0111
        (entry,) = node.queue.entries()
        assert node.queue.discard(entry.film)
        assert store(node.settings.port, corrected) == 0x0000
        wait_until(lambda: len(pacs.received) == 2, "the corrected film's results")


def test_report_that_the_peer_refuses_is_listed_and_the_heatmap_arrives(
    service: FakeService, pacs: FakePacs, tmp_path: Path
) -> None:
    pacs.status = lambda data_set: 0xA900 if data_set.SOPClassUID == ComprehensiveSRStorage else 0x0000
    with started(tmp_path, service, pacs.name) as node:
        send(node, "1.2.3.1")
        wait_until(lambda: [entry.state for entry in node.queue.entries()] == ["failed"], "the refusal")
        (entry,) = node.queue.entries()
        assert (entry.kind, entry.reason) == ("sr", "the destination answers 0xA900")
        assert len(pacs.of_class(SecondaryCaptureImageStorage)) == 1


def test_full_queue_is_told_and_takes_films_again_later(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    film = make_film("1.2.3.1")
    service.open.clear()
    limits = {"max_object_bytes": len(film) + 2000, "max_queue_bytes": len(film) + 2000}
    with started(tmp_path, service, pacs.name, **limits) as node:
        assert store(node.settings.port, film) == 0x0000
        assert store(node.settings.port, make_film("1.2.3.2")) == 0xA700
        service.open.set()
        wait_until(lambda: len(pacs.received) == 2, "the first film's results")
        wait_until(lambda: store(node.settings.port, make_film("1.2.3.2")) == 0x0000, "room")


def test_many_films_at_once_are_screened_once_each(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    uids = [f"1.2.3.{number}" for number in range(1, 21)]
    with started(tmp_path, service, pacs.name, screeners=4) as node:
        threads = [threading.Thread(target=send, args=(node, *uids[start::4])) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(pacs.received) == 40, "all results")
    assert len(pacs.uids()) == 40
    assert len(service.requests) == 40


def test_what_waits_at_the_end_goes_on_at_the_next_start(service: FakeService, pacs: FakePacs, tmp_path: Path) -> None:
    service.refusal = Answer(503, error("loading"))
    with started(tmp_path, service, pacs.name) as node:
        send(node, "1.2.3.1")
    service.refusal = None
    with started(tmp_path, service, pacs.name):
        wait_until(lambda: len(pacs.received) == 2, "the results")


def test_result_whose_record_fails_until_the_node_stops_is_not_sent_again(
    service: FakeService, pacs: FakePacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail(*_: object) -> None:
        tries.append(1)
        raise sqlite3.OperationalError("database or disk is full")

    with started(tmp_path, service, pacs.name) as node:
        monkeypatch.setattr(node.queue, "delivered", fail)
        send(node, "1.2.3.1")
        wait_until(lambda: tries, "the first result being sent")
        monkeypatch.undo()
    assert len(pacs.received) == 1
    with started(tmp_path, service, pacs.name) as node:
        wait_until(lambda: not node.queue.entries(), "the other result")
    assert len(pacs.received) == len(pacs.uids()) == 2


def test_node_that_stops_begins_no_delivery_while_it_waits_for_senders(
    service: FakeService, pacs: FakePacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Scp.stop

    def stop_slowly(scp: Scp) -> None:
        pacs.open.set()
        wait_until(lambda: len(node.queue.entries()) < 2, "the record of the delivery under way")
        stop(scp)

    monkeypatch.setattr(Scp, "stop", stop_slowly)
    pacs.open.clear()
    with started(tmp_path, service, pacs.name) as node:
        send(node, "1.2.3.1")
        wait_until(lambda: pacs.received, "the first result being sent")
    assert len(pacs.received) == 1
    monkeypatch.undo()
    with started(tmp_path, service, pacs.name) as node:
        wait_until(lambda: not node.queue.entries(), "the other result")
    assert len(pacs.received) == len(pacs.uids()) == 2


def test_queue_is_of_one_node_at_a_time(tmp_path: Path) -> None:
    with (
        sole_owner(tmp_path / "queue"),
        pytest.raises(SettingsError, match="another node"),
        sole_owner(tmp_path / "queue"),
    ):
        pass
    with sole_owner(tmp_path / "queue"):
        pass
