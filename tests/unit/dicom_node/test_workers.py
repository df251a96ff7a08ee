"""Steps of screening and delivering, with a clock of the test's."""

import io
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.destinations import Connection, Destination
from dicom_node.errors import DoubtfulError, HopelessError, RetryLaterError
from dicom_node.objects import check_object
from dicom_node.service import Screening
from dicom_node.storage import Queue
from dicom_node.workers import MAX_DOUBTFUL_TRIES, Courier, Screener, Worker, new_backoff
from tests.dicom_peers import make_film, make_png, make_screening, make_settings, wait_until

PACS = "PACS@127.0.0.1:104"
HOUR_S = 3600.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class ScriptedService:
    """Does what `act` says."""

    def __init__(self) -> None:
        self.act: Callable[[], None] = lambda: None
        self.act_on: Callable[[bytes], None] = lambda _: None
        self.calls = 0

    def screen(self, film: bytes) -> tuple[Screening, bytes]:
        assert film[128:132] == b"DICM"
        self.calls += 1
        self.act()
        self.act_on(film)
        return make_screening(), make_png()


class ScriptedDestination(Destination, Connection):
    """Does what `act` says with each result."""

    def __init__(self) -> None:
        super().__init__(PACS)
        self.act: Callable[[bytes], None] = lambda _: None
        self.up = True
        self.connections = 0
        self.taken: list[bytes] = []

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        self.connections += 1
        if not self.up:
            raise RetryLaterError("no connection")
        yield self

    def send(self, file: bytes) -> None:
        self.act(file)
        self.taken.append(file)


