import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.errors import UnavailableError
from proxy.gate import PATIENCE, Gate

STALL_S = 0.2


@pytest.fixture
def gate() -> Gate:
    return Gate(slots=2, queue_limit=3, max_held_bytes=200_000, stall_s=STALL_S)


async def film(gate: Gate, stay: Callable[[], Awaitable[object]]) -> str:
    """Goes through the gate and stays inside until told otherwise; says what became of it."""
    try:
        async with gate.slot():
            await stay()
    except UnavailableError as exc:
        return f"{exc.code}: {exc.message}"
    return "answered"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def crowd(gate: Gate, count: int, leave: asyncio.Event) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(film(gate, leave.wait)) for _ in range(count)]


async def test_films_pass_in_turn(gate: Gate) -> None:
    leave = asyncio.Event()
    films = crowd(gate, 5, leave)
    await settle()
    leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_film_beyond_the_queue_is_refused_at_once(gate: Gate) -> None:
    leave = asyncio.Event()
    films = crowd(gate, 5, leave)
    await settle()
    assert (await film(gate, leave.wait)).startswith("saturated")
    leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 5


async def test_refusal_leaves_no_trace(gate: Gate) -> None:
    leave = asyncio.Event()
    films = crowd(gate, 8, leave)
    await settle()
    leave.set()
    await asyncio.gather(*films)
    again = crowd(gate, 5, leave)
    assert await asyncio.gather(*again) == ["answered"] * 5


async def test_stalled_films_are_given_up_inside_and_waiting(gate: Gate) -> None:
    films = crowd(gate, 4, asyncio.Event())
    await settle()
    gate.sweep(asyncio.get_running_loop().time() + STALL_S + 0.1)
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"timeout"}


async def test_films_wait_on_while_others_are_answered(gate: Gate) -> None:
    leave = asyncio.Event()
    films = crowd(gate, 4, leave)
    await settle()
    now = asyncio.get_running_loop().time()
    gate._last_answer = now + STALL_S
    gate.sweep(now + STALL_S + 0.5)
    await settle()
    leave.set()
    assert await asyncio.gather(*films) == ["answered"] * 4


async def test_no_film_waits_for_ever(gate: Gate) -> None:
    films = crowd(gate, 1, asyncio.Event())
    await settle()
    late = asyncio.get_running_loop().time() + PATIENCE * STALL_S + 0.1
    gate._last_answer = late
    gate.sweep(late)
    assert (await films[0]).startswith("timeout")


async def test_closing_answers_every_film_with_the_reason(gate: Gate) -> None:
    films = crowd(gate, 4, asyncio.Event())
    await settle()
    gate.close("it died")
    assert await asyncio.gather(*films) == ["unavailable: it died"] * 4
    assert await film(gate, settle) == "unavailable: it died"
    gate.open()
    assert await film(gate, settle) == "answered"


async def test_closing_twice_is_the_same(gate: Gate) -> None:
    films = crowd(gate, 2, asyncio.Event())
    await settle()
    gate.close("first")
    gate.close("second")
    assert {answer.split(":")[0] for answer in await asyncio.gather(*films)} == {"unavailable"}


async def test_watch_gives_up_stalled_films() -> None:
    gate = Gate(slots=1, queue_limit=1, max_held_bytes=1, stall_s=0.05)
    watch = asyncio.create_task(gate.watch())
    assert (await film(gate, asyncio.Event().wait)).startswith("timeout")
    watch.cancel()


@pytest.mark.parametrize("fault", [ValueError, UnavailableError])
async def test_failing_film_gives_its_place_back(gate: Gate, fault: Callable[[str], Exception]) -> None:
    for _ in range(5):
        with pytest.raises(Exception, match="x"):
            async with gate.slot():
                raise fault("x")
    assert await film(gate, settle) == "answered"


def test_memory_is_bounded_and_given_back(gate: Gate) -> None:
    with gate.hold(100_000):
        with pytest.raises(UnavailableError, match="too many"), gate.hold(100_001):
            pass
        with gate.hold(100_000):
            pass
    with gate.hold(200_000):
        pass


def test_small_film_counts_as_a_read_buffer(gate: Gate) -> None:
    with gate.hold(1), gate.hold(1), gate.hold(1), pytest.raises(UnavailableError), gate.hold(1):
        pass
