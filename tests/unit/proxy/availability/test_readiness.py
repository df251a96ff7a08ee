import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from unittest import mock

import pytest

from proxy.availability.admission import Admission
from proxy.availability.archive import ReferenceFilm
from proxy.availability.prober import FRESH_S, Prober
from proxy.availability.readiness import Readiness, State
from proxy.errors import ProxyError, UnavailableError, WorkerDiedError
from proxy.torchserve.client import Reply, TorchServeClient
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm
from proxy.torchserve.transport import BodyTransport

FILMS = [
    ReferenceFilm(name="first", content=b"first", p_pneumonia=0.5, tolerance=0.02),
    ReferenceFilm(name="second", content=b"second", p_pneumonia=0.5, tolerance=0.02),
]


class FakeClient(TorchServeClient):
    """Stands in for TorchServe; each test sets what it does."""

    def __init__(self) -> None:
        self.inference = mock.Mock(screen=self.screen, transport=BodyTransport())
        self.management = mock.Mock(ready_workers=self.ready_workers)
        self.workers = 1
        self.p_pneumonia = {film.content: 0.5 for film in FILMS}
        self.fault: ProxyError | None = None
        self.defers = False
        self.delay_s = 0.0
        self.films: list[bytes] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def ready_workers(self) -> int:
        return self.workers

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply | None]:
        (film,) = films
        self.films.append(bytes(film))
        await asyncio.sleep(self.delay_s)
        self.meanwhile()
        if self.fault is not None:
            raise self.fault
        body = json.dumps({"p_pneumonia": self.p_pneumonia.get(bytes(film), 0.9)}).encode()
        return [None] if self.defers else [Reply(200, body)]


class Bench:
    def __init__(self, buffer: FilmBuffer) -> None:
        self.buffer = buffer
        self.client = FakeClient()
        self.admission = Admission(self.client.inference, workers=1, queue_limit=1, stall_s=1)
        self.readiness = Readiness(self.admission, asyncio.get_running_loop().time)
        self.prober = Prober(self.client, FILMS, readiness=self.readiness, buffer=buffer, timeout_s=0.2)

    async def admits(self) -> bool:
        try:
            with self.buffer.place(1) as film:
                await self.admission.screen(film)
        except UnavailableError:
            return False
        return True


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    buffer = FilmBuffer(100_000)
    yield Bench(buffer)
    buffer.close()


async def test_service_begins_loading_and_closed(bench: Bench) -> None:
    assert bench.readiness.state is State.LOADING
    assert not await bench.admits()
    with pytest.raises(UnavailableError) as caught:
        bench.readiness.require()
    assert caught.value.code == "loading"
    assert caught.value.headers == {"Retry-After": "2"}


async def test_right_prediction_makes_ready(bench: Bench) -> None:
    await bench.prober.probe()
    assert bench.readiness.ready
    assert await bench.admits()
    bench.readiness.require()


async def test_starting_anew_is_loading_again(bench: Bench) -> None:
    bench.readiness.succeeded()
    bench.readiness.loading()
    assert bench.readiness.state is State.LOADING
    assert not await bench.admits()


async def fail(bench: Bench, how: str) -> None:
    bench.readiness.succeeded()
    await asyncio.sleep(0.01)
    match how:
        case "no worker":
            bench.client.workers = 0
        case "wrong answer":
            bench.client.p_pneumonia = dict.fromkeys(bench.client.p_pneumonia, 0.6)
        case "no answer":
            bench.client.delay_s = 10
        case "worker died":
            bench.client.fault = UnavailableError("it died")
        case "deferred":
            bench.client.defers = True
    await bench.prober.probe()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no worker", "no worker"),
        ("wrong answer", "expected 0.5"),
        ("no answer", "no answer"),
        ("worker died", "it died"),
        ("deferred", "did not begin"),
    ],
)
async def test_failed_probe_makes_unavailable_and_says_why(bench: Bench, how: str, reason: str) -> None:
    await fail(bench, how)
    assert bench.readiness.state is State.UNAVAILABLE
    assert reason in bench.readiness.reason
    assert not await bench.admits()


async def test_right_results_for_all_reference_films_mend_it(bench: Bench) -> None:
    await fail(bench, "worker died")
    bench.client.fault = None
    bench.client.films.clear()
    await asyncio.sleep(FRESH_S + 0.05)
    await bench.prober.probe()
    assert bench.client.films == [b"first", b"second"]
    assert await bench.admits()


async def test_one_right_result_does_not_make_up_for_a_wrong_one(bench: Bench) -> None:
    await fail(bench, "wrong answer")
    bench.client.p_pneumonia[b"first"] = 0.5
    for _ in range(3):
        await asyncio.sleep(FRESH_S + 0.05)
        await bench.prober.probe()
        assert bench.readiness.state is State.UNAVAILABLE


async def test_film_that_is_answered_does_not_open_admission(bench: Bench) -> None:
    await fail(bench, "wrong answer")
    bench.readiness.screened()
    assert bench.readiness.state is State.UNAVAILABLE
    assert not await bench.admits()


@pytest.mark.parametrize(
    ("how", "ready"), [("no answer", True), ("worker died", True), ("wrong answer", False), ("deferred", False)]
)
async def test_busy_is_not_dead_but_wrong_is_wrong(bench: Bench, how: str, ready: bool) -> None:
    bench.client.delay_s = 0.02
    asyncio.get_running_loop().call_later(0.02, bench.readiness.screened)
    bench.client.meanwhile = bench.readiness.screened
    await fail(bench, how)
    assert bench.readiness.ready is ready


async def test_refusals_are_a_sign_of_life_too(bench: Bench) -> None:
    asyncio.get_running_loop().call_later(0.1, bench.admission.answered)  # as where TorchServe answers 422
    await fail(bench, "no answer")
    assert bench.readiness.ready


async def test_probes_at_the_same_time_are_one(bench: Bench) -> None:
    bench.readiness.succeeded()
    await asyncio.gather(*(bench.prober.probe() for _ in range(10)))
    await bench.prober.probe()
    assert bench.client.films == [b"first"]
    await asyncio.sleep(FRESH_S + 0.05)
    await bench.prober.probe()
    assert bench.client.films == [b"first", b"second"]


async def test_caller_that_gives_up_leaves_the_probe_to_others(bench: Bench) -> None:
    bench.client.delay_s = 0.05
    impatient = asyncio.create_task(bench.prober.probe())
    patient = asyncio.create_task(bench.prober.probe())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert bench.readiness.ready


async def test_check_of_all_films_raises_what_is_wrong(bench: Bench) -> None:
    await bench.prober.check_all()
    bench.client.p_pneumonia[b"second"] = 0.9
    with pytest.raises(ProxyError, match=r"expected 0\.5"):
        await bench.prober.check_all()


async def test_reference_film_whose_worker_died_is_screened_by_another(bench: Bench) -> None:
    bench.readiness.succeeded()
    bench.client.fault = WorkerDiedError()

    def mend() -> None:
        if len(bench.client.films) > 1:
            bench.client.fault = None

    bench.client.meanwhile = mend
    await bench.prober.probe()
    assert bench.readiness.ready
    assert bench.client.films == [b"first", b"first"]
