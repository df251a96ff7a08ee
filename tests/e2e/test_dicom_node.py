"""`python -m dicom_node` as a process: killed at every step, and with dcmtk and Orthanc as its peers."""

import io
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from highdicom.sr import ComprehensiveSR
from PIL import Image
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from tests.dicom_peers import LEAVES_SOCKETS, FakePacs, FakeService, make_film, running, store, wait_until
from tests.dicoms import dicom
from tests.e2e.dicom_node import NodeProcess, need, running_node, running_orthanc, tool
from tests.e2e.service import ROOT, free_ports
from tests.e2e.service import running as running_service

pytestmark = LEAVES_SOCKETS

PATIENT = ("Doe", "Jane", "4711", "A-1", "20210203")


@pytest.fixture
def service() -> Iterator[FakeService]:
    with running(FakeService()) as service:
        yield service


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with running(FakePacs()) as pacs:
        yield pacs


@pytest.fixture
def node(service: FakeService, pacs: FakePacs, tmp_path: Path) -> Iterator[NodeProcess]:
    with running_node(tmp_path, SERVICE_URL=service.url, DESTINATIONS=pacs.name) as node:
        yield node


def test_sigterm_ends_it_and_the_log_names_no_patient(node: NodeProcess, pacs: FakePacs) -> None:
    assert store(node.port, make_film()) == 0x0000
    assert store(node.port, make_film("1.2.3.5", StudyInstanceUID=None)) == 0xA900
    wait_until(lambda: len(pacs.received) == 2, "both results")
    wait_until(lambda: not node.files(), "nothing left on disk")
    assert node.stop() == 0
    assert "film 1 screened" in node.output
    for value in (*PATIENT, "1.2.3.4"):
        assert value not in node.output


def test_killed_after_the_acknowledgement_screens_the_film_at_the_next_start(
    node: NodeProcess, service: FakeService, pacs: FakePacs
) -> None:
    service.open.clear()
    assert store(node.port, make_film()) == 0x0000
    wait_until(lambda: service.requests, "the service being asked")
    node.kill()
    service.open.set()
    node.start()
    wait_until(lambda: len(pacs.received) == 2, "both results")
    wait_until(lambda: not node.files(), "nothing left on disk")


def test_killed_between_sending_and_recording_sends_the_same_object_again(
    node: NodeProcess, service: FakeService, pacs: FakePacs
) -> None:
    pacs.open.clear()
    assert store(node.port, make_film()) == 0x0000
    wait_until(lambda: pacs.received, "the first result arriving")
    node.kill()
    pacs.open.set()
    node.start()
    wait_until(lambda: len(pacs.received) == 3, "it again, and the other one")
    first, again, other = pacs.received
    assert first == again
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert len(service.requests) == 2, "screened once"


def test_killed_again_and_again_under_load_loses_nothing_that_was_acknowledged(
    node: NodeProcess, pacs: FakePacs
) -> None:
    acknowledged: list[str] = []
    ended = threading.Event()

    def modality(number: int) -> None:
        for film in range(12):
            uid = f"1.2.{number}.{film + 1}"
            while uid not in acknowledged:  # as a modality does, until it is acknowledged
                try:
                    if store(node.port, make_film(uid)) == 0x0000:
                        acknowledged.append(uid)
                except (AssertionError, AttributeError):  # killed meanwhile
                    ended.wait(0.05)

    senders = [threading.Thread(target=modality, args=(number,)) for number in (1, 2, 3)]
    for sender in senders:
        sender.start()
    for count in (4, 10, 18, 26):
        wait_until(partial(_has, acknowledged, count), "films being acknowledged")
        node.kill()
        node.start()
    for sender in senders:
        sender.join()
    wait_until(lambda: len(pacs.uids()) == 2 * 36, "the results of all films")
    wait_until(lambda: node.listed() == [] and not node.files(), "nothing left")
    by_uid: dict[str, set[bytes]] = {}
    for data_set in pacs.received:
        by_uid.setdefault(str(data_set.SOPInstanceUID), set()).add(data_set.get("PixelData", b""))
    assert {len(contents) for contents in by_uid.values()} == {1}, "what came twice is the same object"


