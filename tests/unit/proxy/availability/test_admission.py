import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from proxy.availability import admission as module
from proxy.availability.admission import BATCH_BYTES, PATIENCE, STUCK_AFTER, Admission, film_stages
from proxy.errors import RequestError, UnavailableError, UpstreamError, WorkerDiedError
from proxy.torchserve.client import InferenceClient, Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm
from proxy.torchserve.transport import BodyTransport

STALL_S = 0.2


@pytest.fixture(scope="module")
def buffer() -> Iterator[FilmBuffer]:
    buffer = FilmBuffer(10 * BATCH_BYTES)
    yield buffer
    buffer.close()


class FakeClient(InferenceClient):
    """Stands in for the client of TorchServe."""

    def __init__(self, batch_films: int = 1) -> None:
        self.transport = BodyTransport()
        self.transport.batch_films = batch_films


class TorchServe(FakeClient):
    """Answers all requests from `leave` on, their films all alike; remembers how many films each had."""

    def __init__(self, batch_films: int = 1) -> None:
        super().__init__(batch_films)
        self.leave = asyncio.Event()
        self.requests: list[int] = []
        self.cancelled = 0
        self.fault: Exception | None = None
        self.answers: list[Reply | RequestError | None] = []

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply | RequestError | None]:
        self.requests.append(len(films))
        try:
            await self.leave.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault
        return self.answers or [Reply(200, b"%d" % film.size) for film in films]


@pytest.fixture
def torchserve() -> TorchServe:
    return TorchServe(batch_films=2)


@pytest.fixture
def admission(torchserve: TorchServe) -> Admission:
    return Admission(torchserve, workers=1, queue_limit=3, stall_s=STALL_S)


async def film(admission: Admission, buffer: FilmBuffer, size: int = 1) -> str:
    """Go through the admission; says what became of it."""
    with buffer.place(size) as film:
        film.append(b"x" * size)
        try:
            answer = await admission.screen(film)
        except UnavailableError as exc:
            return f"{exc.code}: {exc.message}"
    assert answer.body == b"%d" % size
    return "answered"


async def settle() -> None:
    """Let what can go on go on."""
    await asyncio.sleep(0.02)


def crowd(admission: Admission, buffer: FilmBuffer, count: int) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(film(admission, buffer)) for _ in range(count)]


async def test_films_pass_in_turn(admission: Admission, buffer: FilmBuffer, torchserve: TorchServe) -> None:
    films = crowd(admission, buffer, 5)
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_who_asks_is_told_how_long_a_film_was_in_the_queue_and_in_torchserve(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    admission.resize(0)
    stages: list[tuple[str, float, float]] = []
    token = film_stages.set(stages)
    asked = asyncio.create_task(film(admission, buffer))
    film_stages.reset(token)
    await asyncio.sleep(0.05)
    admission.resize(1)
    await asyncio.sleep(0.1)
    torchserve.leave.set()
    assert await asked == "answered"
    assert [name for name, _, _ in stages] == ["queue", "torchserve"]
    (_, arrival, sent), (_, begin, end) = stages
    assert sent == begin
    assert sent - arrival >= 0.04
    assert end - begin >= 0.09


async def test_film_beyond_the_queue_is_refused_at_once(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 5)
    await settle()
    assert (await film(admission, buffer)).startswith("saturated")
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_refusal_leaves_no_trace(admission: Admission, buffer: FilmBuffer, torchserve: TorchServe) -> None:
    films = crowd(admission, buffer, 8)
    await settle()
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert await asyncio.gather(*crowd(admission, buffer, 5)) == ["answered"] * 5


async def test_lone_films_go_alone_and_those_that_waited_together(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 5)
    await settle()
    assert torchserve.requests == [1, 1]
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert torchserve.requests == [1, 1, 2, 1]


class BusyTorchServe(FakeClient):
    """Answers one request at a time, in their order, at each `answer`."""

    def __init__(self) -> None:
        super().__init__(batch_films=2)
        self.requests: list[int] = []
        self._waiting: deque[asyncio.Event] = deque()

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply]:
        self.requests.append(len(films))
        leave = asyncio.Event()
        self._waiting.append(leave)
        await leave.wait()
        return [Reply(200, b"%d" % film.size) for film in films]

    async def answer(self) -> None:
        self._waiting.popleft().set()
        await settle()


