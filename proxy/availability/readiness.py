"""The service's state, as clients see it; it opens and closes admission."""

import logging
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from proxy.availability.admission import Admission
from proxy.errors import UnavailableError

logger = logging.getLogger(__name__)

STEADY_S = 30.0
"""A service that fails again within so long of its recovery had not recovered."""


class State(StrEnum):
    """The values are the error codes that clients see."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


class Readiness:
    """The state machine: loading -> ready <-> unavailable, and back to loading whenever TorchServe is started anew.

    Only `succeeded` leads to ready, and only the supervisor and the prober call it: a film that is answered says that
    TorchServe lives, not that its results are right.
    """

    def __init__(self, admission: Admission, clock: Callable[[], float]) -> None:
        self.admission = admission
        self._clock = clock
        self.state = State.LOADING
        self.reason = "TorchServe is loading the model"
        self.since = clock()
        self.last_success = 0.0
        """When a film was last screened; of the clock."""
        self.changes = Counter[State]()
        """How often each state was entered."""
        self._failing_since: float | None = None
        admission.close(self.reason)

    @property
    def ready(self) -> bool:
        """Whether films are let in."""
        return self.state is State.READY

    @property
    def failing_s(self) -> float:
        """How long predictions have failed, short recoveries included; 0 while the service is ready."""
        return 0.0 if self.ready or self._failing_since is None else self._clock() - self._failing_since

    @property
    def steady(self) -> bool:
        """Whether the service has been ready for long enough to count as recovered."""
        return self.ready and self._clock() - self.since > STEADY_S

    def loading(self) -> None:
        """Note that TorchServe is being started."""
        self._failing_since = None
        self._change(State.LOADING, "TorchServe is loading the model")

    def screened(self) -> None:
        """Note that a film was screened."""
        self.last_success = self._clock()
        self.admission.answered()

    def succeeded(self) -> None:
        """Note that reference films were screened as expected: predictions succeed."""
        self.screened()
        if not self.ready:
            self._change(State.READY, "")
            self.admission.open()

    def failed(self, reason: str) -> None:
        """Note that a prediction cannot succeed."""
        if self._failing_since is None or self.steady:
            self._failing_since = self._clock()
        self._change(State.UNAVAILABLE, reason)

    def require(self) -> None:
        """Pass while the service is ready.

        Raises:
            UnavailableError: It is not; the error says why.
        """
        if not self.ready:
            raise UnavailableError(self.reason, code=self.state)

    def _change(self, state: State, reason: str) -> None:
        if state is not self.state:
            self.since = self._clock()
            self.changes[state] += 1
            level = logging.INFO if state is State.READY else logging.WARNING
            logger.log(level, "service is %s%s", state, f": {reason}" if reason else "")
        self.state, self.reason = state, reason
        if state is not State.READY:
            self.admission.close(reason)
