"""Results out: C-STORE to a pynetdicom SCP, STOW-RS to an HTTP server."""

import base64
import io
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from dicom_node.addresses import read_address
from dicom_node.destinations import destination
from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError
from dicom_node.results import make_results
from tests.dicom_peers import (
    LEAVES_SOCKETS,
    Answer,
    FakeHttp,
    FakePacs,
    make_film,
    make_png,
    make_screening,
    make_settings,
    running,
)
from tests.e2e.service import free_ports

pytestmark = [pytest.mark.integration, LEAVES_SOCKETS]

RESULTS = make_results(make_film(), make_screening(), make_png())


def send(folder: Path, address: str, *kinds: str, **settings: Any) -> None:
    with destination(read_address(address), make_settings(folder, **settings)).connect() as connection:
        for kind in kinds or RESULTS:
            connection.send(RESULTS[kind])


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with running(FakePacs()) as pacs:
        yield pacs


def test_both_results_arrive_as_they_are(pacs: FakePacs, tmp_path: Path) -> None:
    send(tmp_path, pacs.name)
    report, heatmap = (dcmread(io.BytesIO(file)) for file in RESULTS.values())
    assert [one.SOPInstanceUID for one in pacs.received] == [report.SOPInstanceUID, heatmap.SOPInstanceUID]
    assert pacs.received[0].ContentSequence == report.ContentSequence
    assert pacs.received[1].PixelData == heatmap.PixelData


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007])
def test_warning_is_stored_all_the_same(status: int, pacs: FakePacs, tmp_path: Path) -> None:
    pacs.status = lambda _: status
    send(tmp_path, pacs.name)
    assert len(pacs.received) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, RetryLaterError), (0xA702, RetryLaterError), (0x0110, DoubtfulError), (0x0213, DoubtfulError),
     (0xA900, HopelessError), (0xC123, HopelessError), (0x0122, HopelessError), (0x0124, HopelessError)],
)  # fmt: skip
def test_refusal_is_told_apart(status: int, error: type[Exception], pacs: FakePacs, tmp_path: Path) -> None:
    pacs.status = lambda _: status
    with pytest.raises(error, match=f"0x{status:04X}"):
        send(tmp_path, pacs.name)


def test_peer_without_reports_refuses_those_alone(tmp_path: Path) -> None:
    with running(FakePacs(classes=(SecondaryCaptureImageStorage,))) as pacs:
        with pytest.raises(HopelessError, match="Comprehensive SR"):
            send(tmp_path, pacs.name, "sr")
        send(tmp_path, pacs.name, "sc")
        assert len(pacs.of_class(SecondaryCaptureImageStorage)) == 1


def test_peer_that_takes_neither_says_so(tmp_path: Path) -> None:
    with running(FakePacs(classes=())) as pacs, pytest.raises(HopelessError):
        send(tmp_path, pacs.name)


def test_nobody_at_the_address_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(RetryLaterError, match="no connection: nobody answers"):
        send(tmp_path, f"PACS@127.0.0.1:{free_ports(1)[0]}")


def test_name_that_does_not_resolve_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(RetryLaterError, match=r"no connection: .*[Nn]ame"):
        send(tmp_path, "PACS@no-such-host.invalid:104")


def test_wrong_called_title_is_tried_again(pacs: FakePacs, tmp_path: Path) -> None:
    with pytest.raises(RetryLaterError, match="rejected"):
        send(tmp_path, pacs.name.replace("PACS@", "OTHER@"))


def test_peer_that_does_not_respond_is_tried_again(pacs: FakePacs, tmp_path: Path) -> None:
    pacs.open.clear()
    with pytest.raises(RetryLaterError, match="before the response"):
        send(tmp_path, pacs.name, "sr", network_timeout_s=1)


def test_peer_that_stops_reading_is_not_waited_for_without_an_end(tmp_path: Path) -> None:
    large = make_results(make_film(), make_screening(), make_png(2048, 2048))["sc"]
    with running(FakePacs()) as pacs:
        pacs.reading.clear()
        address = read_address(pacs.name)
        with (
            pytest.raises(RetryLaterError),
            destination(address, make_settings(tmp_path, network_timeout_s=1)).connect() as connection,
        ):
            connection.send(large)


def test_report_arrives_in_the_peer_s_transfer_syntax(pacs: FakePacs, tmp_path: Path) -> None:
    send(tmp_path, pacs.name, "sr")
    (report,) = pacs.of_class(ComprehensiveSRStorage)
    assert report.file_meta.TransferSyntaxUID.is_little_endian


def stow_answer(reason: int | None = None, status: int = 200) -> Answer:
    body: dict[str, Any] = {"00081190": {"vr": "UR"}}
    if reason is not None:
        body["00081198"] = {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}
    return Answer(status, body, {"Content-Type": "application/dicom+json"})


def test_result_is_posted_as_multipart_related(tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: stow_answer())) as web:
        send(tmp_path, f"{web.url}/dicom-web", "sr")
    ((path, headers, body),) = web.requests
    assert path == "/dicom-web/studies"
    message: Any = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body, policy=HTTP)
    assert (message.get_content_type(), message.get_param("type")) == ("multipart/related", "application/dicom")
    (part,) = message.iter_parts()
    assert part.get_content_type() == "application/dicom"
    assert RESULTS["sr"] in body


@pytest.mark.parametrize(
    ("answer", "error"),
    [(stow_answer(0xA700, 409), RetryLaterError), (stow_answer(0xA900, 409), HopelessError),
     (stow_answer(0x0122, 202), HopelessError), (stow_answer(0x0110, 202), DoubtfulError),
     (stow_answer(0xC000, 200), HopelessError), (Answer(409), HopelessError), (Answer(400), HopelessError),
     (Answer(415), HopelessError), (Answer(503), RetryLaterError), (Answer(401), RetryLaterError),
     (Answer(404), RetryLaterError), (Answer(500, b"<html>"), RetryLaterError), (Answer(301), RetryLaterError)],
)  # fmt: skip
def test_refusal_by_stow_is_told_apart(answer: Answer, error: type[Exception], tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: answer)) as web, pytest.raises(error, match=str(answer.status)):
        send(tmp_path, web.url, "sr")


@pytest.mark.parametrize("answer", [Answer(200), Answer(200, b"<NativeDicomModel/>"), stow_answer(), Answer(202)])
def test_stored_by_stow_is_stored_whatever_the_body(answer: Answer, tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: answer)) as web:
        send(tmp_path, web.url, "sr", "sc")
        assert len(web.requests) == 2


def test_user_or_token_is_sent(tmp_path: Path) -> None:
    with running(FakeHttp(lambda _path, _body: stow_answer())) as web:
        send(tmp_path, web.url.replace("//", "//me:se%40cret@"), "sr", destination_token="t0ken")
        send(tmp_path, web.url, "sr", destination_token="t0ken")
    basic = "Basic " + base64.b64encode(b"me:se@cret").decode()
    assert [headers["Authorization"] for _, headers, _ in web.requests] == [basic, "Bearer t0ken"]


def test_no_web_server_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(RetryLaterError, match="no connection"):
        send(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}")
