"""`python -m batch --server`, with a stand-in for the service on a real socket."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from batch import service, worklist
from batch.errors import InputError, StoppedError
from batch.journal import Task
from batch.place import File, as_text
from batch.row import Row
from batch.service import KEY_VARIABLE, Clock, Service
from batch.worklist import Summary
from tests.worklists import table, write_films

pytestmark = pytest.mark.integration

ANSWER = {
    "prediction": "PNEUMONIA",
    "p_pneumonia": 0.9,
    "note": "n",
    "detail": {
        "p_pneumonia": 0.90001,
        "operating_point": {"name": "rule_out", "threshold": 0.2},
        "uncertain": True,
        "gate": {"reasons": ["too_small", "inverted"]},
        "model_version": "1.2.3",
    },
}
MODEL = {
    "sha256": {"archive": "5" * 64},
    "served_operating_point": "rule_out",
    "operating_points": [{"name": "rule_out"}, {"name": "balanced"}],
}


class FakeService:
    """Answers as the service does; tests change how."""

    def __init__(self) -> None:
        self.url = ""
        self.refusals: list[tuple[int, dict[str, str]]] = []
        """What the next films are answered, before they are screened."""
        self.requests: list[web.Request] = []
        self.names: list[str | None] = []
        self.running = self.most_running = 0
        self.key: str | None = None
        self.not_ready: str | None = None
        """Why, in words."""
        self.poison: bytes | None = None
        """A film that is never answered, and how."""
        self.poison_status = 503

    async def predict(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        form = await request.post()
        film = form["file"]
        assert isinstance(film, web.FileField)
        self.names.append(film.filename)
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"code": "unauthorised", "message": "key"}}, status=401)
        if film.file.read() == self.poison:
            body, headers = {"error": {"code": "unavailable", "message": "died"}}, {"Retry-After": "60"}
            return web.json_response(body, status=self.poison_status, headers=headers)
        film.file.seek(0)
        if self.refusals:
            status, headers = self.refusals.pop()
            return web.json_response({"error": {"code": "saturated", "message": "x"}}, status=status, headers=headers)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.02)
        self.running -= 1
        if film.file.read(2) != b"\xff\xd8":
            return web.json_response({"error": {"code": "unsupported_format", "message": "no film"}}, status=415)
        return web.json_response(ANSWER, headers={"X-Model-Version": "1.2.3"})

    async def model(self, _request: web.Request) -> web.Response:
        return web.json_response(MODEL)

    async def ready(self, _request: web.Request) -> web.Response:
        if self.not_ready is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"error": {"code": "loading", "message": self.not_ready}}, status=503)


class Time:
    """Goes on by itself wherever somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now_s, sleep=self.sleep)


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    fake = FakeService()
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/predict", fake.predict)
    app.router.add_get("/model", fake.model)
    app.router.add_get("/health/ready", fake.ready)
    async with TestServer(app, host="127.0.0.1") as server:
        fake.url = str(server.make_url("/"))
        yield fake


async def screen(fake: FakeService, folder: Path, *, requests: int = 3, point: str | None = None) -> dict[str, Row]:
    """Screen a folder's files through the service, in a thread, as the command does."""
    found: dict[str, Row] = {}
    tasks = (Task(path.name.encode(), as_text(File(str(path)))) for path in sorted(folder.iterdir()))
    through = Service(
        fake.url, operating_point=point, requests=requests, max_film_bytes=1_000_000, clock=Time().clock()
    )
    await asyncio.to_thread(through.screen, tasks, lambda task, row: found.__setitem__(task.key.decode(), row))
    return found


