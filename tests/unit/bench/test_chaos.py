from http import HTTPStatus
from pathlib import Path

from bench.bad_starts import BAD_STARTS
from bench.chaos import faults
from bench.under_load import Answer, row


def test_answers_are_sorted_into_answered_refused_and_failed() -> None:
    statuses = [200, 200, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, 500, 0]
    answers = [Answer(float(at), 0.1 * at, status) for at, status in enumerate(statuses)]
    found = row("x", answers, "a limit", "a value", holds=True)
    assert (found.sent, found.answered, found.refused, found.failed) == (6, 2, 2, 2)
    assert found.longest_s == 0.5


def test_row_of_nothing_is_no_mistake() -> None:
    assert row("x", [], "", "", holds=False).longest_s == 0.0


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [*faults(1.0, Path("x.mar"), Path("y.mar")), *BAD_STARTS]
    assert len(names) == len(set(names)) >= 29
