"""Files made to break a decoder, sent to the shipped model beside an honest client."""

import itertools
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from proxy.settings import ROOT
from tests.dicoms import dicom
from tests.e2e.service import Service, running
from tests.films import grey, jpeg, jpeg_bomb, png, png_bomb, with_bad_checksum
from tests.unit.handler.formats.hostile import (
    after_soi,
    chunk,
    ihdr,
    png_of,
    progressive,
    segment,
    with_chunks,
    with_size,
)

REFERENCE = ROOT / "reference"
FILMS = json.loads((REFERENCE / "expected.json").read_text())["films"]


def coded(image: Image.Image, *, resolutions: int = 6) -> bytes:
    """Return a film as a JPEG 2000 codestream."""
    return bytes(imagecodecs.jpeg2k_encode(np.asarray(image), level=0, codecformat="j2k", resolutions=resolutions))


def of_size(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG 2000 codestream that claims another size, in one tile."""
    size = struct.pack(">II", width, height)
    start = data.index(b"\xff\x51") + 6  # after the marker, the length and the profile
    return data[:start] + size + data[start + 8 : start + 16] + size + data[start + 24 :]


def png_without_its_end(width: int, height: int) -> bytes:
    """Return an RGBA PNG of 16 bits, valid but for its last row, which is missing: all else is decompressed."""
    pixels = zlib.compress(bytes((8 * width + 1) * (height - 1)), 1)
    return png_of(ihdr(width, height, bits=16, colour=6), chunk(b"IDAT", pixels), chunk(b"IEND"))


JPEG_LS = bytes(imagecodecs.jpegls_encode(np.asarray(grey(1200, 1000))))
RGB_JPEG_LS = bytes(imagecodecs.jpegls_encode(np.asarray(grey().convert("RGB"))))
RGBA64 = bytes(imagecodecs.png_encode(np.repeat(np.asarray(grey())[..., np.newaxis].astype(np.uint16) * 257, 4, 2)))

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
    "JPEG 2000 of 900 megapixels": of_size(coded(grey()), 30_000, 30_000),
    "JPEG 2000 of 16 megapixels in one resolution": of_size(coded(grey(), resolutions=1), 4000, 4000),
    "JPEG 2000 that claims 36 megapixels": of_size(coded(grey()), 6000, 6000),
    "half a JPEG 2000": coded(grey(1200, 1000))[:9000],
    "JPEG-LS of 900 megapixels": with_size(JPEG_LS, 30_000, 30_000),
    "JPEG-LS of 40 megapixels in colours": with_size(RGB_JPEG_LS, 8000, 5000),
    "JPEG-LS that claims 36 megapixels": with_size(JPEG_LS, 6000, 6000),
    "half a JPEG-LS": JPEG_LS[: len(JPEG_LS) // 2] + b"\xff\xd9",
    "RGBA PNG of 16 bits and 40 megapixels": png_of(
        ihdr(8000, 5000, bits=16, colour=6), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND")
    ),
    "RGBA PNG of 16 bits and 8 megapixels without its last row": png_without_its_end(2800, 2800),
    "RGBA PNG of 16 bits with a bad checksum": with_bad_checksum(RGBA64),
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

    def attack(films: list[bytes]) -> set[str]:
        with ThreadPoolExecutor(4) as pool:
            responses = list(pool.map(service.predict, films))
        return {response.text for response in responses if response.status_code != 422}

    attack(turns[:60])  # what is loaded once stays
    workers, before = service.workers(), resident(service)
    client = threading.Thread(target=screen)
    client.start()
    try:
        others = attack(turns)
    finally:
        over.set()
        client.join()
    assert not others, service.output
    assert {status for status, _ in answers} == {200}
    assert all(p == pytest.approx(FILMS[0]["p_pneumonia"], abs=0.02) for _, p in answers)
    assert service.workers() == workers
    for now, then in zip(resident(service), before, strict=True):
        assert now < 1.1 * then
