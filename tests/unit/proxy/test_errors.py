import json

import pytest

from proxy import errors


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.FormError("m"), 422, "invalid_form"),
        (errors.FormError("m", code="empty_file"), 422, "empty_file"),
        (errors.TooLargeError(5), 413, "film_too_large"),
        (errors.SlowUploadError("m"), 408, "upload_timeout"),
        (errors.UpstreamError("m"), 502, "prediction_failed"),
        (errors.UnavailableError("m"), 503, "unavailable"),
    ],
)
def test_each_error_has_its_status_and_code(error: errors.RequestError, status: int, code: str) -> None:
    assert (error.status, error.code) == (status, code)
    assert isinstance(error, errors.ProxyError)


def test_only_unavailable_says_when_to_come_back() -> None:
    assert errors.UnavailableError("m", retry_after_s=7).headers == {"Retry-After": "7"}
    assert errors.FormError("m").headers == {}


def test_too_large_names_the_limit() -> None:
    assert "20000000 bytes" in errors.TooLargeError(20_000_000).message


def test_body_is_the_shared_shape() -> None:
    assert json.loads(errors.error_body("c", 'quote " and ü')) == {"error": {"code": "c", "message": 'quote " and ü'}}
