"""Admission control: how many films wait and are in TorchServe at once, for how long, and in what requests.

The proxy keeps the queue because TorchServe's cannot time out, and because TorchServe accepts films for workers that
are dead and then never answers.

A film that finds TorchServe free goes at once, in a request of its own. Films that had to wait share a request, which
costs TorchServe about the same however many it carries. While TorchServe is busy enough, films wait until they fill a
request: in TorchServe they would wait as well, and nothing could join them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import attrgetter

from proxy.errors import SaturatedError, UnavailableError, UpstreamError, WorkerDiedError
from proxy.torchserve.client import InferenceClient, Reply
from proxy.torchserve.film_buffer import HeldFilm

TICK_S = 0.1
"""How often waiting films are looked at; adds to the promised times."""

PATIENCE = 5
"""A film is given up at this many times the stall time, even while others are answered."""

STUCK_AFTER = 8
"""A request is given up after the stall time when so many that were sent after it have been answered: its worker hangs,
and TorchServe takes ten seconds to see it. A slow film on a busy service is overtaken by fewer."""

REQUESTS_PER_WORKER = 2
"""Requests in TorchServe at most: one on each worker and one behind it keep all busy. No more, because TorchServe's own
queue cannot time out and runs what was given up on, and because films that wait here go on together."""

BATCH_BYTES = 4_000_000
"""The bytes of films that share a request at most: large ones take long, and would keep the others waiting."""


film_stages: ContextVar[list[tuple[str, float, float]] | None] = ContextVar("film_stages", default=None)
"""Takes what a film of this context went through, with begin and end, of the loop's clock; None where nobody asks."""


class _Ticket:
    """A film that was let in."""

    __slots__ = ("arrival", "film", "reply", "sent_at", "suspect")

    def __init__(self, film: HeldFilm, loop: asyncio.AbstractEventLoop) -> None:
        self.film = film
        self.arrival = loop.time()
        self.sent_at: float | None = None
        """When it was given to TorchServe, the last time."""
        self.reply: asyncio.Future[Reply] = loop.create_future()
        self.suspect = False
        """Whether a worker died that had it: it is tried once more, in a request of its own."""


@dataclass(slots=True)
class _Sent:
    """A request that is in TorchServe."""

    tickets: list[_Ticket]
    sent_at: float
    overtaken: int = 0
    """Requests that were sent after it, and are answered."""


