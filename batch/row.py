"""A row of the results: one film's result, or its error."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from handler.errors import FilmError, RejectedByGate

COLUMNS = (
    "file",
    "status",
    "prediction",
    "p_pneumonia",
    "uncertain",
    "gate",
    "note",
    "operating_point",
    "threshold",
    "model_version",
    "film_sha256",
    "error_code",
    "error_message",
)
"""Of the results, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one film; the file's name is its entry's."""

    status: int
    """As `POST /predict` answers: 200, or what is wrong with the film."""
    prediction: str | None = None
    """"NORMAL" or "PNEUMONIA"."""
    p_pneumonia: float | None = None
    """Calibrated, 0 to 1, four decimals: what is compared with the threshold."""
    uncertain: bool | None = None
    gate: str | None = None
    """Codes of what the input gate has against the film, with spaces between; empty where it has nothing."""
    note: str | None = None
    """The model's note, with its warnings of this film."""
    operating_point: str | None = None
    threshold: float | None = None
    model_version: str | None = None
    film_sha256: str | None = None
    """Of the film's bytes, where they could be read."""
    error_code: str | None = None
    error_message: str | None = None
    urgency: float | None = None
    """What rows are sorted by, highest first: p_pneumonia with all its decimals."""

    @property
    def ok(self) -> bool:
        """Whether the film has a result."""
        return self.status == HTTPStatus.OK

    @classmethod
    def of(cls, error: FilmError, film_sha256: str | None = None) -> Self:
        """Return the row of a film without a result."""
        return cls(
            status=error.status,
            gate=" ".join(error.reasons) if isinstance(error, RejectedByGate) else None,
            error_code=error.code,
            error_message=readable(str(error)),
            film_sha256=film_sha256,
        )


def readable(text: str) -> str:
    r"""Return text that can be written as UTF-8: bytes of a file's name that are none become `\udcXX`."""
    return text.encode("utf-8", "backslashreplace").decode()
