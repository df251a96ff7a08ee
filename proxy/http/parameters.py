"""What a client asks of a film, on its way from the query of a request to the handler, which reads it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from proxy.errors import ParameterError
from proxy.http.answer import JSON

Answer = Literal["result", "explanation", "picture"]
"""What the handler makes of a film: the result, the activation map with it as JSON, or the map over the film as PNG."""

MAX_QUERY_BYTES = 500
MAX_FIELDS = 8

PNG = "image/png"


def film_parameters(query: bytes, answer: Answer) -> str:
    """Return the parameters of a film, URL-encoded for the handler; nothing where nothing is asked.

    Raises:
        ParameterError: The query is too long, or is none.
    """
    if not query:
        return "" if answer == "result" else urlencode({"answer": answer})
    try:
        pairs = parse_qsl(
            query[: MAX_QUERY_BYTES + 1].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as exc:
        raise ParameterError("the query cannot be read: NAME=VALUE, joined by &") from exc
    for name, _ in pairs:
        if name in ("", "answer") or (name == "opacity" and answer == "result"):
            raise ParameterError(
                f"there is no parameter {name!r} here; there are operating_point, detail, and opacity of /explain"
            )
    if len(query) > MAX_QUERY_BYTES:
        raise ParameterError(f"the query is over {MAX_QUERY_BYTES} bytes")
    return urlencode([*pairs, ("answer", answer)])


def explanation_answer(headers: Mapping[str, str]) -> Answer:
    """Return which explanation a client accepts: JSON, unless it asks for a picture at least as much."""
    weights = {JSON: 0.0, PNG: 0.0}
    for item in headers.get("accept", "").lower().split(","):
        kind, *options = (part.strip() for part in item.split(";"))
        for ours, weight in weights.items():
            if kind == ours or (kind.endswith("/*") and ours.startswith(kind[:-1])):
                weights[ours] = max(weight, _weight(options))
    return "picture" if weights[PNG] and weights[PNG] >= weights[JSON] else "explanation"


def _weight(options: Sequence[str]) -> float:
    """Return the weight that a media range has by its options (RFC 9110, section 12.4.2): 1 where it has none."""
    for option in options:
        if option.startswith("q="):
            try:
                return float(option[2:])
            except ValueError:
                return 0.0
    return 1.0


def content_type(status: int, answer: Answer) -> str:
    """Return the type of the handler's answer of this status."""
    return PNG if answer == "picture" and status == HTTPStatus.OK else JSON
