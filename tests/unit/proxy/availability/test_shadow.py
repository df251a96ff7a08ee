import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from proxy.availability.shadow import Shadow
from proxy.errors import UnavailableError
from proxy.torchserve.client import Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm


def result(prediction: str, p_pneumonia: float) -> Reply:
    return Reply(200, json.dumps({"prediction": prediction, "p_pneumonia": p_pneumonia, "note": ""}).encode())


class FakeAdmission:
    """Answers as it is told, once `go` is set."""

    def __init__(self) -> None:
        self.workers, self.waiting = 2, 0
        self.go = asyncio.Event()
        self.go.set()
        self.films: list[bytes] = []
        self.answer: Reply | Exception = result("NORMAL", 0.1)

    async def screen(self, film: HeldFilm) -> Reply:
        await self.go.wait()
        self.films.append(bytes(film))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    def __init__(self, buffer: FilmBuffer) -> None:
        self.buffer = buffer
        self.live, self.candidate = FakeAdmission(), FakeAdmission()
        self.readiness = SimpleNamespace(ready=True, admission=self.candidate)
        self.shadow = Shadow(
            live=self.live,  # type: ignore[arg-type]
            candidate=self.readiness,  # type: ignore[arg-type]
            buffer=buffer,
            share=1.0,
        )

    def screen(self, content: bytes, reply: Reply) -> None:
        """Screen a live film, which is done with before the candidate has begun."""
        with self.buffer.place(100) as film:
            film.append(content)
            self.shadow.offer(film, reply)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def buffer() -> Iterator[FilmBuffer]:
    buffer = FilmBuffer(100_000)
    yield buffer
    buffer.close()


async def test_flipped_decisions_and_differences_are_counted(buffer: FilmBuffer) -> None:
    bench = Bench(buffer)
    for old, new in (("NORMAL", 0.1), ("PNEUMONIA", 0.9)), (("PNEUMONIA", 0.6), ("NORMAL", 0.4)):
        bench.candidate.answer = result(*new)
        bench.screen(b"a film", result(*old))
        await bench.settle()
    bench.candidate.answer = result("NORMAL", 0.2)
    bench.screen(b"a film", result("NORMAL", 0.2))
    await bench.settle()
    found = bench.shadow.comparison.describe()
    assert found["films"] == 3
    assert found["flipped"] == {"NORMAL to PNEUMONIA": 1, "PNEUMONIA to NORMAL": 1}
    assert found["p_difference"] == {"mean": 0.2, "mean_absolute": pytest.approx(1 / 3, abs=1e-6), "largest": 0.8}
    assert "2 decisions flipped (1 NORMAL to PNEUMONIA, 1 PNEUMONIA to NORMAL)" in str(bench.shadow.comparison)


async def test_film_is_there_until_the_candidate_has_screened_it_and_then_its_place_is_free(
    buffer: FilmBuffer,
) -> None:
    bench = Bench(buffer)
    bench.candidate.go.clear()
    bench.screen(b"the film", result("NORMAL", 0.1))
    assert buffer.held_bytes == 0
    with buffer.place(100) as later:
        later.append(b"a later film")
        bench.candidate.go.set()
        await bench.settle()
    assert bench.candidate.films == [b"the film"]
    with buffer.place(100) as first:
        assert first.start == 0


@pytest.mark.parametrize("why", ["busy", "live films wait", "not ready", "not of the share"])
async def test_film_is_skipped_where_there_is_enough_to_do(buffer: FilmBuffer, why: str) -> None:
    bench = Bench(buffer)
    bench.candidate.go.clear()
    if why == "busy":
        bench.screen(b"first", result("NORMAL", 0.1))
    elif why == "live films wait":
        bench.live.waiting = 1
    elif why == "not ready":
        bench.readiness.ready = False
    else:
        bench.shadow.share = 0.0
    bench.screen(b"second", result("NORMAL", 0.1))
    bench.candidate.go.set()
    await bench.settle()
    assert b"second" not in bench.candidate.films
    assert bench.shadow.comparison.skipped == (why != "not of the share")


@pytest.mark.parametrize("answer", [UnavailableError("it died"), Reply(415, b'{"error": {}}'), Reply(200, b"no JSON")])
async def test_candidate_that_gives_no_result_is_counted(buffer: FilmBuffer, answer: Reply | Exception) -> None:
    bench = Bench(buffer)
    bench.candidate.answer = answer
    bench.screen(b"a film", result("NORMAL", 0.1))
    await bench.settle()
    assert (bench.shadow.comparison.failed, bench.shadow.comparison.films) == (1, 0)
    with buffer.place(100) as film:
        assert film.start == 0