@pytest.mark.parametrize("full", [True, False])
async def test_film_waits_for_a_full_request_while_torchserve_is_busy(buffer: FilmBuffer, *, full: bool) -> None:
    torchserve = BusyTorchServe()
    admission = Admission(torchserve, workers=1, queue_limit=3, stall_s=STALL_S)
    films = crowd(admission, buffer, 4)
    await settle()
    await torchserve.answer()
    await torchserve.answer()
    films += crowd(admission, buffer, 1)  # there is room, but two films are there already
    await settle()
    assert torchserve.requests == [1, 1, 2]
    if full:
        films += crowd(admission, buffer, 1)
        await settle()
        assert torchserve.requests == [1, 1, 2, 2]
        await torchserve.answer()
    else:
        await torchserve.answer()
        assert torchserve.requests == [1, 1, 2, 1]
    await torchserve.answer()
    assert await asyncio.gather(*films) == ["answered"] * len(films)


async def test_admission_widens_and_narrows_with_the_workers(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 4)
    await settle()
    assert torchserve.requests == [1, 1]
    admission.resize(2)
    await settle()
    assert torchserve.requests == [1, 1, 2]
    admission.resize(0)
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 4
    late = crowd(admission, buffer, 1)
    await settle()
    assert not late[0].done()
    admission.resize(1)
    assert await asyncio.gather(*late) == ["answered"]


async def test_each_film_gets_its_own_answer(admission: Admission, buffer: FilmBuffer, torchserve: TorchServe) -> None:
    busy = crowd(admission, buffer, 2)
    await settle()
    sizes = [asyncio.create_task(film(admission, buffer, size)) for size in (3, 4)]  # `film` compares
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*busy, *sizes) == ["answered"] * 4
    assert torchserve.requests == [1, 1, 2]


async def test_large_films_share_no_request(admission: Admission, buffer: FilmBuffer, torchserve: TorchServe) -> None:
    films = crowd(admission, buffer, 2)
    await settle()
    films += [asyncio.create_task(film(admission, buffer, BATCH_BYTES // 2 + 1)) for _ in range(2)]
    await settle()
    torchserve.leave.set()
    await asyncio.gather(*films)
    assert torchserve.requests == [1, 1, 1, 1]


async def test_neighbour_of_a_failing_film_is_answered(buffer: FilmBuffer, torchserve: TorchServe) -> None:
    torchserve.leave.set()
    torchserve.answers = [UpstreamError("it failed"), Reply(200, b"1")]
    busy = Admission(torchserve, workers=0, queue_limit=3, stall_s=STALL_S)
    with buffer.place(1) as first, buffer.place(1) as second:
        films = [asyncio.create_task(busy.screen(place)) for place in (first, second)]
        await settle()
        busy.resize(1)
        failed, answered = await asyncio.gather(*films, return_exceptions=True)
    assert isinstance(failed, UpstreamError)
    assert answered == Reply(200, b"1")


async def test_stalled_films_are_given_up_inside_and_waiting(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 4)
    await settle()
    admission.sweep(asyncio.get_running_loop().time() + STALL_S + 0.1)
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"timeout"}
    await settle()
    assert torchserve.cancelled == 2


async def test_request_goes_on_while_one_of_its_films_is_waited_for(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    busy = crowd(admission, buffer, 2)
    await settle()
    early, late = crowd(admission, buffer, 2)
    await settle()
    early.cancel()  # as when the service ends while its client waits
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*busy, late) == ["answered"] * 3
    assert torchserve.cancelled == 0


async def test_films_wait_on_while_others_are_answered(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 4)
    await settle()
    arrived = asyncio.get_running_loop().time()
    await asyncio.sleep(0.05)
    admission.answered()
    admission.sweep(arrived + STALL_S + 0.04)
    await settle()
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 4


async def test_no_film_waits_for_ever(buffer: FilmBuffer) -> None:
    admission = Admission(TorchServe(), workers=1, queue_limit=1, stall_s=0.02)
    films = crowd(admission, buffer, 1)
    await settle()
    await asyncio.sleep(PATIENCE * 0.02 + 0.01)
    admission.answered()
    admission.sweep(asyncio.get_running_loop().time())
    assert (await films[0]).startswith("timeout")


async def test_closing_answers_every_film_with_the_reason(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 4)
    await settle()
    admission.close("it died")
    assert await asyncio.gather(*films) == ["unavailable: it died"] * 4
    assert await film(admission, buffer) == "unavailable: it died"
    admission.open()
    torchserve.leave.set()
    assert await film(admission, buffer) == "answered"


async def test_closing_twice_is_the_same(admission: Admission, buffer: FilmBuffer) -> None:
    films = crowd(admission, buffer, 2)
    await settle()
    admission.close("first")
    admission.close("second")
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"unavailable"}


async def test_watch_gives_up_stalled_films(buffer: FilmBuffer) -> None:
    admission = Admission(TorchServe(), workers=1, queue_limit=1, stall_s=0.05)
    watch = asyncio.create_task(admission.watch())
    assert (await film(admission, buffer)).startswith("timeout")
    watch.cancel()


@pytest.mark.parametrize("fault", [ValueError, UnavailableError])
async def test_failing_request_gives_its_place_back(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe, fault: type[Exception]
) -> None:
    torchserve.leave.set()
    torchserve.fault = fault("x")
    for _ in range(5):
        with buffer.place(1) as place, pytest.raises(fault, match="x"):
            await admission.screen(place)
    torchserve.fault = None
    assert await film(admission, buffer) == "answered"


class SlowTorchServe(FakeClient):
    """Answers a request at each `answer`, and begins only its first film; remembers the films' sizes."""

    def __init__(self) -> None:
        super().__init__(batch_films=4)
        self.requests: list[list[int]] = []
        self.waiting: list[asyncio.Event] = []

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply | None]:
        self.requests.append([film.size for film in films])
        leave = asyncio.Event()
        self.waiting.append(leave)
        await leave.wait()
        return [Reply(200, b"%d" % films[0].size), *[None] * (len(films) - 1)]

    async def answer(self, index: int = 0) -> None:
        self.waiting.pop(index).set()
        await settle()


