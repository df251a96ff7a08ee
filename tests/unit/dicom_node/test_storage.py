"""The durable queue."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import RefusedObjectError, SettingsError
from dicom_node.objects import DUPLICATE_INSTANCE, OUT_OF_RESOURCES, check_object
from dicom_node.records import WaitingFilm
from dicom_node.storage import Queue
from tests.dicom_peers import make_film

FILM = make_film("1.2.3.4")
OTHER = make_film("1.2.3.5")
RESULTS = {"sr": b"a report", "sc": b"a picture"}
PACS, ARCHIVE = "PACS@127.0.0.1:104", "http://archive"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue", clock=clock)
    yield queue
    queue.close()


def add(queue: Queue, film: bytes = FILM) -> int | None:
    return queue.add(film, check_object(film), sender="CT@127.0.0.1")


def claim(queue: Queue) -> WaitingFilm:
    film = queue.claim_film()
    assert film is not None
    return film


def screen(queue: Queue, *destinations: str) -> WaitingFilm:
    film = claim(queue)
    queue.screened(film, RESULTS, destinations=destinations or [PACS])
    queue.release(film)
    return film


def files(queue: Queue) -> set[str]:
    """The kinds of files that there are."""
    return {path.name.partition(".")[2] for path in (queue.folder / "files").iterdir()}


def reopened(queue: Queue, *destinations: str) -> Queue:
    """The queue as a node finds it that starts again."""
    queue.close()
    again = Queue(queue.folder)
    again.recover(destinations=destinations or [PACS])
    return again


def test_film_goes_through_and_is_erased(queue: Queue) -> None:
    add(queue)
    film = claim(queue)
    assert queue.read_film(film) == FILM
    queue.screened(film, RESULTS, destinations=[PACS])
    for delivery in queue.due_deliveries(PACS, limit=10):
        assert queue.read_result(delivery) == RESULTS[delivery.kind]
        assert files(queue) == {"film.dcm", "sr.dcm", "sc.dcm"}
        queue.delivered(delivery)
    assert files(queue) == set()
    assert queue.due_deliveries(PACS, limit=10) == []
    assert queue.claim_film() is None
    assert queue.entries() == []


def test_films_stay_until_every_destination_has_every_result(queue: Queue) -> None:
    add(queue)
    screen(queue, PACS, ARCHIVE)
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivered(delivery)
    assert files(queue) == {"film.dcm", "sr.dcm", "sc.dcm"}
    for delivery in queue.due_deliveries(ARCHIVE, limit=10):
        queue.delivered(delivery)
    assert files(queue) == set()


def test_folder_is_its_owner_s_alone(queue: Queue) -> None:
    add(queue)
    assert stat.S_IMODE(queue.folder.stat().st_mode) == 0o700
    (film,) = (queue.folder / "files").iterdir()
    assert stat.S_IMODE(film.stat().st_mode) == 0o600


def test_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir(mode=0o755)
    with pytest.raises(SettingsError, match="chmod 700"):
        Queue(tmp_path / "queue")


def test_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "queue").symlink_to(tmp_path / "real")
    with pytest.raises(SettingsError, match="link"):
        Queue(tmp_path / "queue")


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="DICOM_QUEUE_DIR="):
        Queue(tmp_path / "file" / "queue")


def test_what_was_added_is_there_after_the_process_ended(queue: Queue) -> None:
    add(queue)
    again = reopened(queue)
    assert again.read_film(claim(again)) == FILM
    again.close()


def test_what_was_screened_is_not_screened_again(queue: Queue) -> None:
    add(queue)
    screen(queue)
    again = reopened(queue)
    assert again.claim_film() is None
    assert [again.read_result(delivery) for delivery in again.due_deliveries(PACS, limit=10)] == [
        RESULTS["sc"],
        RESULTS["sr"],
    ]
    again.close()


def test_what_was_delivered_is_not_sent_again(queue: Queue) -> None:
    add(queue)
    screen(queue)
    first, second = queue.due_deliveries(PACS, limit=10)
    queue.delivered(first)
    again = reopened(queue)
    assert again.due_deliveries(PACS, limit=10) == [second]
    again.close()


def test_files_that_no_row_names_are_removed_at_the_start(queue: Queue) -> None:
    add(queue)
    for name in ("0123.film.dcm", "0123.film.dcm.new", "4567.sr.dcm"):
        (queue.folder / "files" / name).write_bytes(b"of a node that was killed before its row was written")
    again = reopened(queue)
    assert files(again) == {"film.dcm"}
    assert again.read_film(claim(again)) == FILM
    again.close()


def test_half_written_results_are_removed_at_the_start(queue: Queue) -> None:
    add(queue)
    (name,) = (path.name.partition(".")[0] for path in (queue.folder / "files").iterdir())
    (queue.folder / "files" / f"{name}.sr.dcm.new").write_bytes(b"half")
    again = reopened(queue)
    assert files(again) == {"film.dcm"}
    again.close()


def test_film_that_comes_again_is_one_film(queue: Queue) -> None:
    assert add(queue) is not None
    assert add(queue) is None
    screen(queue)
    assert add(queue) is None
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivered(delivery)
    assert add(queue) is None
    assert queue.claim_film() is None


def test_film_that_comes_many_times_at_once_is_one_film(queue: Queue) -> None:
    numbers: list[int | None] = []
    threads = [threading.Thread(target=lambda: numbers.append(add(queue))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([number for number in numbers if number is not None]) == 1
    assert files(queue) == {"film.dcm"}


def test_another_object_with_the_same_uid_is_refused(queue: Queue) -> None:
    add(queue)
    with pytest.raises(RefusedObjectError) as refused:
        add(queue, make_film("1.2.3.4", PatientID="another"))
    assert refused.value.status == DUPLICATE_INSTANCE


def test_another_object_that_comes_while_the_first_is_written_leaves_no_file(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_comes_first(_: int) -> None:
        monkeypatch.undo()
        add(queue, make_film("1.2.3.4", PatientID="another"))

    monkeypatch.setattr("os.fsync", other_comes_first)
    with pytest.raises(RefusedObjectError) as refused:
        add(queue)
    assert refused.value.status == DUPLICATE_INSTANCE
    assert len(list((queue.folder / "files").iterdir())) == 1
    assert queue.read_film(claim(queue)) != FILM


def failed_film(queue: Queue) -> WaitingFilm:
    add(queue)
    film = claim(queue)
    queue.film_failed(film, "the film is refused")
    queue.release(film)
    return film


def test_film_that_failed_and_comes_again_is_not_screened_again(queue: Queue) -> None:
    failed_film(queue)
    assert add(queue) is None
    assert queue.claim_film() is None
    assert [entry.state for entry in queue.entries()] == ["failed"]


def test_film_that_failed_gives_way_to_another_with_its_uid_when_it_is_discarded(queue: Queue) -> None:
    film = failed_film(queue)
    corrected = make_film("1.2.3.4", ViewPosition="AP")
    with pytest.raises(RefusedObjectError) as refused:
        add(queue, corrected)
    assert refused.value.status == DUPLICATE_INSTANCE
    assert queue.read_film(film) == FILM
    assert queue.discard(film.id)
    assert add(queue, corrected) is not None
    assert queue.read_film(claim(queue)) == corrected
    assert queue.read_film(film) is None


def test_delivered_film_is_forgotten_after_its_time(queue: Queue, clock: Clock) -> None:
    add(queue)
    screen(queue)
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivered(delivery)
    clock.now += 100
    queue.forget_delivered(older_than_s=101)
    assert add(queue) is None
    queue.forget_delivered(older_than_s=99)
    assert add(queue) is not None


def test_full_queue_refuses_and_has_room_again_when_films_are_delivered(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", max_bytes=len(FILM))
    add(queue)
    with pytest.raises(RefusedObjectError) as refused:
        add(queue, OTHER)
    assert refused.value.status == OUT_OF_RESOURCES
    screen(queue)
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivered(delivery)
    assert add(queue, OTHER) is not None
    queue.close()


def test_results_that_wait_take_room_in_the_queue(tmp_path: Path) -> None:
    size = len(FILM) + sum(map(len, RESULTS.values()))
    queue = Queue(tmp_path / "queue", max_bytes=size + len(OTHER) - 1)
    add(queue)
    screen(queue)
    with pytest.raises(RefusedObjectError) as refused:
        add(queue, OTHER)
    assert refused.value.status == OUT_OF_RESOURCES
    queue.close()
    queue = Queue(tmp_path / "queue", max_bytes=size + len(OTHER))
    assert add(queue, OTHER) is not None
    queue.close()


def test_full_disk_is_out_of_resources(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RefusedObjectError) as refused:
        add(queue)
    assert refused.value.status == OUT_OF_RESOURCES
    monkeypatch.undo()
    assert add(queue) is not None
    assert files(queue) == {"film.dcm"}


def test_two_screeners_get_two_films(queue: Queue) -> None:
    add(queue)
    add(queue, OTHER)
    first, second = claim(queue), claim(queue)
    assert {first.sop_instance_uid, second.sop_instance_uid} == {"1.2.3.4", "1.2.3.5"}
    assert queue.claim_film() is None
    queue.release(first)
    assert claim(queue) == first


def test_postponed_film_is_due_when_its_wait_is_over(queue: Queue, clock: Clock) -> None:
    add(queue)
    film = claim(queue)
    queue.postpone_film(film, "the model failed", wait_s=60)
    queue.release(film)
    clock.now += 59
    assert queue.claim_film() is None
    clock.now += 1
    assert claim(queue).failures == 1


def test_postponed_film_does_not_hold_up_the_next(queue: Queue) -> None:
    add(queue)
    film = claim(queue)
    queue.postpone_film(film, "the model failed", wait_s=60)
    queue.release(film)
    add(queue, OTHER)
    assert claim(queue).sop_instance_uid == "1.2.3.5"


def test_start_tries_everything_at_once(queue: Queue) -> None:
    add(queue)
    film = claim(queue)
    queue.postpone_film(film, "the model failed", wait_s=1e9)
    again = reopened(queue)
    assert claim(again).id == film.id
    again.close()


def test_results_for_a_destination_that_is_gone_fail_with_the_reason(queue: Queue) -> None:
    add(queue)
    screen(queue, PACS, ARCHIVE)
    again = reopened(queue, ARCHIVE)
    assert again.due_deliveries(PACS, limit=10) == []
    assert len(again.due_deliveries(ARCHIVE, limit=10)) == 2
    (reason,) = {entry.reason for entry in again.entries() if entry.state == "failed"}
    assert "no destination" in reason
    again.close()


def test_list_has_what_waits_and_what_failed(queue: Queue) -> None:
    add(queue)
    add(queue, OTHER)
    film = claim(queue)
    queue.film_failed(film, "422 damaged_film")
    queue.release(film)
    screen(queue)
    report = next(delivery for delivery in queue.due_deliveries(PACS, limit=10) if delivery.kind == "sr")
    queue.delivery_failed(report, "0xA900")
    found = [(entry.film, entry.state, entry.kind, entry.destination, entry.reason) for entry in queue.entries()]
    assert found == [
        (1, "failed", "", "", "422 damaged_film"),
        (2, "waiting", "sc", PACS, ""),
        (2, "failed", "sr", PACS, "0xA900"),
    ]


def test_delivered_film_can_be_listed_and_forgotten(queue: Queue) -> None:
    add(queue)
    screen(queue)
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivered(delivery)
    assert queue.entries() == []
    (entry,) = queue.entries(delivered=True)
    assert (entry.state, entry.sop_instance_uid) == ("delivered", "1.2.3.4")
    assert queue.discard(entry.film)
    assert add(queue, make_film("1.2.3.4", PatientID="corrected")) is not None


def test_what_failed_is_tried_again_when_the_operator_says_so(queue: Queue) -> None:
    add(queue)
    film = claim(queue)
    queue.film_failed(film, "422")
    queue.release(film)
    assert queue.retry(film.id + 1) == 0
    assert queue.claim_film() is None
    assert queue.retry(film.id) == 1
    screen(queue)
    for delivery in queue.due_deliveries(PACS, limit=10):
        queue.delivery_failed(delivery, "0xA900")
    assert queue.due_deliveries(PACS, limit=10) == []
    assert queue.retry() == 2
    assert len(queue.due_deliveries(PACS, limit=10)) == 2


def test_discarded_film_leaves_nothing(queue: Queue) -> None:
    number = add(queue)
    assert number is not None
    film = claim(queue)
    assert queue.discard(number)
    assert files(queue) == set()
    assert queue.read_film(film) is None
    queue.screened(film, RESULTS, destinations=[PACS])  # a screener that had it meanwhile
    assert files(queue) == set()
    assert queue.entries() == []
    assert queue.due_deliveries(PACS, limit=10) == []
    assert not queue.discard(number)


def test_database_holds_nothing_of_the_patient(queue: Queue) -> None:
    add(queue)
    screen(queue)
    queue.close()
    content = b"".join(path.read_bytes() for path in queue.folder.glob("queue.sqlite*"))
    for value in (b"Doe", b"4711", b"20210203", b"A-1", b"Who"):
        assert value not in content
