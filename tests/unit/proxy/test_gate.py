import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from proxy import gate as module
from proxy.client import Answer
from proxy.errors import RequestError, UnavailableError, UpstreamError
from proxy.gate import BATCH_BYTES, PATIENCE, Gate
from proxy.memory import Film, FilmMemory

STALL_S = 0.2


@pytest.fixture(scope="module")
def memory() -> Iterator[FilmMemory]:
    memory = FilmMemory(10 * BATCH_BYTES)
    yield memory
    memory.close()


class TorchServe:
    """Answers each request when told to, its films all alike; remembers how many films each had."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.requests: list[int] = []
        self.cancelled = 0
        self.fault: Exception | None = None
        self.answers: list[Answer | RequestError | None] = []

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer | RequestError | None]:
        self.requests.append(len(films))
        try:
            await self.leave.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault
        return self.answers or [Answer(200, b"%d" % film.size) for film in films]


@pytest.fixture
def torchserve() -> TorchServe:
    return TorchServe()


@pytest.fixture
def gate(torchserve: TorchServe) -> Gate:
    return Gate(torchserve.screen, workers=1, batch_films=2, queue_limit=3, stall_s=STALL_S)


async def film(gate: Gate, memory: FilmMemory, size: int = 1) -> str:
    """Goes through the gate; says what became of it."""
    with memory.place(size) as film:
        film.append(b"x" * size)
        try:
            answer = await gate.screen(film)
        except UnavailableError as exc:
            return f"{exc.code}: {exc.message}"
    assert answer.body == b"%d" % size
    return "answered"


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def crowd(gate: Gate, memory: FilmMemory, count: int) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(film(gate, memory)) for _ in range(count)]


async def test_films_pass_in_turn(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 5)
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_film_beyond_the_queue_is_refused_at_once(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 5)
    await settle()
    assert (await film(gate, memory)).startswith("saturated")
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_refusal_leaves_no_trace(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 8)
    await settle()
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert await asyncio.gather(*crowd(gate, memory, 5)) == ["answered"] * 5


async def test_lone_films_go_alone_and_those_that_waited_together(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe
) -> None:
    films = crowd(gate, memory, 5)
    await settle()
    assert torchserve.requests == [1, 1]
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert torchserve.requests == [1, 1, 2, 1]


class BusyTorchServe:
    """Answers one request at a time, in their order, when told to."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self._waiting: deque[asyncio.Event] = deque()

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer]:
        self.requests.append(len(films))
        leave = asyncio.Event()
        self._waiting.append(leave)
        await leave.wait()
        return [Answer(200, b"%d" % film.size) for film in films]

    async def answer(self) -> None:
        self._waiting.popleft().set()
        await settle()


@pytest.mark.parametrize("company", [True, False])
async def test_film_waits_for_company_while_torchserve_has_plenty_to_do(memory: FilmMemory, *, company: bool) -> None:
    torchserve = BusyTorchServe()
    gate = Gate(torchserve.screen, workers=1, batch_films=2, queue_limit=3, stall_s=STALL_S)
    films = crowd(gate, memory, 4)
    await settle()
    await torchserve.answer()
    await torchserve.answer()
    films += crowd(gate, memory, 1)  # there is room, but two films are there already
    await settle()
    assert torchserve.requests == [1, 1, 2]
    if company:
        films += crowd(gate, memory, 1)
        await settle()
        assert torchserve.requests == [1, 1, 2, 2]
        await torchserve.answer()
    else:
        await torchserve.answer()
        assert torchserve.requests == [1, 1, 2, 1]
    await torchserve.answer()
    assert await asyncio.gather(*films) == ["answered"] * len(films)


async def test_gate_widens_and_narrows_with_the_workers(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 4)
    await settle()
    assert torchserve.requests == [1, 1]
    gate.resize(2)
    await settle()
    assert torchserve.requests == [1, 1, 2]
    gate.resize(0)
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 4
    late = crowd(gate, memory, 1)
    await settle()
    assert not late[0].done()
    gate.resize(1)
    assert await asyncio.gather(*late) == ["answered"]


async def test_each_film_gets_its_own_answer(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    busy = crowd(gate, memory, 2)
    await settle()
    sizes = [asyncio.create_task(film(gate, memory, size)) for size in (3, 4)]  # `film` compares
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*busy, *sizes) == ["answered"] * 4
    assert torchserve.requests == [1, 1, 2]


