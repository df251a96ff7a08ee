import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from proxy.client import Answer
from proxy.errors import ProxyError, UnavailableError
from proxy.gate import Gate
from proxy.memory import Film, FilmMemory
from proxy.readiness import FRESH_S, Prober, Readiness, State
from proxy.reference import ReferenceFilm

FILM = ReferenceFilm(name="f", content=b"film", p_pneumonia=0.5, tolerance=0.02)


class FakeClient:
    """Stands in for TorchServe; each test sets what it does."""

    def __init__(self) -> None:
        self.workers = 1
        self.p_pneumonia = 0.5
        self.fault: ProxyError | None = None
        self.defers = False
        self.delay_s = 0.0
        self.films = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def ready_workers(self) -> int:
        return self.workers

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer | None]:
        assert [bytes(film) for film in films] == [b"film"]
        self.films += 1
        await asyncio.sleep(self.delay_s)
        self.meanwhile()
        if self.fault is not None:
            raise self.fault
        return [None] if self.defers else [Answer(200, json.dumps({"p_pneumonia": self.p_pneumonia}).encode())]


class Bench:
    def __init__(self, memory: FilmMemory) -> None:
        self.memory = memory
        self.gate = Gate(self.screen, workers=1, batch_films=1, queue_limit=1, stall_s=1)
        self.readiness = Readiness(self.gate, asyncio.get_running_loop().time)
        self.client = FakeClient()
        self.prober = Prober(
            self.client,  # type: ignore[arg-type]
            [FILM],
            self.readiness,
            memory=memory,
            timeout_s=0.2,
        )

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer]:
        return [Answer(200, b"{}") for _ in films]

    async def gate_is_open(self) -> bool:
        try:
            with self.memory.place(1) as film:
                await self.gate.screen(film)
        except UnavailableError:
            return False
        return True


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    memory = FilmMemory(100_000)
    yield Bench(memory)
    memory.close()


async def test_service_begins_loading_and_closed(bench: Bench) -> None:
    assert bench.readiness.state is State.LOADING
    assert not await bench.gate_is_open()
    with pytest.raises(UnavailableError) as caught:
        bench.readiness.require()
    assert caught.value.code == "loading"
    assert caught.value.headers == {"Retry-After": "2"}


async def test_right_prediction_makes_ready(bench: Bench) -> None:
    await bench.prober.probe()
    assert bench.readiness.ready
    assert await bench.gate_is_open()
    bench.readiness.require()


async def test_starting_anew_is_loading_again(bench: Bench) -> None:
    bench.readiness.succeeded()
    bench.readiness.loading()
    assert bench.readiness.state is State.LOADING
    assert not await bench.gate_is_open()


async def fail(bench: Bench, how: str) -> None:
    bench.readiness.succeeded()
    await asyncio.sleep(0.01)
    match how:
        case "no worker":
            bench.client.workers = 0
        case "wrong answer":
            bench.client.p_pneumonia = 0.6
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
    assert not await bench.gate_is_open()


async def test_next_success_mends_it(bench: Bench) -> None:
    await fail(bench, "worker died")
    bench.readiness.succeeded()
    assert await bench.gate_is_open()


@pytest.mark.parametrize(
    ("how", "ready"), [("no answer", True), ("worker died", True), ("wrong answer", False), ("deferred", False)]
)
async def test_busy_is_not_dead_but_wrong_is_wrong(bench: Bench, how: str, ready: bool) -> None:
    bench.client.delay_s = 0.02
    asyncio.get_running_loop().call_later(0.02, bench.readiness.succeeded)
    bench.client.meanwhile = bench.readiness.succeeded
    await fail(bench, how)
    assert bench.readiness.ready is ready


async def test_refusals_are_a_sign_of_life_too(bench: Bench) -> None:
    asyncio.get_running_loop().call_later(0.1, bench.gate.answered)  # as where TorchServe answers 422
    await fail(bench, "no answer")
    assert bench.readiness.ready


async def test_probes_at_the_same_time_are_one(bench: Bench) -> None:
    await asyncio.gather(*(bench.prober.probe() for _ in range(10)))
    await bench.prober.probe()
    assert bench.client.films == 1
    await asyncio.sleep(FRESH_S + 0.05)
    await bench.prober.probe()
    assert bench.client.films == 2


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
    bench.client.p_pneumonia = 0.9
    with pytest.raises(ProxyError, match=r"expected 0\.5"):
        await bench.prober.check_all()
