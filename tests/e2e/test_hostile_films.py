"""Files made to break a decoder, sent to the shipped model beside an honest client."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from proxy.settings import Settings
from tests.dicoms import dicom
from tests.e2e.service import Service, running
from tests.films import grey, jpeg, jpeg_bomb, png, png_bomb
from tests.unit.handler.formats.hostile import after_soi, chunk, png_of, progressive, segment, with_chunks

REFERENCE = Settings.from_environ({}).reference
FILMS = json.loads((REFERENCE / "expected.json").read_text())["films"]

HOSTILE = {
    "5,000 scans": progressive(5000, 4000, [(1, 63, 0, 0)] * 5000),
    "40 megapixels of zeros, 90 scans": progressive(8000, 5000, [(1, 63, 0, 0)] * 90),
    "20,000 APP1 segments": after_soi(jpeg(grey()), segment(0xE1, b"x") * 20_000),
    "2,000 iCCP chunks": with_chunks(png(grey()), [chunk(b"iCCP", b"a\0\0x")] * 2000),
    "a million empty chunks": with_chunks(png(grey()), [chunk(b"prIv")] * 1_000_000),
    "JPEG of 900 megapixels": jpeg_bomb(30_000, 30_000),
    "PNG of 900 megapixels": png_bomb(30_000, 30_000),
    "half a JPEG": jpeg(grey(1200, 1000))[:9000] + b"\xff\xd9",
    "half a DICOM file": dicom(np.asarray(grey(1200, 1000)))[:600_000],
    "PNG of nothing": png_of(),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


def resident(service: Service) -> list[int]:
    """Return the memory of each worker, in kB, smallest first."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in service.workers()]
    return sorted(int(text.split("VmRSS:")[1].split()[0]) for text in status)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_film_is_the_clients_own_fault(service: Service, name: str) -> None:
    response = service.predict(HOSTILE[name])
    assert response.status_code == 422, response.text
    assert "Retry-After" not in response.headers
    assert response.json()["error"]["code"] in {"damaged_film", "unusable_film"}


def test_hostile_films_cost_nobody_else_an_answer_and_leave_no_memory(service: Service) -> None:
    honest = (REFERENCE / FILMS[0]["file"]).read_bytes()
    turns = list(itertools.islice(itertools.cycle(HOSTILE.values()), 300))
    answers: list[tuple[int, float]] = []
    over = threading.Event()

    def screen() -> None:
        while not over.is_set():
            response = service.predict(honest)
            answers.append((response.status_code, response.json().get("p_pneumonia", -1.0)))
            time.sleep(0.02)

    def attack(films: list[bytes]) -> set[int]:
        with ThreadPoolExecutor(4) as pool:
            return {response.status_code for response in pool.map(service.predict, films)}

    attack(turns[:60])  # what is loaded once stays
    workers, before = service.workers(), resident(service)
    client = threading.Thread(target=screen)
    client.start()
    try:
        statuses = attack(turns)
    finally:
        over.set()
        client.join()
    assert statuses == {422}
    assert {status for status, _ in answers} == {200}
    assert all(p == pytest.approx(FILMS[0]["p_pneumonia"], abs=0.02) for _, p in answers)
    assert service.workers() == workers
    for now, then in zip(resident(service), before, strict=True):
        assert now < 1.1 * then
