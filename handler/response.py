"""The answer to one film, as it leaves the handler: a result or an error as JSON, or a picture, with an HTTP status."""

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Self

from handler.errors import FilmError, RejectedByGate
from handler.screening import Result

JSON, PNG = "application/json", "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One film's answer."""

    status: int
    """Of HTTP."""
    reason: str
    body: bytes
    content_type: str = JSON

    @classmethod
    def of(cls, outcome: Result | FilmError, **more: Any) -> Self:
        """Return the answer that a result or an error makes; `more` are further keys of a result."""
        if isinstance(outcome, FilmError):
            error: dict[str, Any] = {"code": outcome.code, "message": str(outcome)}
            if isinstance(outcome, RejectedByGate):
                error["reasons"] = outcome.reasons
            body = {"error": error}
            return cls(status=outcome.status, reason=outcome.code, body=json.dumps(body).encode())
        return cls(status=HTTPStatus.OK, reason="OK", body=json.dumps(asdict(outcome) | more).encode())

    @classmethod
    def picture(cls, png: bytes) -> Self:
        """Return the answer that is a PNG file."""
        return cls(status=HTTPStatus.OK, reason="OK", body=png, content_type=PNG)
