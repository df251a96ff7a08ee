"""What a client asks of one film, beside the three keys of a result.

The parameters of a request, URL-encoded: in the query of the proxy's API, after the film's place in a request that
names films, or in the header X-Parameters of a request to TorchServe, which drops queries.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from handler.errors import InvalidParameter

HEADER = "X-Parameters"

Answer = Literal["result", "explanation", "picture"]
ANSWERS: tuple[Answer, ...] = ("result", "explanation", "picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Of one film."""

    operating_point: str | None = None
    """None for the one that is served."""
    detail: bool = False
    """Whether the result has a fourth key, `detail`."""
    answer: Answer = "result"
    """The result alone, with the activation map as JSON, or the map over the film as a PNG file."""
    opacity: float = 0.5
    """Of the map over the film, 0 to 1."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parameters of a URL-encoded text.

        Raises:
            InvalidParameter: one is unknown, is given twice, or has a value that it does not take.
        """
        try:
            pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=len(_READ))
        except ValueError as exc:
            raise InvalidParameter(f"the parameters cannot be read; there are {_NAMES}") from exc
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name not in _READ:
                raise InvalidParameter(f"there is no parameter {name[:40]!r}; there are {_NAMES}")
            if name in found:
                raise InvalidParameter(f"the parameter {name!r} is given twice")
            found[name] = _READ[name](value)
        return replace(cls(), **found)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRequest:
    """One film as it was sent, and what is asked of it."""

    content: bytes | bytearray
    parameters: Parameters = Parameters()


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidParameter("detail is true or false")
    return value == "true"


def _answer(value: str) -> Answer:
    if value not in ANSWERS:
        raise InvalidParameter(f"answer is one of {', '.join(ANSWERS)}")
    return value


def _opacity(value: str) -> float:
    try:
        opacity = float(value)
    except ValueError:
        opacity = -1.0
    if not 0.0 <= opacity <= 1.0:
        raise InvalidParameter("opacity is a number from 0 to 1")
    return opacity


_READ: dict[str, Callable[[str], Any]] = {
    "operating_point": str,
    "detail": _flag,
    "answer": _answer,
    "opacity": _opacity,
}
_NAMES = "operating_point, detail, and opacity of /explain"