class Admission:
    """Lets films through to TorchServe, in the order of their arrival.

    A film is given up when TorchServe has answered nothing at all for `stall_s` since the film's arrival. As long as
    answers come, films wait longer than that rather than being refused: a slow machine serves late, a dead one says so.

    A film whose worker died is tried once more, in a request of its own. A film that ended two is refused for good.
    """

    def __init__(self, client: InferenceClient, *, workers: int, queue_limit: int, stall_s: float) -> None:
        self._client = client
        self._batch_films = client.transport.batch_films
        self.workers = workers
        """That have the model loaded, as far as is known."""
        self._queue_limit = queue_limit
        self._stall_s = stall_s
        self._waiting: deque[_Ticket] = deque()
        self._requests: dict[asyncio.Task[None], _Sent] = {}
        """What is in TorchServe, in the order in which it was sent."""
        self.last_answer = 0.0
        """When TorchServe last answered something, a refusal included; of the loop's clock."""
        self._closed: str | None = None
        self.alarm = asyncio.Event()
        """Set when a worker died, so that nobody waits for the next look at them."""

    @property
    def waiting(self) -> int:
        """Films that wait for a place in TorchServe."""
        return len(self._waiting)

    @property
    def in_torchserve(self) -> int:
        """Films in TorchServe."""
        return sum(len(sent.tickets) for sent in self._requests.values())

    @property
    def _slots(self) -> int:
        return REQUESTS_PER_WORKER * self.workers

    def require_room(self) -> None:
        """Refuse a film, before it is read, that could not wait.

        Raises:
            SaturatedError: Too many films wait already.
        """
        if len(self._waiting) >= self._queue_limit:
            raise SaturatedError

    async def screen(self, film: HeldFilm) -> Reply:
        """Wait for a place in TorchServe, and for the reply to the film.

        Raises:
            RequestError: The film gets no prediction: the queue is full, TorchServe stalls or fails, or admission was
                closed meanwhile.
        """
        if self._closed is not None:
            raise UnavailableError(self._closed)
        self.require_room()
        ticket = _Ticket(film, asyncio.get_running_loop())
        self._waiting.append(ticket)
        self._send()
        try:
            return await ticket.reply
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is on its way
                self._waiting.remove(ticket)
            raise
        finally:
            if (stages := film_stages.get()) is not None:
                now = asyncio.get_running_loop().time()
                stages.append(("queue", ticket.arrival, ticket.sent_at or now))
                if ticket.sent_at is not None:
                    stages.append(("torchserve", ticket.sent_at, now))

    def answered(self) -> None:
        """Note that TorchServe answered something: it is not stalled."""
        self.last_answer = asyncio.get_running_loop().time()

    def resize(self, workers: int) -> None:
        """Let in as many films as keep so many workers busy."""
        self.workers = workers
        self._send()

    def close(self, reason: str) -> None:
        """Answer every film that was let in with 503 at once, and all that come until `open`."""
        self._closed = reason
        self._give_up(lambda _: True, UnavailableError(reason))

    def open(self) -> None:
        """Let films in again."""
        self._closed = None

    async def watch(self) -> None:
        """Give up films that have waited too long, as long as the service runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """Give up the films whose time is over at `now`."""

        def over(arrival: float) -> bool:
            stalled = now - max(arrival, self.last_answer) > self._stall_s
            return stalled or now - arrival > PATIENCE * self._stall_s

        self._give_up(over, UnavailableError("TorchServe gave no answer in time", code="timeout"))
        for request, sent in self._requests.items():
            if sent.overtaken >= STUCK_AFTER and now - sent.sent_at > self._stall_s:
                self._fail(sent.tickets, UnavailableError("the worker that has the film hangs", code="timeout"))
                request.cancel()

    @staticmethod
    def _fail(tickets: Iterable[_Ticket], reason: UnavailableError) -> None:
        for ticket in tickets:
            if not ticket.reply.done():
                ticket.reply.set_exception(reason)

    def _give_up(self, over: Callable[[float], bool], reason: UnavailableError) -> None:
        """Fail films by their arrival, and end the requests in which nobody's film is left."""
        tickets = [*self._waiting, *(ticket for sent in self._requests.values() for ticket in sent.tickets)]
        self._fail((ticket for ticket in tickets if over(ticket.arrival)), reason)
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.reply.done())
        for request, sent in self._requests.items():
            if all(ticket.reply.done() for ticket in sent.tickets):
                request.cancel()

    def _send(self) -> None:
        """Send what waits, as far as there is room in TorchServe."""
        while len(self._requests) < self._slots and (count := self._ready()):
            tickets = [self._waiting.popleft() for _ in range(count)]
            now = asyncio.get_running_loop().time()
            for ticket in tickets:
                ticket.sent_at = now
            request = asyncio.create_task(self._request(tickets))
            self._requests[request] = _Sent(tickets, now)
            request.add_done_callback(self._done)

    def _ready(self) -> int:
        """Return how many waiting films go in the next request; 0 while others may still join them."""
        count = size = 0
        for ticket in islice(self._waiting, self._batch_films):
            if ticket.suspect:
                return count or 1
            size += ticket.film.size
            if count and size > BATCH_BYTES:
                return count
            count += 1
        plenty = self._slots * self._batch_films // 2  # half of the most that may be there
        return count if count == self._batch_films or self.in_torchserve < plenty else 0

    async def _request(self, tickets: list[_Ticket]) -> None:
        replies: Sequence[Reply | Exception | None]
        try:
            replies = await self._client.screen([ticket.film for ticket in tickets])
            self.answered()
        except Exception as exc:
            replies = [exc] * len(tickets)
        again = []
        for ticket, reply in zip(tickets, replies, strict=True):
            if ticket.reply.done():
                continue
            if reply is None:
                again.append(ticket)
            elif isinstance(reply, WorkerDiedError):
                self.alarm.set()
                if ticket.suspect:
                    ticket.reply.set_exception(UpstreamError("two workers died of this film: it is not tried again"))
                else:
                    ticket.suspect = True
                    again.append(ticket)
            elif isinstance(reply, Reply):
                ticket.reply.set_result(reply)
            else:
                ticket.reply.set_exception(reply)
        if again:
            # By arrival, not simply to the head, where younger ones of another request would go ahead of them: the
            # oldest that waits is the first of the next request, which is never deferred for others in it.
            self._waiting = deque(merge(again, self._waiting, key=attrgetter("arrival")))

    def _done(self, request: asyncio.Task[None]) -> None:
        done = self._requests.pop(request)
        for sent in self._requests.values():
            sent.overtaken += sent.sent_at < done.sent_at
        self._send()