class Bench:
    """A queue with one screener and one courier, driven step by step."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        settings = make_settings(folder, destinations=PACS, retry_first_s=5, retry_longest_s=900)
        self.queue = Queue(settings.queue_dir, clock=self.clock)
        self.service = ScriptedService()
        self.destination = ScriptedDestination()
        self.screener = Screener(
            settings, self.queue, screen=self.service.screen, backoff=new_backoff(settings, self.clock)
        )
        self.stopping = threading.Event()
        self.courier = Courier(
            settings,
            self.queue,
            destination=self.destination,
            backoff=new_backoff(settings, self.clock),
            stopping=self.stopping,
        )

    def add(self, uid: str = "1.2.3.4") -> None:
        film = make_film(uid)
        self.queue.add(film, check_object(film), sender="CT@127.0.0.1")

    def run(self, seconds: float) -> None:
        """Let time pass as the threads would."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            wait_s = min(self.screener.step(), self.courier.step())
            self.clock.now += max(wait_s, 0.001)

    def reasons(self) -> list[tuple[str, str]]:
        """States, and reasons without what is said of the tries."""
        return [(entry.state, entry.reason.partition("; try ")[0]) for entry in self.queue.entries()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.queue.close()


def fail(error: Exception) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


def test_operator_does_not_wait_for_the_next_try(bench: Bench) -> None:
    bench.add()
    bench.destination.up = False
    bench.run(HOUR_S)
    tries = bench.destination.connections
    bench.run(30)
    assert bench.destination.connections == tries, "it waits a quarter of an hour by now"
    assert bench.queue.retry() == 2
    bench.run(1)
    assert bench.destination.connections == tries + 1
    bench.destination.up = True
    bench.clock.now -= 2 * HOUR_S  # a clock that is set back neither prolongs the wait nor takes it away
    bench.run(30)
    assert bench.destination.connections == tries + 1
    bench.queue.retry()
    bench.run(1)
    assert bench.queue.entries() == []


def test_operator_sees_how_often_it_was_tried_and_when_it_is_tried_next(bench: Bench) -> None:
    bench.add()
    bench.destination.up = False
    bench.run(6)
    reasons = [entry.reason for entry in bench.queue.entries() if entry.reason]
    assert len(reasons) == 2, "also of the result that was not tried itself"
    assert all(one.startswith("no connection; try 2 failed, the next is at 1970-01-12T13:46:") for one in reasons)


def test_film_is_screened_once_and_its_results_sent_once(bench: Bench) -> None:
    bench.add()
    bench.run(60)
    assert bench.service.calls == 1
    assert len(bench.destination.taken) == 2
    assert bench.queue.entries() == []


def test_service_that_is_down_for_an_hour_loses_nothing(bench: Bench) -> None:
    for number in range(5):
        bench.add(f"1.2.3.{number + 1}")
    bench.service.act = fail(RetryLaterError("the service cannot be reached"))
    bench.run(HOUR_S)
    assert 5 < bench.service.calls < 20, "tried again and again, ever more slowly"
    assert len(bench.queue.entries()) == 5
    bench.service.act = lambda: None
    bench.run(900)
    assert len(bench.destination.taken) == 10
    assert bench.queue.entries() == []


def test_waiting_film_is_listed_with_the_reason(bench: Bench) -> None:
    bench.add()
    bench.service.act = fail(RetryLaterError("the service answers 503 saturated"))
    bench.run(10)
    assert bench.reasons() == [("received", "the service answers 503 saturated")]


def test_wish_of_the_service_to_wait_is_met(bench: Bench) -> None:
    bench.add()
    bench.service.act = fail(RetryLaterError("503", after_s=300))
    bench.run(299)
    assert bench.service.calls == 1


def test_film_that_is_refused_fails_at_once_and_the_next_goes_on(bench: Bench) -> None:
    bench.add("1.2.3.1")
    bench.service.act = fail(HopelessError("422 damaged_film"))
    bench.run(1)
    bench.service.act = lambda: None
    bench.add("1.2.3.2")
    bench.run(60)
    assert bench.reasons() == [("failed", "422 damaged_film")]
    assert bench.service.calls == 2
    assert len(bench.destination.taken) == 2


def test_film_on_which_the_model_fails_is_tried_a_few_times(bench: Bench) -> None:
    bench.add()
    bench.service.act = fail(DoubtfulError("502 prediction_failed"))
    bench.run(24 * HOUR_S)
    assert bench.service.calls == MAX_DOUBTFUL_TRIES
    assert bench.reasons() == [("failed", "502 prediction_failed")]


def test_destination_that_is_down_for_an_hour_gets_everything_once(bench: Bench) -> None:
    bench.destination.up = False
    for number in range(3):
        bench.add(f"1.2.3.{number + 1}")
    bench.run(HOUR_S)
    assert bench.service.calls == 3, "screened meanwhile, and not again"
    assert 5 < bench.destination.connections < 20
    bench.destination.up = True
    bench.run(900)
    assert len(bench.destination.taken) == len(set(bench.destination.taken)) == 6
    assert bench.queue.entries() == []


def test_results_of_many_films_go_over_one_connection(bench: Bench) -> None:
    for number in range(4):
        bench.add(f"1.2.3.{number + 1}")
        bench.screener.step()
    bench.courier.step()
    assert (bench.destination.connections, len(bench.destination.taken)) == (1, 8)


def test_result_that_is_refused_fails_and_the_other_is_delivered(bench: Bench) -> None:
    def refuse_reports(file: bytes) -> None:
        if dcmread(io.BytesIO(file)).Modality == "SR":
            raise HopelessError("0xA900")

    bench.destination.act = refuse_reports
    bench.add()
    bench.run(60)
    assert bench.reasons() == [("failed", "0xA900")]
    assert len(bench.destination.taken) == 1
    assert bench.destination.connections == 1


def test_result_that_fails_doubtfully_is_tried_a_few_times(bench: Bench) -> None:
    tries: list[bytes] = []

    def act(file: bytes) -> None:
        tries.append(file)
        raise DoubtfulError("0x0110")

    bench.destination.act = act
    bench.add()
    bench.run(24 * HOUR_S)
    assert len(tries) == 2 * MAX_DOUBTFUL_TRIES
    assert bench.reasons() == [("failed", "0x0110")] * 2


def test_connection_that_breaks_between_two_results_sends_none_twice(bench: Bench) -> None:
    def break_off(_: bytes) -> None:
        if bench.destination.taken:
            raise RetryLaterError("the association ended")

    bench.destination.act = break_off
    bench.add()
    bench.run(2)
    assert len(bench.destination.taken) == 1
    bench.destination.act = lambda _: None
    bench.run(60)
    assert len(bench.destination.taken) == len(set(bench.destination.taken)) == 2


def test_result_that_was_sent_and_cannot_be_recorded_is_not_sent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    bench.screener.step()
    monkeypatch.setattr(bench.queue, "delivered", fail(sqlite3.OperationalError("database or disk is full")))
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError):
            bench.courier.step()
    assert len(bench.destination.taken) == 1
    monkeypatch.undo()
    bench.run(60)
    assert len(bench.destination.taken) == len(set(bench.destination.taken)) == 2
    assert bench.queue.entries() == []


