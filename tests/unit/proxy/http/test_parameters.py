import pytest

from proxy.errors import ParameterError
from proxy.http.parameters import explanation_answer, film_parameters


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", "explanation"),
        ("*/*", "explanation"),
        ("application/json", "explanation"),
        ("image/png", "picture"),
        ("IMAGE/PNG", "picture"),
        ("image/*", "picture"),
        ("image/png, */*", "picture"),
        ("text/html, image/png;q=0.8, */*;q=0.5", "picture"),
        ("application/json, image/png;q=0", "explanation"),
        ("application/json, image/png;q=0.1", "explanation"),
        ("image/*;q=0, */*", "explanation"),
        ("image/png;q=much", "explanation"),
        (";;,,", "explanation"),
    ],
)
def test_picture_is_sent_to_those_who_want_it_at_least_as_much(accept: str, answer: str) -> None:
    assert explanation_answer({"accept": accept}) == answer


def test_nothing_is_asked_of_a_film_without_a_query() -> None:
    assert film_parameters(b"", "result") == ""
    assert film_parameters(b"", "picture") == "answer=picture"


def test_query_is_passed_on_decoded_once() -> None:
    assert film_parameters(b"de%74ail=true", "result") == "detail=true&answer=result"
    assert film_parameters(b"operating_point=a%0Ab", "result") == "operating_point=a%0Ab&answer=result"


@pytest.mark.parametrize(
    "query", [b"\xff=1", b"detail", b"=1", b"answer=result", b"opacity=1", b"a=1&" * 9, b"a=" + b"b" * 500]
)
def test_what_is_no_query_for_a_result_is_refused(query: bytes) -> None:
    with pytest.raises(ParameterError):
        film_parameters(query, "result")