@pytest.fixture
def slow() -> SlowTorchServe:
    return SlowTorchServe()


async def queue(admission: Admission, buffer: FilmBuffer, sizes: Sequence[int]) -> list["asyncio.Task[str]"]:
    """Films that wait in the admission, by their sizes, in this order."""
    films = []
    for size in sizes:
        films.append(asyncio.create_task(film(admission, buffer, size)))
        await settle()
    return films


@pytest.fixture
def one_request_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS_PER_WORKER", 1)


def closed_behind(slow: SlowTorchServe, batch_films: int = 4) -> Admission:
    """A admission that lets nothing through yet, so that films gather."""
    slow.transport.batch_films = batch_films
    return Admission(slow, workers=0, queue_limit=100, stall_s=STALL_S)


@pytest.mark.usefixtures("one_request_a_worker")
async def test_deferred_films_go_again_in_their_order_before_later_ones(
    buffer: FilmBuffer, slow: SlowTorchServe
) -> None:
    admission = closed_behind(slow)
    films = await queue(admission, buffer, [1, 2, 3, 4, 5, 6])
    admission.resize(1)
    await settle()
    while slow.waiting:
        await slow.answer()
    assert slow.requests == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6], [5, 6], [6]]
    assert await asyncio.gather(*films) == ["answered"] * 6


@pytest.mark.usefixtures("one_request_a_worker")
async def test_deferred_films_are_not_overtaken_by_younger_deferred_ones(
    buffer: FilmBuffer, slow: SlowTorchServe
) -> None:
    """Else a film could be deferred for ever."""
    admission = closed_behind(slow, batch_films=3)
    films = await queue(admission, buffer, [1, 2, 3, 4, 5, 6])
    admission.resize(2)
    await settle()
    assert slow.requests == [[1, 2, 3], [4, 5, 6]]
    admission.resize(1)  # a worker is gone: what is deferred gathers
    await slow.answer(0)
    await slow.answer(0)
    assert slow.requests[2:] == [[2, 3, 5]]
    while slow.waiting:
        await slow.answer()
    assert slow.requests[3:] == [[3, 5, 6], [5, 6], [6]]
    assert await asyncio.gather(*films) == ["answered"] * 6


async def test_no_film_is_deferred_for_ever_however_many_follow(buffer: FilmBuffer, slow: SlowTorchServe) -> None:
    admission = closed_behind(slow)
    films = await queue(admission, buffer, range(1, 9))
    admission.resize(1)
    await settle()
    for size in range(9, 60):
        films += await queue(admission, buffer, [size])
        await slow.answer(size % len(slow.waiting))
        oldest = min((size for size, film in enumerate(films, 1) if not film.done()), default=size)
        assert oldest >= size - 10, "those that came first are left behind"
    while slow.waiting:
        await slow.answer()
    assert await asyncio.gather(*films) == ["answered"] * len(films)