async def test_rows_are_the_service_s_answers(fake: FakeService, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", 8)
    (folder / "none.txt").write_bytes(b"none")
    (folder / "large.png").write_bytes(bytes(1_000_001))
    rows = await screen(fake, folder, point="balanced")
    assert {name: row.status for name, row in rows.items() if row.status != 200} == {"none.txt": 415, "large.png": 413}
    row = rows["0000.jpeg"]
    assert (row.p_pneumonia, row.urgency, row.uncertain, row.threshold) == (0.9, 0.90001, True, 0.2)
    assert (row.model_version, row.operating_point, row.gate) == ("1.2.3", "rule_out", "too_small inverted")
    assert row.film_sha256
    assert fake.most_running <= 3
    assert {request.query_string for request in fake.requests} == {"detail=true&operating_point=balanced"}
    assert set(fake.names) == {"film"}, "a file's name may name a patient"


@pytest.mark.parametrize("status", [429, 503])
async def test_film_that_is_refused_for_now_is_sent_again(fake: FakeService, tmp_path: Path, status: int) -> None:
    fake.refusals = [(status, {"Retry-After": "0"}) for _ in range(5)]
    rows = await screen(fake, write_films(tmp_path / "films", 4))
    assert {row.status for row in rows.values()} == {200}
    assert len(fake.requests) == 9


async def test_key_is_taken_from_the_environment(
    fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.key = "secret"
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    rows = await screen(fake, write_films(tmp_path / "films", 1))
    assert rows["0000.jpeg"].status == 200
    monkeypatch.setenv(KEY_VARIABLE, "another")
    with pytest.raises(StoppedError, match=KEY_VARIABLE):
        await screen(fake, tmp_path / "films")


@pytest.mark.parametrize("requests", [1, 3])
async def test_film_that_is_never_answered_has_a_row_and_keeps_nothing_from_the_others(
    fake: FakeService, tmp_path: Path, requests: int
) -> None:
    folder = write_films(tmp_path / "films", 6)
    fake.poison = (folder / "0002.jpeg").read_bytes()
    rows = await screen(fake, folder, requests=requests)
    row = rows.pop("0002.jpeg")
    assert (row.status, row.error_code) == (503, "no_answer")
    assert "it answers 503, died" in (row.error_message or "")
    assert row.film_sha256 == hashlib.sha256(fake.poison).hexdigest()
    assert [one.status for one in rows.values()] == [200] * 5


async def test_film_that_a_rate_limit_always_refuses_comes_to_an_end_too(fake: FakeService, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", 2)
    fake.poison, fake.poison_status = (folder / "0000.jpeg").read_bytes(), 429
    rows = await screen(fake, folder)
    assert {name: row.error_code for name, row in rows.items()} == {"0000.jpeg": "no_answer", "0001.jpeg": None}


async def test_time_under_a_rate_limit_is_not_the_film_s(fake: FakeService, tmp_path: Path) -> None:
    fake.refusals = [(503, {}), *[(429, {"Retry-After": "60"})] * 60, (503, {})]
    rows = await screen(fake, write_films(tmp_path / "films", 1))
    assert rows["0000.jpeg"].status == 200


async def test_run_stops_when_the_service_is_gone_and_films_are_left(tmp_path: Path) -> None:
    gone = FakeService()
    gone.url = f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(StoppedError, match="not ready for 300 s"):
        await screen(gone, write_films(tmp_path / "films", 2), requests=1)


async def test_last_film_s_silence_does_not_keep_the_table_away(fake: FakeService, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", 2)
    fake.poison, fake.not_ready = (folder / "0001.jpeg").read_bytes(), "loading"
    rows = await screen(fake, folder, requests=1)
    assert {name: row.status for name, row in rows.items()} == {"0000.jpeg": 200, "0001.jpeg": 503}


async def test_film_without_an_answer_is_tried_again_by_the_next_run(fake: FakeService, tmp_path: Path) -> None:
    folder, out = write_films(tmp_path / "films", 3), tmp_path / "results.csv"
    fake.poison = (folder / "0001.jpeg").read_bytes()

    def engine() -> Any:
        through = Service(fake.url, operating_point=None, requests=2, max_film_bytes=1_000_000, clock=Time().clock())
        return SimpleNamespace(identity=through.identity(), screen=through.screen)

    def run() -> Summary:
        return worklist.screen(str(folder), out, engine)

    summary = await asyncio.to_thread(run)
    assert (summary.films, summary.screened, summary.errors) == (3, 3, 1)
    assert [(row["status"], row["error_code"]) for row in table(out)] == [("200", "")] * 2 + [("503", "no_answer")]
    fake.poison = None
    summary = await asyncio.to_thread(run)
    assert (summary.films, summary.screened, summary.errors) == (3, 1, 0)


async def test_service_that_is_not_ready_is_said_before_any_film_is_sent(fake: FakeService) -> None:
    fake.not_ready = "the model is loading"
    through = Service(fake.url, operating_point=None, requests=1, max_film_bytes=1)
    with pytest.raises(StoppedError, match="is not ready: the model is loading"):
        await asyncio.to_thread(through.identity)


async def test_service_says_what_screens_and_whether_there_is_such_a_point(fake: FakeService) -> None:
    def identity(point: str | None) -> Any:
        through = Service(fake.url, operating_point=point, requests=1, max_film_bytes=1)
        return asyncio.to_thread(through.identity)

    assert json.loads(await identity(None)) == ["5" * 64, "rule_out"]
    assert await identity("balanced") != await identity(None)
    with pytest.raises(InputError, match="rule_out, balanced"):
        await identity("none")


async def test_what_is_no_service_is_refused(fake: FakeService) -> None:
    for url in (f"{fake.url}elsewhere", f"http://127.0.0.1:{unused_port()}", "nonsense"):
        through = Service(url, operating_point=None, requests=1, max_film_bytes=1)
        with pytest.raises(InputError):
            await asyncio.to_thread(through.identity)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"prediction": "NORMAL"}'])
def test_answer_that_is_none_is_an_error_of_that_film(content: bytes) -> None:
    row = service.row_of(200, content, {}, b"film")
    assert (row.status, row.error_code) == (502, "unknown_answer")
