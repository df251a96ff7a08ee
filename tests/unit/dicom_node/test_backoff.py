"""Waits between tries."""

from dicom_node.backoff import Backoff, delay_s


def test_waits_double_up_to_the_longest() -> None:
    waits = [delay_s(failures, first_s=5, longest_s=60) for failures in range(1, 7)]
    assert waits == [5, 10, 20, 40, 60, 60]


def test_a_year_of_failures_is_still_the_longest() -> None:
    assert delay_s(1_000_000, first_s=5, longest_s=900) == 900


def test_try_is_due_when_the_wait_is_over() -> None:
    now = [1000.0]
    backoff = Backoff(first_s=5, longest_s=60, clock=lambda: now[0])
    assert backoff.remaining_s == 0
    assert backoff.failed() == 5
    now[0] += 4
    assert backoff.remaining_s == 1
    now[0] += 1
    assert backoff.remaining_s == 0
    assert backoff.failed() == 10
    backoff.succeeded()
    assert backoff.remaining_s == 0
    assert backoff.failed() == 5


def test_other_side_may_ask_for_longer_but_not_for_ever() -> None:
    backoff = Backoff(first_s=5, longest_s=60)
    assert backoff.failed(after_s=30) == 30
    assert backoff.failed(after_s=1e9) == 60


def test_clock_that_is_set_back_does_not_prolong_a_wait() -> None:
    now = [1e9]
    backoff = Backoff(first_s=5, longest_s=60, clock=lambda: now[0])
    backoff.failed()
    now[0] -= 86_400
    assert backoff.remaining_s <= 5