@pytest.mark.usefixtures("one_request_a_worker")
@pytest.mark.parametrize("when", ["in the request", "put back"])
async def test_deferred_film_that_was_left_is_not_sent_again(
    buffer: FilmBuffer, slow: SlowTorchServe, when: str
) -> None:
    admission = closed_behind(slow)
    films = await queue(admission, buffer, [1, 2, 3])
    admission.resize(1)
    await settle()
    if when == "put back":
        admission.resize(0)
        await slow.answer()
    films[1].cancel()
    await settle()
    admission.resize(1)
    await settle()
    while slow.waiting:
        await slow.answer()
    assert slow.requests == [[1, 2, 3], [3]]
    assert [films[0].result(), films[2].result()] == ["answered"] * 2


@pytest.mark.usefixtures("one_request_a_worker")
@pytest.mark.parametrize("when", ["in the request", "put back"])
async def test_deferred_film_is_answered_when_admission_closes(
    buffer: FilmBuffer, slow: SlowTorchServe, when: str
) -> None:
    admission = closed_behind(slow)
    films = await queue(admission, buffer, [1, 2])
    admission.resize(1)
    await settle()
    if when == "put back":
        admission.resize(0)
        await slow.answer()
    admission.close("it died")
    if when == "in the request":
        await slow.answer()
    admission.open()
    admission.resize(1)
    await settle()
    first, second = await asyncio.gather(*films)
    assert first == ("answered" if when == "put back" else "unavailable: it died")
    assert second == "unavailable: it died"
    assert slow.requests == [[1, 2]]


async def test_film_that_is_always_deferred_is_given_up(buffer: FilmBuffer, torchserve: TorchServe) -> None:
    """A handler that begins nothing must not keep a client, nor us, busy without end."""
    torchserve.leave.set()
    torchserve.answers = [None]
    admission = Admission(torchserve, workers=1, queue_limit=1, stall_s=0.02)
    watch = asyncio.create_task(admission.watch())
    assert (await film(admission, buffer)).startswith("timeout")
    watch.cancel()
    torchserve.answers = []
    assert await film(admission, buffer) == "answered"


async def test_film_that_is_left_while_it_waits_takes_no_place(
    admission: Admission, buffer: FilmBuffer, torchserve: TorchServe
) -> None:
    films = crowd(admission, buffer, 3)
    await settle()
    films[2].cancel()
    torchserve.leave.set()
    assert await asyncio.gather(*films[:2]) == ["answered"] * 2
    assert torchserve.requests == [1, 1]


async def test_film_whose_worker_died_is_tried_once_more_by_itself(buffer: FilmBuffer, torchserve: TorchServe) -> None:
    admission = Admission(torchserve, workers=0, queue_limit=9, stall_s=9)
    films = crowd(admission, buffer, 2)
    await settle()
    torchserve.fault = WorkerDiedError()
    admission.resize(1)
    await settle()
    assert torchserve.requests == [2]
    torchserve.leave.set()
    await asyncio.sleep(0)
    torchserve.leave.clear()
    await settle()
    assert admission.alarm.is_set()
    assert torchserve.requests == [2, 1, 1]
    torchserve.fault = None
    torchserve.leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 2


async def test_film_that_ended_two_workers_is_refused_for_good(buffer: FilmBuffer, torchserve: TorchServe) -> None:
    torchserve.leave.set()
    torchserve.fault = WorkerDiedError()
    admission = Admission(torchserve, workers=2, queue_limit=9, stall_s=9)
    with buffer.place(1) as place, pytest.raises(UpstreamError, match="two workers"):
        await admission.screen(place)
    assert torchserve.requests == [1, 1]


class HangingTorchServe(FakeClient):
    """Never answers its first request, and the others at once."""

    def __init__(self) -> None:
        super().__init__(batch_films=1)
        self.requests = 0

    async def screen(self, films: Sequence[HeldFilm]) -> Sequence[Reply]:
        self.requests += 1
        if self.requests == 1:
            await asyncio.Event().wait()
        return [Reply(200, b"%d" % film.size) for film in films]


@pytest.mark.parametrize(("later", "given_up"), [(STUCK_AFTER, True), (STUCK_AFTER - 1, False)])
async def test_film_of_a_worker_that_hangs_is_given_up_when_many_have_overtaken_it(
    buffer: FilmBuffer, *, later: int, given_up: bool
) -> None:
    admission = Admission(HangingTorchServe(), workers=2, queue_limit=99, stall_s=STALL_S)
    (stuck,) = await queue(admission, buffer, [1])
    for _ in range(later):
        assert await film(admission, buffer) == "answered"
    admission.sweep(asyncio.get_running_loop().time())
    assert not stuck.done()
    await asyncio.sleep(STALL_S + 0.05)
    admission.answered()
    admission.sweep(asyncio.get_running_loop().time())
    await settle()
    assert stuck.done() is given_up
    stuck.cancel()