def test_second_node_on_the_same_queue_is_refused(node: NodeProcess) -> None:
    environ = node.environ | {"DICOM_PORT": str(free_ports(1)[0]), "DICOM_STOW_PORT": ""}
    run = subprocess.run(
        [sys.executable, "-m", "dicom_node"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "another node" in run.stderr


@pytest.mark.parametrize(("name", "value"), [("DICOM_DESTINATIONS", "nowhere"), ("DICOM_CALLING_AE_TITLES", "")])
def test_bad_setting_is_one_line(name: str, value: str, tmp_path: Path) -> None:
    environ = NodeProcess(tmp_path, DESTINATIONS="PACS@127.0.0.1:104").environ | {name: value}
    run = subprocess.run(
        [sys.executable, "-m", "dicom_node"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert name in run.stderr


@pytest.mark.parametrize("which", ["PORT", "STOW_PORT"])
def test_port_that_is_taken_is_one_line(which: str, node: NodeProcess, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = NodeProcess(tmp_path / "second", DESTINATIONS="PACS@127.0.0.1:104")
    environ = second.environ | {f"DICOM_{which}": node.environ[f"DICOM_{which}"]}
    run = subprocess.run(
        [sys.executable, "-m", "dicom_node"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert f"DICOM_{which}=" in run.stderr.splitlines()[-1]


def test_film_by_stow_comes_back_by_c_store(node: NodeProcess, pacs: FakePacs) -> None:
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + make_film() + b"\r\n--x--\r\n"
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    answer = requests.post(f"http://127.0.0.1:{node.stow_port}/studies", data=body, headers=headers, timeout=60)
    assert answer.status_code == 200
    wait_until(lambda: len(pacs.received) == 2, "both results")


def test_slow_sender_by_stow_does_not_hold_up_the_end(node: NodeProcess) -> None:
    head = b"POST /studies HTTP/1.1\r\nHost: node\r\nContent-Type: multipart/related; boundary=x\r\n"
    with closing(socket.create_connection(("127.0.0.1", node.stow_port), timeout=30)) as sender:
        sender.sendall(head + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        assert sender.recv(4096).startswith(b"HTTP/1.1 100"), "it reads"
        assert node.stop() == 0


# --- dcmtk


def test_dcmtk_s_echo_is_answered(node: NodeProcess) -> None:
    need("echoscu")
    assert tool("echoscu", "-aec", "PNEUMONIA", "127.0.0.1", node.port).returncode == 0
    stranger = tool("echoscu", "-aet", "STRANGER", "-aec", "PNEUMONIA", "127.0.0.1", node.port)
    assert stranger.returncode != 0
    assert "Calling AE Title Not Recognized" in stranger.stderr
    wrong = tool("echoscu", "-aec", "ANOTHER", "127.0.0.1", node.port)
    assert "Called AE Title Not Recognized" in wrong.stderr


def test_dcmtk_s_storescu_has_films_of_every_coding_screened(node: NodeProcess, pacs: FakePacs, tmp_path: Path) -> None:
    need("storescu")
    options = {
        "explicit": "-xe", "implicit": "-xi", "big endian": "-xb", "RLE": "-xr", "JPEG baseline": "-xy",
        "lossless JPEG, first order": "-xs", "JPEG-LS": "-xt", "JPEG 2000, lossless": "-xv",
    }  # fmt: skip
    for number, (syntax, option) in enumerate(options.items(), 1):
        (tmp_path / "film.dcm").write_bytes(make_film(f"1.2.3.{number}", transfer_syntax=syntax))
        sent = tool("storescu", option, "-aec", "PNEUMONIA", "127.0.0.1", node.port, tmp_path / "film.dcm")
        assert sent.returncode == 0, (syntax, sent.stderr)
    wait_until(lambda: len(pacs.received) == 2 * len(options), "the results of all films")


def test_dcmtk_is_told_what_is_refused(node: NodeProcess, tmp_path: Path) -> None:
    need("storescu")
    (tmp_path / "ct.dcm").write_bytes(make_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    assert tool("storescu", "-aec", "PNEUMONIA", "127.0.0.1", node.port, tmp_path / "ct.dcm").returncode != 0
    (tmp_path / "film.dcm").write_bytes(make_film(StudyInstanceUID=None))
    refused = tool("storescu", "-v", "-aec", "PNEUMONIA", "127.0.0.1", node.port, tmp_path / "film.dcm")
    assert "DataSetDoesNotMatchSOPClass" in refused.stderr


def test_dcmtk_reads_both_results(node: NodeProcess, pacs: FakePacs, tmp_path: Path) -> None:
    need("dsrdump", "dcmdump")
    assert store(node.port, make_film()) == 0x0000
    wait_until(lambda: len(pacs.received) == 2, "both results")
    for data_set in pacs.received:
        data_set.save_as(tmp_path / f"{data_set.Modality}.dcm", enforce_file_format=True)
    report = tool("dsrdump", "+Pc", "+Pl", tmp_path / "SR.dcm")
    assert report.returncode == 0, report.stderr
    assert not re.search(r"^[EF]:", report.stderr, re.MULTILINE), report.stderr
    for line in (
        'CODE:(121071,DCM,"Finding")=(233604007,SCT,"Pneumonia")',
        'TEXT:(111001,DCM,"Algorithm Name")="Pneumonia screening"',
        'TEXT:(111003,DCM,"Algorithm Version")="1.3.1"',
        'NUM:(PROBABILITY,99PNEUMONIA,"Probability of pneumonia")="0.99981234"',
        'TEXT:(121106,DCM,"Comment")="High-recall screening model; not a medical device."',
        'TEXT:(121106,DCM,"Comment")="Not for diagnosis."',
    ):
        assert line in report.stdout
    heatmap = tool("dcmdump", tmp_path / "OT.dcm")
    assert heatmap.returncode == 0
    assert "SecondaryCaptureImageStorage" in heatmap.stdout


def test_dicom3tools_find_no_error_in_the_results(node: NodeProcess, pacs: FakePacs, tmp_path: Path) -> None:
    need("dciodvfy")
    assert store(node.port, make_film()) == 0x0000
    wait_until(lambda: len(pacs.received) == 2, "both results")
    for data_set in pacs.received:
        data_set.save_as(tmp_path / "result.dcm", enforce_file_format=True)
        found = tool("dciodvfy", tmp_path / "result.dcm")
        assert not re.search(r"^Error", found.stderr + found.stdout, re.MULTILINE), found.stderr


# --- Orthanc


def test_orthanc_files_both_results_with_the_film(service: FakeService, tmp_path: Path) -> None:
    need("storescu")
    film = make_film(StudyInstanceUID="1.2.826.0.1.3680043.8.498.1")
    with running_orthanc() as orthanc:
        destination = f"PACS@127.0.0.1:{orthanc.dicom_port}"
        (tmp_path / "film.dcm").write_bytes(film)
        for _ in range(2):  # the second one is known already
            with running_node(tmp_path, SERVICE_URL=service.url, DESTINATIONS=destination) as node:
                for port, title in ((orthanc.dicom_port, "PACS"), (node.port, "PNEUMONIA")):
                    sent = tool("storescu", "-aec", title, "127.0.0.1", port, tmp_path / "film.dcm")
                    assert sent.returncode == 0, sent.stderr
                wait_until(lambda: len(orthanc.instances()) == 3, "film, report and heatmap")
                wait_until(partial(_is_empty, node), "nothing left on disk")
        assert orthanc.studies() == 1, "results are of the film's study and patient"
        found = {orthanc.tags(one)["Modality"]: dcmread(io.BytesIO(orthanc.file(one))) for one in orthanc.instances()}
        assert set(found) == {"DX", "SR", "OT"}
        assert {str(one.PatientID) for one in found.values()} == {"4711"}
        assert found["OT"].pixel_array.shape[2] == 3


def test_orthanc_that_is_down_gets_the_results_when_it_is_back(service: FakeService, tmp_path: Path) -> None:
    with running_orthanc() as orthanc:
        destination = f"PACS@127.0.0.1:{orthanc.dicom_port}"
        orthanc.process.terminate()
        orthanc.process.wait()
        with running_node(tmp_path, SERVICE_URL=service.url, DESTINATIONS=destination) as node:
            assert store(node.port, make_film()) == 0x0000
            wait_until(lambda: len(node.listed()) == 2, "results that wait")
            orthanc.start()
            orthanc.wait_until_ready()
            wait_until(lambda: len(orthanc.instances()) == 2, "both results")
            wait_until(lambda: node.listed() == [], "nothing that waits")


def test_orthanc_s_stow_takes_both_results(service: FakeService, tmp_path: Path) -> None:
    with running_orthanc() as orthanc:
        if not orthanc.has_dicom_web:
            pytest.skip("Orthanc has no DICOMweb: apt-get install orthanc-dicomweb")
        with running_node(tmp_path, SERVICE_URL=service.url, DESTINATIONS=f"{orthanc.url}/dicom-web") as node:
            assert store(node.port, make_film()) == 0x0000
            wait_until(lambda: len(orthanc.instances()) == 2, "both results")
            wait_until(lambda: node.listed() == [] and not node.files(), "nothing that waits")


def test_orthanc_sends_films_by_c_store_and_by_stow(node: NodeProcess, pacs: FakePacs) -> None:
    node.stop()
    node.environ["DICOM_CALLING_AE_TITLES"] = "PACS"
    node.start()
    with running_orthanc(node) as orthanc:
        orthanc.send("/modalities/node/store", orthanc.add(make_film("1.2.3.1")))
        wait_until(lambda: len(pacs.received) == 2, "the results of the first film")
        if not orthanc.has_dicom_web:
            pytest.skip("Orthanc has no DICOMweb: apt-get install orthanc-dicomweb")
        orthanc.send("/dicom-web/servers/node/stow", orthanc.add(make_film("1.2.3.2")))
        wait_until(lambda: len(pacs.received) == 4, "the results of the second film")


# --- the service itself


def test_films_go_through_the_service_itself(pacs: FakePacs, tmp_path: Path) -> None:
    films = {}
    for number, name in enumerate(("normal-1-1500", "pneumonia-1-1500"), 1):
        with Image.open(ROOT / "reference" / f"{name}.jpeg") as picture:
            films[name] = dicom(
                np.asarray(picture.convert("L")), SOPInstanceUID=f"1.2.{number}", StudyInstanceUID="1.2.3",
                SeriesInstanceUID="1.2.3.1", PatientID="4711",
            )  # fmt: skip
    with running_service() as service:
        answers = {name: service.predict(film).json() for name, film in films.items()}
        with running_node(tmp_path, SERVICE_URL=service.url, DESTINATIONS=pacs.name) as node:
            for film in films.values():
                assert store(node.port, film) == 0x0000
            wait_until(lambda: len(pacs.received) == 4, "the results of both films")
    reports = sorted(pacs.of_class(ComprehensiveSRStorage), key=lambda one: one.StudyInstanceUID)
    told = {_finding(report): _probability(report) for report in reports}
    assert told["Normal"] == pytest.approx(answers["normal-1-1500"]["p_pneumonia"], abs=1e-4)
    assert told["Pneumonia"] == pytest.approx(answers["pneumonia-1-1500"]["p_pneumonia"], abs=1e-4)
    for heatmap in pacs.of_class(SecondaryCaptureImageStorage):
        pixels = heatmap.pixel_array.astype(int)
        assert np.ptp(pixels, axis=2).max() > 50, "in colour, over the film"


def _has(acknowledged: list[str], count: int) -> bool:
    return len(acknowledged) >= count


def _is_empty(node: NodeProcess) -> bool:
    return not node.files()


def _measurements(report: Any) -> Any:
    content: Any = ComprehensiveSR.from_dataset(report).content
    (group,) = content.get_image_measurement_groups()
    return group


def _finding(report: Any) -> str:
    group = _measurements(report)
    return str(group.finding_type.meaning)


def _probability(report: Any) -> float:
    group = _measurements(report)
    (value,) = [one.value for one in group.get_measurements() if one.name.value == "PROBABILITY"]
    return float(value)