async def test_large_films_share_no_request(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 2)
    await settle()
    films += [asyncio.create_task(film(gate, memory, BATCH_BYTES // 2 + 1)) for _ in range(2)]
    await settle()
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert torchserve.requests == [1, 1, 1, 1]


async def test_neighbour_of_a_failing_film_is_answered(memory: FilmMemory, torchserve: TorchServe) -> None:
    torchserve.leave.set()
    torchserve.answers = [UpstreamError("it failed"), Answer(200, b"1")]
    busy = Gate(torchserve.screen, workers=0, batch_films=2, queue_limit=3, stall_s=STALL_S)
    with memory.place(1) as first, memory.place(1) as second:
        films = [asyncio.create_task(busy.screen(place)) for place in (first, second)]
        await settle()
        busy.resize(1)
        failed, answered = await asyncio.gather(*films, return_exceptions=True)
    assert isinstance(failed, UpstreamError)
    assert answered == Answer(200, b"1")


async def test_stalled_films_are_given_up_inside_and_waiting(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe
) -> None:
    films = crowd(gate, memory, 4)
    await settle()
    gate.sweep(asyncio.get_running_loop().time() + STALL_S + 0.1)
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"timeout"}
    await settle()
    assert torchserve.cancelled == 2


async def test_request_goes_on_while_one_of_its_films_is_waited_for(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe
) -> None:
    busy = crowd(gate, memory, 2)
    await settle()
    early, late = crowd(gate, memory, 2)
    await settle()
    early.cancel()  # as when the service ends while its client waits
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*busy, late) == ["answered"] * 3
    assert torchserve.cancelled == 0


async def test_films_wait_on_while_others_are_answered(gate: Gate, memory: FilmMemory, torchserve: TorchServe) -> None:
    films = crowd(gate, memory, 4)
    await settle()
    arrived = asyncio.get_running_loop().time()
    await asyncio.sleep(0.05)
    gate.answered()
    gate.sweep(arrived + STALL_S + 0.04)
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 4


async def test_no_film_waits_for_ever(memory: FilmMemory, torchserve: TorchServe) -> None:
    gate = Gate(torchserve.screen, workers=1, batch_films=1, queue_limit=1, stall_s=0.02)
    films = crowd(gate, memory, 1)
    await settle()
    await asyncio.sleep(PATIENCE * 0.02 + 0.01)
    gate.answered()
    gate.sweep(asyncio.get_running_loop().time())
    assert (await films[0]).startswith("timeout")


async def test_closing_answers_every_film_with_the_reason(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe
) -> None:
    films = crowd(gate, memory, 4)
    await settle()
    gate.close("it died")
    assert await asyncio.gather(*films) == ["unavailable: it died"] * 4
    assert await film(gate, memory) == "unavailable: it died"
    gate.open()
    torchserve.leave.set()
    assert await film(gate, memory) == "answered"


async def test_closing_twice_is_the_same(gate: Gate, memory: FilmMemory) -> None:
    films = crowd(gate, memory, 2)
    await settle()
    gate.close("first")
    gate.close("second")
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"unavailable"}


async def test_watch_gives_up_stalled_films(memory: FilmMemory, torchserve: TorchServe) -> None:
    gate = Gate(torchserve.screen, workers=1, batch_films=1, queue_limit=1, stall_s=0.05)
    watch = asyncio.create_task(gate.watch())
    assert (await film(gate, memory)).startswith("timeout")
    watch.cancel()


@pytest.mark.parametrize("fault", [ValueError, UnavailableError])
async def test_failing_request_gives_its_place_back(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe, fault: type[Exception]
) -> None:
    torchserve.leave.set()
    torchserve.fault = fault("x")
    for _ in range(5):
        with memory.place(1) as place, pytest.raises(fault, match="x"):
            await gate.screen(place)
    torchserve.fault = None
    assert await film(gate, memory) == "answered"


class SlowTorchServe:
    """Takes as long as it is told for each request, and begins only its first film; remembers the films' sizes."""

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.waiting: list[asyncio.Event] = []

    async def screen(self, films: Sequence[Film]) -> Sequence[Answer | None]:
        self.requests.append([film.size for film in films])
        leave = asyncio.Event()
        self.waiting.append(leave)
        await leave.wait()
        return [Answer(200, b"%d" % films[0].size), *[None] * (len(films) - 1)]

    async def answer(self, index: int = 0) -> None:
        self.waiting.pop(index).set()
        await settle()


@pytest.fixture
def slow() -> SlowTorchServe:
    return SlowTorchServe()


async def queue(gate: Gate, memory: FilmMemory, sizes: Sequence[int]) -> list["asyncio.Task[str]"]:
    """Films that wait in the gate, by their sizes, in this order."""
    films = []
    for size in sizes:
        films.append(asyncio.create_task(film(gate, memory, size)))
        await settle()
    return films


@pytest.fixture
def one_request_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS_PER_WORKER", 1)


