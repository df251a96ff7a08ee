"""The DICOM node's client of the screening service, against answers of every kind."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError
from dicom_node.service import Service
from tests.dicom_peers import Answer, FakeService, error, make_film, make_settings, prediction, running
from tests.e2e.service import free_ports

pytestmark = pytest.mark.integration

FILM = make_film()


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with running(FakeService()) as fake:
        yield fake


def screen(fake: FakeService, folder: Path, **settings: Any) -> Any:
    service = Service(make_settings(folder, service_url=fake.url, **settings))
    try:
        return service.screen(FILM)
    finally:
        service.close()


def test_film_is_screened_and_explained_as_it_is(fake: FakeService, tmp_path: Path) -> None:
    screening, png = screen(fake, tmp_path)
    assert (screening.prediction, screening.detail.operating_point.threshold) == ("PNEUMONIA", 0.1268)
    assert png.startswith(b"\x89PNG")
    (predict, predict_headers, predict_body), (explain, explain_headers, explain_body) = fake.requests
    assert (predict, explain) == ("/predict?detail=true", "/explain")
    assert predict_body == explain_body == FILM
    assert predict_headers["Content-Type"] == explain_headers["Content-Type"] == "application/dicom"
    assert explain_headers["Accept"] == "image/png"
    assert "Authorization" not in predict_headers


def test_key_and_operating_point_are_sent(fake: FakeService, tmp_path: Path) -> None:
    screen(fake, tmp_path, service_key="secret", operating_point="balanced")
    assert [path for path, _, _ in fake.requests] == [
        "/predict?operating_point=balanced&detail=true",
        "/explain?operating_point=balanced",
    ]
    assert {headers["Authorization"] for _, headers, _ in fake.requests} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("status", "code"),
    [(413, "film_too_large"), (415, "unsupported_format"), (422, "damaged_film"), (422, "unusable_film"),
     (422, "rejected_by_gate"), (400, "bad_request")],
)  # fmt: skip
def test_refusal_of_the_film_is_for_good(status: int, code: str, fake: FakeService, tmp_path: Path) -> None:
    fake.refusal = Answer(status, error(code, "the film is cut off"))
    with pytest.raises(HopelessError, match=f"{status} {code}: the film is cut off"):
        screen(fake, tmp_path)


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "saturated"), (503, "loading"), (429, "rate_limited"), (401, "unauthorised"), (404, "not_found"),
     (405, "method_not_allowed"), (408, "upload_timeout"), (422, "invalid_parameter"), (500, "internal_error"),
     (302, "elsewhere")],
)  # fmt: skip
def test_what_is_not_the_film_s_fault_is_tried_again(status: int, code: str, fake: FakeService, tmp_path: Path) -> None:
    fake.refusal = Answer(status, error(code), headers={"Retry-After": "7"})
    with pytest.raises(RetryLaterError, match=code) as failed:
        screen(fake, tmp_path)
    assert failed.value.after_s == 7


def test_error_page_of_a_proxy_in_between_is_tried_again(fake: FakeService, tmp_path: Path) -> None:
    fake.refusal = Answer(502, b"<html>Bad Gateway</html>")
    with pytest.raises(RetryLaterError, match="502"):
        screen(fake, tmp_path)


def test_failure_of_the_model_on_this_film_is_doubtful(fake: FakeService, tmp_path: Path) -> None:
    fake.refusal = Answer(502, error("prediction_failed"))
    with pytest.raises(DoubtfulError, match="prediction_failed"):
        screen(fake, tmp_path)


@pytest.mark.parametrize("after", ["", "soon", "-1", "1e99", "Fri, 27 Nov 2026 00:00:00 GMT"])
def test_wait_that_is_no_number_of_seconds_is_none(after: str, fake: FakeService, tmp_path: Path) -> None:
    fake.refusal = Answer(503, error("saturated"), headers={"Retry-After": after})
    with pytest.raises(RetryLaterError) as failed:
        screen(fake, tmp_path)
    assert failed.value.after_s == 0


def test_service_that_is_down_is_tried_again(tmp_path: Path) -> None:
    service = Service(make_settings(tmp_path, service_url=f"http://127.0.0.1:{free_ports(1)[0]}"))
    with pytest.raises(RetryLaterError, match="cannot be reached"):
        service.screen(FILM)
    service.close()


def test_service_that_says_nothing_is_tried_again(fake: FakeService, tmp_path: Path) -> None:
    fake.open.clear()
    with pytest.raises(RetryLaterError, match="cannot be reached"):
        screen(fake, tmp_path, network_timeout_s=0.2)


@pytest.mark.parametrize(
    "changes",
    [{"p_pneumonia": 1.5}, {"prediction": "CANCER"}, {"detail": None}, {"note": None}],
)
def test_answer_of_another_shape_is_tried_again(changes: dict[str, Any], fake: FakeService, tmp_path: Path) -> None:
    fake.predicted = {**prediction(), **changes} if "detail" not in changes else prediction()
    if "detail" in changes:
        fake.refusal = Answer(200, {key: value for key, value in prediction().items() if key != "detail"})
    with pytest.raises(RetryLaterError, match="not as it should be"):
        screen(fake, tmp_path)


def test_version_that_changes_between_prediction_and_heatmap_is_tried_again(fake: FakeService, tmp_path: Path) -> None:
    first = fake.answer

    def answer(path: str, body: bytes) -> Answer:
        found = first(path, body)
        fake.predicted = prediction(version="2.0.0")
        return found

    fake.answer = answer
    with pytest.raises(RetryLaterError, match="another version"):
        screen(fake, tmp_path)


def test_environment_s_proxies_get_no_films(fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert screen(fake, tmp_path)


def test_certificate_file_is_used(tmp_path: Path) -> None:
    bundle = ssl.get_default_verify_paths().cafile
    path = Path(bundle) if bundle else tmp_path / "ca.pem"
    path.touch()
    Service(make_settings(tmp_path, ca_file=path)).close()