def test_courier_begins_no_other_delivery_while_the_node_stops(bench: Bench) -> None:
    bench.add()
    bench.screener.step()
    bench.destination.act = lambda _: bench.stopping.set()
    bench.courier.step()
    assert len(bench.destination.taken) == 1
    assert bench.reasons() == [("waiting", "")]


def test_film_that_brings_the_service_down_holds_up_no_other(bench: Bench) -> None:
    def act(film: bytes) -> None:
        if check_object(film).sop_instance_uid == "1.2.3.1":
            raise RetryLaterError("no answer")

    bench.service.act_on = act
    for uid in ("1.2.3.1", "1.2.3.2", "1.2.3.3"):
        bench.add(uid)
    bench.run(HOUR_S)
    assert len(bench.destination.taken) == 4
    assert bench.reasons() == [("received", "no answer")]


def test_result_that_ends_every_connection_holds_up_no_other(bench: Bench) -> None:
    poison: list[bytes] = []

    def act(file: bytes) -> None:
        poison.append(file)
        if file == poison[0]:
            raise RetryLaterError("the association ended")

    bench.destination.act = act
    for uid in ("1.2.3.1", "1.2.3.2", "1.2.3.3"):
        bench.add(uid)
    bench.run(HOUR_S)
    assert len(bench.destination.taken) == 5
    assert bench.reasons() == [("waiting", "the association ended")]


def test_film_that_is_tried_again_after_its_results_were_sent_has_the_same_uids(bench: Bench, tmp_path: Path) -> None:
    again = Bench(tmp_path / "again")
    for one in (bench, again):
        one.add()
        one.run(60)
    again.queue.close()
    uids = [{str(dcmread(io.BytesIO(file)).SOPInstanceUID) for file in one.destination.taken} for one in (bench, again)]
    assert uids[0] == uids[1]


def test_file_that_is_gone_fails_and_holds_up_nothing(bench: Bench) -> None:
    bench.add("1.2.3.1")
    bench.screener.step()
    bench.add("1.2.3.2")
    for path in (bench.queue.folder / "files").iterdir():
        path.unlink()
    bench.add("1.2.3.3")
    bench.run(60)
    assert [reason for _, reason in bench.reasons()] == ["its file is gone from the queue's folder"] * 3
    assert len(bench.destination.taken) == 2


@contextmanager
def running(step: Callable[[], float]) -> Iterator[Worker]:
    """A worker that is ended in the end."""
    stopping = threading.Event()
    worker = Worker("worker", step, stopping=stopping)
    worker.start()
    try:
        yield worker
    finally:
        stopping.set()
        worker.wake()
        worker.join()


def test_fault_of_a_step_does_not_end_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.workers.AFTER_FAULT_S", 0.01)
    calls: list[int] = []

    def step() -> float:
        calls.append(1)
        raise RuntimeError("Doe^Jane")

    with running(step):
        wait_until(lambda: len(calls) > 2, "a third step")


def test_log_of_a_fault_has_its_place_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    def step() -> float:
        raise RuntimeError("Doe^Jane")

    with running(step):
        wait_until(lambda: caplog.text, "a line in the log")
    assert "RuntimeError in test_workers.py:" in caplog.text
    assert "Doe" not in caplog.text


def test_worker_that_is_woken_does_not_wait() -> None:
    calls: list[int] = []

    def step() -> float:
        calls.append(1)
        return 1e6

    with running(step) as worker:
        wait_until(lambda: len(calls) == 1, "the first step")
        worker.wake()
        wait_until(lambda: len(calls) == 2, "the second step")
