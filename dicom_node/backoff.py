"""Waits between tries that grow, per service or destination."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch: waits of single objects outlive the process."""


def delay_s(failures: int, *, first_s: float, longest_s: float) -> float:
    """Return the wait after so many failures in a row: doubled each time, up to the longest."""
    doublings = min(failures - 1, 64)  # a float has room for them
    return min(first_s * 2.0**doublings, longest_s)


class Backoff:
    """When the next try is due."""

    def __init__(self, *, first_s: float, longest_s: float, clock: Clock = time.time) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self.failures = 0
        """In a row."""
        self._failed_at = 0.0
        self._wait_s = 0.0
        self._wish: float | None = None

    @property
    def due_at(self) -> float:
        """When the next try is due; of the clock."""
        return self._failed_at + self._wait_s

    @property
    def remaining_s(self) -> float:
        """How long not to try; 0 when a try is due. A clock that is set back does not prolong it beyond the wait."""
        waited = self._clock() - self._failed_at
        return max(0.0, self._wait_s - max(0.0, waited))

    def failed(self, *, after_s: float = 0.0) -> float:
        """Count a failure; return the wait, which is at least what the other side asked for, within the longest."""
        self.failures += 1
        wait_s = delay_s(self.failures, first_s=self._first_s, longest_s=self._longest_s)
        self._wait_s = max(wait_s, min(after_s, self._longest_s))
        self._failed_at = self._clock()
        return self._wait_s

    def wish(self, asked_at: float) -> None:
        """Take when the operator last asked for a try: another time than before ends the wait."""
        if self._wish is not None and asked_at != self._wish:
            self.succeeded()
        self._wish = asked_at

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self._wait_s = 0.0
