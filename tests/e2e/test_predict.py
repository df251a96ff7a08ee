"""The shipped model through the whole service: proxy, TorchServe, worker, handler."""

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from pydantic import BaseModel

from proxy.http.schemas import BatchResults, DetailedPrediction, ExplainedPrediction, Model
from proxy.settings import ROOT
from tests.e2e.service import Service, running

REFERENCE = ROOT / "reference"


def reference_films() -> list[dict[str, Any]]:
    films: list[dict[str, Any]] = json.loads((REFERENCE / "expected.json").read_text())["films"]
    return films


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


def encoded(film: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    film.save(buffer, kind)
    return buffer.getvalue()


def film_bytes() -> bytes:
    return (REFERENCE / str(reference_films()[0]["file"])).read_bytes()


def broken_crc() -> bytes:
    png = bytearray(encoded(Image.linear_gradient("L"), "PNG"))
    png[png.index(b"IDAT") + 40] ^= 0xFF
    return bytes(png)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("film.jpeg", film_bytes())
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 grey pixels in about a megabyte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compressobj(1)
    row = bytes(30_001)
    content = b"".join(rows.compress(row) for _ in range(30_000)) + rows.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("expected", reference_films(), ids=lambda film: str(film["file"]))
def test_reference_film_gets_its_probability(service: Service, expected: dict[str, Any]) -> None:
    tolerance = json.loads((REFERENCE / "expected.json").read_text())["tolerance"]
    response = service.predict((REFERENCE / expected["file"]).read_bytes())
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["prediction", "p_pneumonia", "note"]
    assert answer["prediction"] in {"NORMAL", "PNEUMONIA"}
    assert answer["p_pneumonia"] == pytest.approx(expected["p_pneumonia"], abs=tolerance)
    assert answer["note"].startswith("High-recall screening model; not a medical device.")


def test_curl_gets_the_same_answer_from_proxy_and_torchserve(service: Service) -> None:
    film = REFERENCE / reference_films()[0]["file"]

    def curl(*arguments: str) -> bytes:
        return subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=30, check=True).stdout

    through_proxy = curl("-F", f"file=@{film}", f"{service.url}/predict")
    bearer = f"Authorization: Bearer {service.token()}"
    assert curl("-H", bearer, "-T", str(film), service.inference_url) == through_proxy
    assert curl("-H", bearer, "-F", f"file=@{film}", service.inference_url) == through_proxy


def test_receipt_can_be_replayed_on_the_archive(service: Service, tmp_path: Path) -> None:
    film = REFERENCE / reference_films()[0]["file"]
    with film.open("rb") as file:
        answer = requests.post(f"{service.url}/predict?detail=true", files={"file": file}, timeout=30)
    assert list(answer.json()) == ["prediction", "p_pneumonia", "note", "detail"]
    (tmp_path / "answer.json").write_bytes(answer.content)
    replay = [sys.executable, "-m", "handler.replay", str(tmp_path / "answer.json"), str(film)]
    done = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["matches"] * 8


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/predict?detail=true", DetailedPrediction),
        ("/explain", ExplainedPrediction),
        ("/explain?detail=true", ExplainedPrediction),
        ("/predict/batch?detail=true", BatchResults),
        ("/model?prevalence=0.1", Model),
    ],
)
def test_answer_is_as_openapi_describes_it(service: Service, path: str, shape: type[BaseModel]) -> None:
    if path.startswith("/model"):
        answer = requests.get(service.url + path, timeout=30).json()
    else:
        answer = requests.post(service.url + path, files={"file": film_bytes()}, timeout=30).json()
    assert shape.model_validate(answer).model_dump(exclude_unset=True) == answer


def test_torchserve_and_proxy_explain_alike(service: Service) -> None:
    film = (REFERENCE / reference_films()[0]["file"]).read_bytes()
    straight = service.inference_url.replace("/predictions/", "/explanations/")
    bearer = {"Authorization": f"Bearer {service.token()}"}
    for accept, kind in (("application/json", "application/json"), ("image/png", "image/png")):
        through_proxy = requests.post(
            f"{service.url}/explain", files={"file": film}, headers={"Accept": accept}, timeout=30
        )
        past_it = requests.post(straight, data=film, headers={"Accept": accept, **bearer}, timeout=30)
        assert past_it.content == through_proxy.content
        assert past_it.headers["Content-Type"] == through_proxy.headers["Content-Type"] == kind


def test_torchserve_takes_parameters_in_a_header(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.token()}", "X-Parameters": "operating_point=balanced&detail=true"}
    answer = requests.post(service.inference_url, data=film_bytes(), headers=headers, timeout=30).json()
    assert answer["detail"]["operating_point"]["name"] == "balanced"


def test_torchserve_refuses_who_has_no_token(service: Service) -> None:
    assert requests.post(service.inference_url, data=film_bytes(), timeout=10).status_code in {400, 401}


@pytest.mark.parametrize(
    "film",
    [
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: b"this is no film", id="text"),
        pytest.param(lambda: film_bytes()[:2000], id="truncated JPEG"),
        pytest.param(broken_crc, id="PNG with a bad CRC"),
        pytest.param(zipped, id="zip"),
        pytest.param(lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', id="SVG"),
        pytest.param(lambda: b"<!DOCTYPE html><title>film</title>", id="HTML"),
        pytest.param(bomb, id="decompression bomb"),
    ],
)
def test_what_is_no_film_is_refused_with_what_is_wrong(service: Service, film: Any) -> None:
    response = service.predict(film())
    assert response.status_code in {415, 422}, response.text
    error = response.json()["error"]
    assert error["code"]
    assert error["message"]


@pytest.mark.parametrize(
    "film",
    [
        pytest.param(lambda: encoded(Image.new("L", (1, 1), 128), "PNG"), id="1x1"),
        pytest.param(lambda: encoded(Image.new("L", (20_000, 10), 128), "PNG"), id="20000x10"),
        pytest.param(lambda: encoded(Image.new("L", (1500, 1500), 0), "JPEG"), id="black"),
        pytest.param(lambda: encoded(Image.new("L", (1500, 1500), 255), "JPEG"), id="white"),
    ],
)
def test_odd_film_gets_an_answer(service: Service, film: Any) -> None:
    response = service.predict(film())
    assert response.status_code in {200, 422}, response.text


def test_refusals_leave_the_service_as_it_was(service: Service) -> None:
    assert service.healthy()
    assert len(service.workers()) == 2
