"""Admission: how many films may wait and be in TorchServe at once, for how long, and in what company.

The proxy keeps the queue because TorchServe's cannot time out, and because TorchServe accepts films for workers that
are dead and then answers nothing for ever.

A film that finds TorchServe free goes alone, at once. Films that had to wait go together: one request carries what has
gathered, so that what a request costs is shared when it matters. While TorchServe has plenty to do, they wait until
they fill a request: there they would have waited as well, but in smaller company.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from heapq import merge
from itertools import islice
from operator import attrgetter

from proxy.client import Answer
from proxy.errors import RequestError, SaturatedError, UnavailableError
from proxy.memory import Film

TICK_S = 0.1
"""How often waiting films are looked at; adds to the promised times."""

PATIENCE = 5
"""A film is given up at this many times the stall time, even while others are answered."""

REQUESTS_PER_WORKER = 2
"""Requests in TorchServe at most: one on each worker and one behind it keep all busy. No more, because TorchServe's own
queue cannot time out and runs what was given up on, and because films that wait here go on together."""

BATCH_FILMS = 4
"""Films in one request at most."""

BATCH_BYTES = 4_000_000
"""The bytes of films that share a request at most: large ones take long, and would keep the others waiting."""

Screen = Callable[[Sequence[Film]], Awaitable[Sequence[Answer | RequestError | None]]]
"""Has films screened in one request; what it raises is the answer to all of them, None what was not begun."""


class _Ticket:
    """A film on its way."""

    __slots__ = ("answer", "arrival", "film", "request")

    def __init__(self, film: Film, loop: asyncio.AbstractEventLoop) -> None:
        self.film = film
        self.arrival = loop.time()
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.request: asyncio.Task[None] | None = None
        """What carries it to TorchServe, once it is on its way."""


class Gate:
    """Lets films through to TorchServe, in the order of their arrival.

    A film is given up when TorchServe has answered nothing at all for `stall_s` since the film's arrival. As long as
    answers come, films wait longer than that rather than being refused: a slow machine serves late, a dead one says so.
    """

    def __init__(self, screen: Screen, *, workers: int, batch_films: int, queue_limit: int, stall_s: float) -> None:
        self._screen = screen
        self._batch_films = batch_films
        self._slots = REQUESTS_PER_WORKER * workers
        self._queue_limit = queue_limit
        self._stall_s = stall_s
        self._waiting: deque[_Ticket] = deque()
        self._requests: dict[asyncio.Task[None], list[_Ticket]] = {}
        """What is in TorchServe, and the films in it."""
        self.last_answer = 0.0
        """When TorchServe last answered something, a refusal included; of the loop's clock."""
        self._closed: str | None = None

    def require_room(self) -> None:
        """Refuses a film, before it is read, that could not wait.

        Raises:
            SaturatedError: Too many films wait already.
        """
        if len(self._waiting) >= self._queue_limit:
            raise SaturatedError

    async def screen(self, film: Film) -> Answer:
        """Waits for a place in TorchServe, and for its answer.

        Raises:
            RequestError: The film gets no prediction: the queue is full, TorchServe stalls or fails, or the gate was
                closed meanwhile.
        """
        if self._closed is not None:
            raise UnavailableError(self._closed)
        self.require_room()
        ticket = _Ticket(film, asyncio.get_running_loop())
        self._waiting.append(ticket)
        self._send()
        try:
            return await ticket.answer
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is on its way
                self._waiting.remove(ticket)
            raise

    def answered(self) -> None:
        """Notes that TorchServe answered something: it is not stalled."""
        self.last_answer = asyncio.get_running_loop().time()

    def resize(self, workers: int) -> None:
        """Lets in as much as keeps so many workers busy."""
        self._slots = REQUESTS_PER_WORKER * workers
        self._send()

    def close(self, reason: str) -> None:
        """Answers every film in the gate with 503 at once, and all that come until `open`."""
        self._closed = reason
        self._give_up(lambda _: True, UnavailableError(reason))

    def open(self) -> None:
        """Lets films in again."""
        self._closed = None

    async def watch(self) -> None:
        """Gives up films that have waited too long; runs as long as the service does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """Gives up the films whose time is over at `now`."""

        def over(arrival: float) -> bool:
            stalled = now - max(arrival, self.last_answer) > self._stall_s
            return stalled or now - arrival > PATIENCE * self._stall_s

        self._give_up(over, UnavailableError("TorchServe gave no answer in time", code="timeout"))

    def _give_up(self, over: Callable[[float], bool], reason: UnavailableError) -> None:
        """Answers films by their arrival, and ends the requests in which nobody's film is left."""
        for ticket in [*self._waiting, *(ticket for films in self._requests.values() for ticket in films)]:
            if over(ticket.arrival) and not ticket.answer.done():
                ticket.answer.set_exception(reason)
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.answer.done())
        for request, tickets in self._requests.items():
            if all(ticket.answer.done() for ticket in tickets):
                request.cancel()

    def _send(self) -> None:
        """Sends what waits, as far as there is room in TorchServe."""
        while len(self._requests) < self._slots and (count := self._ready()):
            tickets = [self._waiting.popleft() for _ in range(count)]
            request = asyncio.create_task(self._request(tickets))
            self._requests[request] = tickets
            request.add_done_callback(self._done)

    def _ready(self) -> int:
        """How many of the films that wait go in the next request; 0 while others may still join them."""
        count = size = 0
        for ticket in islice(self._waiting, self._batch_films):
            size += ticket.film.size
            if count and size > BATCH_BYTES:
                return count
            count += 1
        sent = sum(len(tickets) for tickets in self._requests.values())
        plenty = self._slots * self._batch_films // 2  # half of the most that may be there
        return count if count == self._batch_films or sent < plenty else 0

    async def _request(self, tickets: list[_Ticket]) -> None:
        answers: Sequence[Answer | BaseException | None]
        try:
            answers = await self._screen([ticket.film for ticket in tickets])
            self.answered()
        except Exception as exc:
            answers = [exc] * len(tickets)
        deferred = []
        for ticket, answer in zip(tickets, answers, strict=True):
            if ticket.answer.done():
                continue
            if answer is None:
                deferred.append(ticket)
            elif isinstance(answer, Answer):
                ticket.answer.set_result(answer)
            else:
                ticket.answer.set_exception(answer)
        if deferred:
            # By arrival, not simply to the head, where younger ones of another request would go ahead of them: the
            # oldest that waits is the first of the next request, which is never deferred for others in it.
            self._waiting = deque(merge(deferred, self._waiting, key=attrgetter("arrival")))

    def _done(self, request: asyncio.Task[None]) -> None:
        del self._requests[request]
        self._send()
