"""`POST /predict/batch` in one process, with a stand-in for TorchServe on a real socket."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest
from limits import parse

from handler.parameters import Parameters
from proxy.http.access import Access
from proxy.torchserve.film_buffer import FilmBuffer
from tests.integration.test_proxy_app import (  # noqa: F401  (fixtures)
    ANSWER,
    Bench,
    Response,
    access_log,
    bench,
    buffer,
    error,
    patience_s,
    upload_timeout_s,
)

pytestmark = pytest.mark.integration

LIMIT = 3_000_000
"""Of a film, as the fixture sets it."""


async def send(bench: Bench, films: list[tuple[str, bytes]], query: str = "", **options: Any) -> Response:
    form = aiohttp.FormData()
    for name, content in films:
        form.add_field("file", io.BytesIO(content), filename=name)
    return await bench.send("POST", f"/predict/batch{query}", data=form, **options)


def results(response: Response) -> list[dict[str, Any]]:
    assert response.status == 200, response.body
    answer = json.loads(response.body)
    assert list(answer) == ["results"]
    found: list[dict[str, Any]] = answer["results"]
    return found


async def test_each_film_has_its_result_in_the_order_of_the_form(bench: Bench) -> None:
    films = [(f"{number}.jpeg", b"film %d" % number) for number in range(9)]
    response = await send(bench, films)
    assert results(response) == [{"file": name, "status": 200, **json.loads(ANSWER)} for name, _ in films]
    assert sorted(bench.torchserve.films) == [content for _, content in films]
    assert response.headers["X-Model-Version"] == bench.release.archive.version


async def test_one_bad_film_spoils_no_other(bench: Bench) -> None:
    films = [("a", b"one"), ("empty", b""), ("large", bytes(LIMIT + 1)), ("b", b"two")]
    found = results(await send(bench, films))
    assert [one["status"] for one in found] == [200, 422, 413, 200]
    assert [one.get("error", {}).get("code") for one in found] == [None, "empty_file", "film_too_large", None]
    assert sorted(bench.torchserve.films) == [b"one", b"two"]


async def test_handlers_word_on_each_film_is_passed_on(bench: Bench) -> None:
    bench.torchserve.status = 422
    bench.torchserve.body = b'{"error": {"code": "damaged_film", "message": "cut"}}'
    response = await send(bench, [("a", b"film")])
    assert results(response) == [{"file": "a", "status": 422, "error": {"code": "damaged_film", "message": "cut"}}]
    assert "X-Model-Version" not in response.headers


async def test_file_names_are_told_as_they_were_sent(bench: Bench) -> None:
    names = ["Thorax Größe.jpg", "../../x", "胸部.dcm"]
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nfilm\r\n' % name.encode()
        for name in names
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await bench.send("POST", "/predict/batch", data=body + b"--x--\r\n", headers=headers)
    assert [one["file"] for one in results(response)] == names


async def test_parameters_go_with_every_film(bench: Bench) -> None:
    bench.torchserve.body = b'{"prediction": "NORMAL", "p_pneumonia": 0.1, "note": "", "detail": {"receipt": {}}}'
    found = results(await send(bench, [("a", b"1"), ("b", b"2")], "?detail=true&operating_point=balanced"))
    assert [one["detail"]["receipt"]["archive_sha256"] for one in found] == ["5" * 64] * 2
    asked = [one.parameters for one in bench.torchserve.requested]
    assert asked == [Parameters(operating_point="balanced", detail=True)] * 2


async def test_too_many_films_or_bytes_are_refused(bench: Bench) -> None:
    refused = await send(bench, [("x", b"film")] * 33)
    assert (refused.status, error(refused.body)["code"]) == (413, "batch_too_large")
    assert "32" in error(refused.body)["message"]
    length = {"Content-Length": "300000000", "Content-Type": "multipart/form-data; boundary=x"}
    refused = await bench.send("POST", "/predict/batch", data=b"", headers=length, skip_auto_headers=["Content-Length"])
    assert (refused.status, error(refused.body)["code"]) == (413, "batch_too_large")
    assert (await send(bench, [("x", b"film")] * 32)).status == 200


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"Content-Type": "application/dicom"}, b"film", "invalid_form"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", "missing_file"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nnonsense", "invalid_form"),
    ],
)
async def test_what_is_no_form_of_films_is_refused(
    bench: Bench, headers: dict[str, str], body: bytes, code: str
) -> None:
    refused = await bench.send("POST", "/predict/batch", data=body, headers=headers)
    assert (refused.status, error(refused.body)["code"]) == (422, code)


async def test_bad_query_is_refused(bench: Bench) -> None:
    assert (await send(bench, [("a", b"film")], "?&&")).status == 422


async def test_films_are_screened_while_others_arrive_and_few_at_once(bench: Bench, buffer: FilmBuffer) -> None:
    """A request of 32 large films needs the memory of a few: 8 MB are enough for 24 MB."""
    films = [(str(number), bytes(1_500_000)) for number in range(16)]
    assert [one["status"] for one in results(await send(bench, films))] == [200] * 16
    assert bench.torchserve.most_running <= 2
    assert buffer.held_bytes == 0


async def test_film_that_finds_no_room_is_told_to_come_again(bench: Bench, buffer: FilmBuffer) -> None:
    with buffer.place(7_000_000) as other:
        other.append(bytes(7_000_000))
        found = results(await send(bench, [("small", b"film"), ("large", bytes(2_000_000)), ("after", b"film")]))
    assert [one["status"] for one in found] == [200, 503, 200]
    assert found[1]["error"]["code"] == "saturated"
    assert buffer.held_bytes == 0


async def test_client_that_leaves_has_no_more_films_screened(bench: Bench, buffer: FilmBuffer) -> None:
    bench.torchserve.pause.clear()
    request = asyncio.create_task(send(bench, [(str(number), b"film") for number in range(8)]))
    while bench.torchserve.running < 1:
        await asyncio.sleep(0.01)
    request.cancel()
    while buffer.held_bytes:
        await asyncio.sleep(0.01)
    bench.torchserve.pause.set()
    assert (await bench.predict(b"another")).status == 200
    assert len(bench.torchserve.films) < 8


@pytest.mark.parametrize("patience_s", [0.2])
@pytest.mark.usefixtures("patience_s")
async def test_stalled_torchserve_is_each_films_answer(bench: Bench) -> None:
    bench.torchserve.pause.clear()
    found = results(await send(bench, [("a", b"film"), ("b", b"film")]))
    assert [(one["status"], one["error"]["code"]) for one in found] == [(503, "timeout")] * 2


async def test_service_that_is_not_ready_refuses_the_request(bench: Bench) -> None:
    bench.readiness.failed("no model")
    refused = await send(bench, [("a", b"film")])
    assert (refused.status, error(refused.body)["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers


@pytest.mark.parametrize("upload_timeout_s", [0.5])
@pytest.mark.usefixtures("upload_timeout_s")
async def test_film_that_does_not_arrive_is_given_up(bench: Bench, buffer: FilmBuffer) -> None:
    async def slow() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nfilm'
        await asyncio.sleep(30)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused = await bench.send("POST", "/predict/batch", data=slow(), headers=headers)
    assert refused.status == 408
    assert buffer.held_bytes == 0


async def test_every_film_counts_in_the_metrics(bench: Bench) -> None:
    await send(bench, [("a", b"1"), ("b", b""), ("c", b"3")])
    text = (await bench.send("GET", "/metrics")).body.decode()
    assert 'screening_answers_total{status="200"} 2.0' in text
    assert 'screening_answers_total{status="422"} 1.0' in text


async def test_every_film_counts_against_the_rate_limit(bench: Bench) -> None:
    limited = Access(bench.app, keys=None, rate_limit=parse("3/hour"))
    answers: list[dict[str, Any]] = []
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\nfilm\r\n' % number
        for number in range(5)
    )

    async def request() -> list[dict[str, Any]]:
        messages = iter([{"type": "http.request", "body": body + b"--x--\r\n"}])
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await asyncio.sleep(1000)
            return message

        async def keep(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"%d" % (len(body) + 7))]
        scope = {
            "type": "http", "method": "POST", "path": "/predict/batch", "query_string": b"", "headers": headers,
            "client": ("10.0.0.1", 1),
        }  # fmt: skip
        await limited(scope, receive, keep)
        return sent

    first, second = await request(), await request()
    answers = json.loads(first[1]["body"])["results"]
    assert sorted(one["status"] for one in answers) == [200, 200, 200, 429, 429]
    assert second[0]["status"] == 429


async def test_openapi_describes_the_form_and_gives_an_example(bench: Bench) -> None:
    schema = json.loads((await bench.send("GET", "/openapi.json")).body)
    described = schema["paths"]["/predict/batch"]["post"]
    assert described["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["file"]["type"] == "array"
    assert {"200", "413", "422", "429", "503"} <= set(described["responses"])
    example = described["responses"]["200"]["content"]["application/json"]["example"]
    assert [one["status"] for one in example["results"]] == [200, 422]
