"""What can go wrong in the proxy.

ProxyError
├── SettingsError          a bad setting, a taken port, a missing file: exit code 2
│   └── ArchiveError          an archive that is missing, broken, or none of this service
├── StartError             TorchServe did not come up: exit code 1
├── ManagementError        TorchServe's management API, or the service, could not do what was asked
├── DeployError            a version could not be put in service; the one that was stays
├── ProbeError             a reference film was not screened as it should be
│   └── WrongResultError       it was, with another result
└── RequestError           becomes an HTTP answer in the shared JSON shape
    ├── FormError          422 the form holds no film
    ├── ParameterError     422 the query asks for something that there is not
    ├── TooLargeError      413 over the size limit
    ├── BatchLimitError    413 too many films in a request, or too many bytes
    ├── EncodingError      415 the body is compressed
    ├── SlowUploadError    408 the body took too long to arrive
    ├── UnauthorisedError  401 no key that is known
    ├── RateLimitError     429 too many films; carries Retry-After
    ├── UpstreamError      502 TorchServe answered, but not with a prediction
    └── UnavailableError   503 no prediction can be had now; carries Retry-After
        ├── SaturatedError     too many films are held or wait
        ├── StoppingError      the service is about to end
        └── WorkerDiedError    the worker that had the film died
"""

import json
from http import HTTPStatus
from typing import Self


class ProxyError(Exception):
    """Base of all errors of this package."""


class SettingsError(ProxyError):
    """A setting, or what it points to, cannot be used; the message names both in one line."""


class ArchiveError(SettingsError):
    """A model archive is missing, broken, or none of this service."""


class DeployError(ProxyError):
    """A version could not be put in service; the one that was stays."""


class StartError(ProxyError):
    """TorchServe did not come up; the message says why in one line."""


class ManagementError(ProxyError):
    """TorchServe's management API, or the service, could not do what was asked."""


class ProbeError(ProxyError):
    """The live model did not screen a reference film."""


class WrongResultError(ProbeError):
    """The live model's result for a reference film is not the expected one."""


def error_body(code: str, message: str) -> bytes:
    """The one JSON shape of every error answer: `{"error": {"code": ..., "message": ...}}`."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


class RequestError(ProxyError):
    """An error that is the client's answer.

    Subclasses fix `status` and, where there is only one, `code`.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code

    @property
    def headers(self) -> dict[str, str]:
        """Header fields that belong to this answer, beside the JSON's own."""
        return {}


class FormError(RequestError):
    """The body is not a form with a film in the field `file`."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_form"


class ParameterError(RequestError):
    """The query cannot be read, or asks for something that there is not."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_parameter"


class TooLargeError(RequestError):
    """The film is larger than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "film_too_large"

    def __init__(self, max_film_bytes: int) -> None:
        super().__init__(f"the film is over the limit of {max_film_bytes} bytes")


class BatchLimitError(RequestError):
    """A request has more films, or more bytes, than one may have."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "batch_too_large"

    @classmethod
    def of_bytes(cls, max_bytes: int) -> Self:
        """Return the error of a request with more than so many bytes."""
        return cls(f"the request is over the limit of {max_bytes} bytes: send its films in several")


class EncodingError(RequestError):
    """The body is compressed or otherwise encoded."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_encoding"

    def __init__(self) -> None:
        super().__init__("compressed bodies are not read: send the film as it is, without Content-Encoding")

    @property
    def headers(self) -> dict[str, str]:
        """Say what is read (RFC 9110, section 15.5.16)."""
        return {"Accept-Encoding": "identity"}


class SlowUploadError(RequestError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "upload_timeout"


class UnauthorisedError(RequestError):
    """The request has no key that is known."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthorised"

    def __init__(self) -> None:
        super().__init__("send an API key: Authorization: Bearer KEY, or X-API-Key: KEY")

    @property
    def headers(self) -> dict[str, str]:
        """Say how to authenticate (RFC 9110, section 11.6.1)."""
        return {"WWW-Authenticate": "Bearer"}


class RateLimitError(RequestError):
    """The client has sent too many films."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "rate_limited"

    def __init__(self, limit: str, *, retry_after_s: int) -> None:
        super().__init__(f"over the rate limit of {limit}")
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Say when to try again, in seconds (RFC 9110, section 10.2.3)."""
        return {"Retry-After": str(self.retry_after_s)}


class UpstreamError(RequestError):
    """TorchServe answered with something that is neither a prediction nor a passing trouble."""

    status = HTTPStatus.BAD_GATEWAY
    code = "prediction_failed"


class UnavailableError(RequestError):
    """No prediction can be had at the moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: int = 2) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Say when to try again, in seconds (RFC 9110, section 10.2.3)."""
        return {"Retry-After": str(self.retry_after_s)}


class WorkerDiedError(UnavailableError):
    """The worker that had the film died: of the film, or of something else."""

    def __init__(self) -> None:
        super().__init__("the worker that had the film died")


class StoppingError(UnavailableError):
    """The service is about to end."""

    def __init__(self) -> None:
        super().__init__("the service is stopping", code="stopping")


class SaturatedError(UnavailableError):
    """There is no room for one more film."""

    def __init__(self) -> None:
        super().__init__("too many films are waiting", code="saturated", retry_after_s=1)