def closed_behind(slow: SlowTorchServe, batch_films: int = 4) -> Gate:
    """A gate that lets nothing through yet, so that films gather."""
    return Gate(slow.screen, workers=0, batch_films=batch_films, queue_limit=100, stall_s=STALL_S)


@pytest.mark.usefixtures("one_request_a_worker")
async def test_deferred_films_go_again_in_their_order_before_later_ones(
    memory: FilmMemory, slow: SlowTorchServe
) -> None:
    gate = closed_behind(slow)
    films = await queue(gate, memory, [1, 2, 3, 4, 5, 6])
    gate.resize(1)
    await settle()
    while slow.waiting:
        await slow.answer()
    assert slow.requests == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6], [5, 6], [6]]
    assert await asyncio.gather(*films) == ["answered"] * 6


@pytest.mark.usefixtures("one_request_a_worker")
async def test_deferred_films_are_not_overtaken_by_younger_deferred_ones(
    memory: FilmMemory, slow: SlowTorchServe
) -> None:
    """Else a film could be deferred for ever."""
    gate = closed_behind(slow, batch_films=3)
    films = await queue(gate, memory, [1, 2, 3, 4, 5, 6])
    gate.resize(2)
    await settle()
    assert slow.requests == [[1, 2, 3], [4, 5, 6]]
    gate.resize(1)  # a worker is gone: what is deferred gathers
    await slow.answer(0)
    await slow.answer(0)
    assert slow.requests[2:] == [[2, 3, 5]]
    while slow.waiting:
        await slow.answer()
    assert slow.requests[3:] == [[3, 5, 6], [5, 6], [6]]
    assert await asyncio.gather(*films) == ["answered"] * 6


async def test_no_film_is_deferred_for_ever_however_many_follow(memory: FilmMemory, slow: SlowTorchServe) -> None:
    gate = closed_behind(slow)
    films = await queue(gate, memory, range(1, 9))
    gate.resize(1)
    await settle()
    for size in range(9, 60):
        films += await queue(gate, memory, [size])
        await slow.answer(size % len(slow.waiting))
        oldest = min((size for size, film in enumerate(films, 1) if not film.done()), default=size)
        assert oldest >= size - 10, "those that came first are left behind"
    while slow.waiting:
        await slow.answer()
    assert await asyncio.gather(*films) == ["answered"] * len(films)


@pytest.mark.usefixtures("one_request_a_worker")
@pytest.mark.parametrize("when", ["in the request", "put back"])
async def test_deferred_film_that_was_left_is_not_sent_again(
    memory: FilmMemory, slow: SlowTorchServe, when: str
) -> None:
    gate = closed_behind(slow)
    films = await queue(gate, memory, [1, 2, 3])
    gate.resize(1)
    await settle()
    if when == "put back":
        gate.resize(0)
        await slow.answer()
    films[1].cancel()
    await settle()
    gate.resize(1)
    await settle()
    while slow.waiting:
        await slow.answer()
    assert slow.requests == [[1, 2, 3], [3]]
    assert [films[0].result(), films[2].result()] == ["answered"] * 2


@pytest.mark.usefixtures("one_request_a_worker")
@pytest.mark.parametrize("when", ["in the request", "put back"])
async def test_deferred_film_is_answered_when_the_gate_closes(
    memory: FilmMemory, slow: SlowTorchServe, when: str
) -> None:
    gate = closed_behind(slow)
    films = await queue(gate, memory, [1, 2])
    gate.resize(1)
    await settle()
    if when == "put back":
        gate.resize(0)
        await slow.answer()
    gate.close("it died")
    if when == "in the request":
        await slow.answer()
    gate.open()
    gate.resize(1)
    await settle()
    first, second = await asyncio.gather(*films)
    assert first == ("answered" if when == "put back" else "unavailable: it died")
    assert second == "unavailable: it died"
    assert slow.requests == [[1, 2]]


async def test_film_that_is_always_deferred_is_given_up(memory: FilmMemory, torchserve: TorchServe) -> None:
    """A handler that begins nothing must not keep a client, nor us, busy without end."""
    torchserve.leave.set()
    torchserve.answers = [None]
    gate = Gate(torchserve.screen, workers=1, batch_films=1, queue_limit=1, stall_s=0.02)
    watch = asyncio.create_task(gate.watch())
    assert (await film(gate, memory)).startswith("timeout")
    watch.cancel()
    torchserve.answers = []
    assert await film(gate, memory) == "answered"


async def test_film_that_is_left_while_it_waits_takes_no_place(
    gate: Gate, memory: FilmMemory, torchserve: TorchServe
) -> None:
    films = crowd(gate, memory, 3)
    await settle()
    films[2].cancel()
    torchserve.leave.set()
    assert await asyncio.gather(*films[:2]) == ["answered"] * 2
    assert torchserve.requests == [1, 1]
