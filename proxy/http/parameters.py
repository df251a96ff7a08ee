"""What a client asks of a film, on its way from the query of a request to the handler, which reads it."""

from collections.abc import Mapping
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
    if any(name in ("", "answer") for name, _ in pairs):
        raise ParameterError("there is no such parameter; there are operating_point, detail, and opacity of /explain")
    if len(query) > MAX_QUERY_BYTES:
        raise ParameterError(f"the query is over {MAX_QUERY_BYTES} bytes")
    return urlencode([*pairs, ("answer", answer)])


def explanation_answer(headers: Mapping[str, str]) -> Answer:
    """Return which explanation a client accepts: JSON, unless it asks for a picture."""
    accepted = headers.get("accept", "").lower()
    return "picture" if PNG in accepted or "image/*" in accepted else "explanation"


def content_type(status: int, answer: Answer) -> str:
    """Return the type of the handler's answer of this status."""
    return PNG if answer == "picture" and status == HTTPStatus.OK else JSON
