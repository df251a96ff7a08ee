"""The answer to one film, as it leaves the handler: a result or an error, as JSON with an HTTP status."""

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Self

from handler.errors import FilmError
from handler.screening import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One film's answer."""

    status: int
    """Of HTTP."""
    reason: str
    body: bytes
    """JSON."""

    @classmethod
    def of(cls, outcome: Result | FilmError) -> Self:
        """Return the answer that a result or an error makes."""
        if isinstance(outcome, FilmError):
            body: dict[str, Any] = {"error": {"code": outcome.code, "message": str(outcome)}}
            return cls(status=outcome.status, reason=outcome.code, body=json.dumps(body).encode())
        return cls(status=HTTPStatus.OK, reason="OK", body=json.dumps(asdict(outcome)).encode())
