"""Connections that are cut off or refused: counted, and logged once a minute at most."""

import asyncio
import logging
from collections import Counter

logger = logging.getLogger(__name__)

PERIOD_S = 60.0
"""Between two lines of the log, at least."""

FIRST_S = 1.0
"""From the first after a quiet time to its line: what comes together is told together."""


class CutOff:
    """Counts by reason. Reasons are of a closed set: nothing that a client sends becomes one."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._logged_at = -PERIOD_S
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Note a connection that is being cut off."""
        self._counts[reason] += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time() + FIRST_S, self._logged_at + PERIOD_S), self._log, loop)

    def _log(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._logged_at = loop.time()
        told = ", ".join(f"{count} ({reason})" for reason, count in self._counts.most_common())
        logger.warning("connections refused or cut off: %s", told)
        self._counts.clear()
