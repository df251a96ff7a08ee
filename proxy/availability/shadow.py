"""Shadow traffic: a candidate screens live films too, and what it says of them is compared and not sent.

A live film is never delayed or failed by it: the film is offered when its reply is there already, it is not copied, and
it is skipped where the candidate has enough to do or live films wait.
"""

import asyncio
import json
import random
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from proxy.availability.admission import Admission
from proxy.availability.readiness import Readiness
from proxy.errors import RequestError
from proxy.torchserve.client import Reply
from proxy.torchserve.film_buffer import FilmBuffer, HeldFilm


@dataclass(slots=True)
class Comparison:
    """How a candidate's results differ from those that clients got."""

    films: int = 0
    """That both screened."""
    to_pneumonia: int = 0
    """NORMAL by the live version, PNEUMONIA by the candidate."""
    to_normal: int = 0
    sum_of_p: float = 0.0
    """Of the differences of p_pneumonia, candidate minus live."""
    sum_of_absolute_p: float = 0.0
    largest_p: float = 0.0
    """The largest absolute difference."""
    skipped: int = 0
    """Films that were not screened, because there was enough to do."""
    failed: int = 0
    """Films of which the candidate gave no result."""

    def add(self, live: bytes, candidate: bytes) -> None:
        """Compare the results of one film.

        Raises:
            ValueError, KeyError, TypeError: One of them is no result.
        """
        old, new = json.loads(live), json.loads(candidate)
        difference = float(new["p_pneumonia"]) - float(old["p_pneumonia"])
        if old["prediction"] != new["prediction"]:
            self.to_pneumonia += new["prediction"] == "PNEUMONIA"
            self.to_normal += new["prediction"] != "PNEUMONIA"
        self.films += 1
        self.sum_of_p += difference
        self.sum_of_absolute_p += abs(difference)
        self.largest_p = max(self.largest_p, abs(difference))

    def describe(self) -> dict[str, Any]:
        """Return it for JSON; differences of p are candidate minus live."""
        films = max(1, self.films)
        return {
            "films": self.films,
            "flipped": {"NORMAL to PNEUMONIA": self.to_pneumonia, "PNEUMONIA to NORMAL": self.to_normal},
            "p_difference": {
                "mean": round(self.sum_of_p / films, 6),
                "mean_absolute": round(self.sum_of_absolute_p / films, 6),
                "largest": round(self.largest_p, 6),
            },
            "skipped": self.skipped,
            "failed": self.failed,
        }

    def __str__(self) -> str:
        return (
            f"shadow: {self.films} films, {self.to_pneumonia + self.to_normal} decisions flipped ({self.to_pneumonia} "
            f"NORMAL to PNEUMONIA, {self.to_normal} PNEUMONIA to NORMAL), p differs by "
            f"{self.sum_of_absolute_p / max(1, self.films):.4f} on average and {self.largest_p:.4f} at most; "
            f"{self.skipped} skipped, {self.failed} without a result"
        )


class Shadow:
    """Has a share of the live films screened by a candidate as well."""

    def __init__(self, *, live: Admission, candidate: Readiness, buffer: FilmBuffer, share: float) -> None:
        self._live = live
        self._candidate = candidate
        self._buffer = buffer
        self.share = share
        """Of the live films, 0 to 1."""
        self.comparison = Comparison()
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, film: HeldFilm, reply: Reply) -> None:
        """Have a film screened whose reply is there, if it is of the share and there is not enough to do already.

        At most half of the candidate's workers, and one at least, are busy with it: the live ones want the processor.
        """
        if random.random() >= self.share or not reply.body.startswith(b"{"):  # noqa: S311  (a picture has no p)
            return
        room = len(self._tasks) < max(1, self._candidate.admission.workers // 2)
        if not room or self._live.waiting or not self._candidate.ready:
            self.comparison.skipped += 1
            return
        self._buffer.share(film)
        # In a context of its own: it is no part of the request.
        task = asyncio.get_running_loop().create_task(self._compare(film, reply.body), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, film: HeldFilm, live: bytes) -> None:
        try:
            reply = await self._candidate.admission.screen(film)
            self.comparison.add(live, reply.body)
        except (RequestError, ValueError, KeyError, TypeError):
            self.comparison.failed += 1
        finally:
            self._buffer.drop(film)
