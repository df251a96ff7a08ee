"""The node's threads: each does one step after the other, and waits where there is nothing to do.

A step is a method that may be called by itself, with a clock of the caller's: it returns how long to wait before the
next one.
"""

import datetime
import logging
import threading
from collections.abc import Callable

from dicom_node.backoff import Backoff, Clock, delay_s
from dicom_node.destinations import Connection, Destination
from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError, StepError, where
from dicom_node.records import WaitingDelivery, WaitingFilm
from dicom_node.results import make_results
from dicom_node.service import Screening
from dicom_node.settings import Settings
from dicom_node.storage import Queue

logger = logging.getLogger(__name__)

IDLE_S = 2.0
"""How long until the queue is looked at again at most: the operator's command gives no wake-up."""
AFTER_FAULT_S = 5.0
MAX_DOUBTFUL_TRIES = 10
"""Then it is for the operator."""
DELIVERIES_PER_CONNECTION = 100
FILE_IS_GONE = "its file is gone from the queue's folder"
"""Where the operator has discarded the film, there is no row for this either."""


class Worker(threading.Thread):
    """Does a step again and again, until `stopping` is set and it is woken."""

    def __init__(self, name: str, step: Callable[[], float], *, stopping: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._wake = threading.Event()
        self._stopping = stopping

    def run(self) -> None:
        """Do the steps; no fault of one ends the thread."""
        while not self._stopping.is_set():
            try:
                wait_s = self._step()
            except Exception as exc:
                logger.error("%s: %s", self.name, where(exc))  # noqa: TRY400
                wait_s = AFTER_FAULT_S
            if wait_s > 0:
                self._wake.wait(min(wait_s, IDLE_S))
            self._wake.clear()

    def wake(self) -> None:
        """Have it look at once for work, and whether it is to end."""
        self._wake.set()


class Screener:
    """Has films screened, and makes their results."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        *,
        screen: Callable[[bytes], tuple[Screening, bytes]],
        backoff: Backoff,
        on_results: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._ask = screen
        self._backoff = backoff
        self._on_results = on_results
        self._names = [address.name for address in settings.destinations]

    def step(self) -> float:
        """Screen one film; return the wait until the next step."""
        wait_s = _wait_s(self._backoff, self._queue)
        if wait_s > 0:
            return wait_s
        film = self._queue.claim_film()
        if film is None:
            return IDLE_S
        try:
            return self._screen(film)
        finally:
            self._queue.release(film)

    def _screen(self, film: WaitingFilm) -> float:
        file = self._queue.read_film(film)
        if file is None:
            self._queue.film_failed(film, FILE_IS_GONE)
            return 0.0
        try:
            results = make_results(file, *self._ask(file))
        except HopelessError as exc:
            logger.warning("film %d failed: %s", film.id, exc)
            self._queue.film_failed(film, str(exc))
        except DoubtfulError as exc:
            self._postpone(film, exc)
        except RetryLaterError as exc:
            wait_s = self._backoff.failed(after_s=exc.after_s)
            logger.warning("film %d waits, next try in %.0f s: %s", film.id, wait_s, exc)
            self._queue.note_film(film, reason := _waiting(exc, self._backoff))
            self._queue.note_others(reason)
            return wait_s
        else:
            self._queue.screened(film, results, destinations=self._names)
            logger.info("film %d screened", film.id)
            self._on_results()
        self._backoff.succeeded()  # it answers, whatever it says of this film
        return 0.0

    def _postpone(self, film: WaitingFilm, exc: StepError) -> None:
        failures = film.failures + 1
        if failures >= MAX_DOUBTFUL_TRIES:
            logger.warning("film %d failed, %d times: %s", film.id, failures, exc)
            self._queue.film_failed(film, str(exc))
            return
        wait_s = _object_delay_s(failures, self._settings)
        logger.warning("film %d failed, next try in %.0f s: %s", film.id, wait_s, exc)
        self._queue.postpone_film(film, str(exc), wait_s=wait_s)


class Courier:
    """Sends results to one destination; begins with no other one once `stopping` is set."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        *,
        destination: Destination,
        backoff: Backoff,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._destination = destination
        self._backoff = backoff
        self._stopping = stopping
        self._unrecorded: WaitingDelivery | None = None
        """Was sent, and is not recorded as such: until it is, nothing else is sent."""

    def step(self) -> float:
        """Send what waits, over one connection; return the wait until the next step."""
        self.record_sent()
        wait_s = _wait_s(self._backoff, self._queue)
        if wait_s > 0:
            return wait_s
        waiting = self._queue.due_deliveries(self._destination.name, limit=DELIVERIES_PER_CONNECTION)
        if not waiting:
            return IDLE_S
        delivery = waiting[0]
        try:
            with self._destination.connect() as connection:
                for delivery in waiting:
                    if self._stopping.is_set():
                        break
                    self._deliver(delivery, connection)
        except RetryLaterError as exc:
            wait_s = self._backoff.failed(after_s=exc.after_s)
            logger.warning("%s: results wait, next try in %.0f s: %s", self._destination.name, wait_s, exc)
            self._queue.note_delivery(delivery, reason := _waiting(exc, self._backoff))
            self._queue.note_other_deliveries(self._destination.name, reason)
            return wait_s
        return 0.0

    def record_sent(self) -> None:
        """Record what was sent and is not recorded yet, so that it is not sent again.

        Raises:
            sqlite3.Error: It cannot be recorded now.
        """
        if self._unrecorded is not None:
            self._queue.delivered(self._unrecorded)
            logger.info("%s delivered", self._what(self._unrecorded))
            self._unrecorded = None

    def _what(self, delivery: WaitingDelivery) -> str:
        return f"{self._destination.name}: {delivery.kind} of film {delivery.film}"

    def _deliver(self, delivery: WaitingDelivery, connection: Connection) -> None:
        file = self._queue.read_result(delivery)
        if file is None:
            self._queue.delivery_failed(delivery, FILE_IS_GONE)
            return
        what = self._what(delivery)
        try:
            connection.send(file)
        except HopelessError as exc:
            logger.warning("%s failed: %s", what, exc)
            self._queue.delivery_failed(delivery, str(exc))
        except DoubtfulError as exc:
            failures = delivery.failures + 1
            if failures >= MAX_DOUBTFUL_TRIES:
                logger.warning("%s failed, %d times: %s", what, failures, exc)
                self._queue.delivery_failed(delivery, str(exc))
            else:
                wait_s = _object_delay_s(failures, self._settings)
                logger.warning("%s failed, next try in %.0f s: %s", what, wait_s, exc)
                self._queue.postpone_delivery(delivery, str(exc), wait_s=wait_s)
        else:
            self._unrecorded = delivery
            self.record_sent()
        self._backoff.succeeded()


def _wait_s(backoff: Backoff, queue: Queue) -> float:
    """Return how long not to try: not at all, where the operator has asked for a try since this was last asked."""
    backoff.wish(queue.retry_asked_at())
    return backoff.remaining_s


def _waiting(exc: StepError, backoff: Backoff) -> str:
    """Return why something waits, and for how long, for the operator's list."""
    due = datetime.datetime.fromtimestamp(backoff.due_at, tz=datetime.UTC)
    return f"{exc}; try {backoff.failures} failed, the next is at {due:%Y-%m-%dT%H:%M:%SZ}"


def _object_delay_s(failures: int, settings: Settings) -> float:
    return delay_s(failures, first_s=settings.retry_first_s, longest_s=settings.retry_longest_s)


def new_backoff(settings: Settings, clock: Clock) -> Backoff:
    """Return a backoff of the settings' waits."""
    return Backoff(first_s=settings.retry_first_s, longest_s=settings.retry_longest_s, clock=clock)
