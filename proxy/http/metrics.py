"""What operators see of the service: Prometheus metrics, and the access log."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.availability.readiness import State
from proxy.availability.release import Releases
from proxy.http.request_id import current_request_id
from proxy.torchserve.film_buffer import FilmBuffer

access_log = logging.getLogger("proxy.access")

LATENCY_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("NORMAL", "PNEUMONIA")
"""Of results: no other becomes a label of a metric."""

P_PNEUMONIA = tuple(tenth / 10 for tenth in range(1, 10))


class Metrics:
    """The registry, and what is counted at each answer.

    Label values are of closed sets: nothing that a client sends becomes one.
    """

    def __init__(self, releases: Releases, buffer: FilmBuffer) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(releases, buffer))
        self._answers = Counter("screening_answers", "Answers to POST /predict.", ["status"], registry=self._registry)
        self._seconds = Histogram(
            "screening_seconds",
            "From a film's request to its result, status 200 only.",
            buckets=LATENCY_S,
            registry=self._registry,
        )
        self._predictions = Counter("screening_predictions", "Results.", ["prediction"], registry=self._registry)
        self._p_pneumonia = Histogram(
            "screening_p_pneumonia", "Of the results: their drift.", buckets=P_PNEUMONIA, registry=self._registry
        )

    def answered(self, status: int, body: bytes, seconds: float) -> None:
        """Count the answer to one film."""
        self._answers.labels(status).inc()
        if status == HTTPStatus.OK:
            self._seconds.observe(seconds)
            with suppress(ValueError, KeyError, TypeError):  # an answer must not fail because it cannot be counted
                result = json.loads(body)
                if result["prediction"] in LABELS:
                    self._predictions.labels(result["prediction"]).inc()
                    self._p_pneumonia.observe(result["p_pneumonia"])

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is so now, read when it is asked for."""

    def __init__(self, releases: Releases, buffer: FilmBuffer) -> None:
        self._releases = releases
        self._buffer = buffer

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges and counters."""
        current = self._releases.current
        admission, readiness = current.admission, current.readiness
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "screening_ready": ("1 while predictions succeed.", lambda: readiness.ready),
            "screening_films_waiting": ("Films that wait for a worker.", lambda: admission.waiting),
            "screening_films_screened_now": ("Films in TorchServe.", lambda: admission.in_torchserve),
            "screening_workers": ("Workers that have the model loaded.", lambda: admission.workers),
            "screening_held_bytes": ("Bytes of films in memory.", lambda: self._buffer.held_bytes),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=float(value()))
        changes = CounterMetricFamily("screening_state_changes", "Changes of the service's state.", labels=["state"])
        for state in State:
            changes.add_metric([state], readiness.changes[state])
        yield changes
        share = GaugeMetricFamily("screening_release_share", "Of the films.", labels=["version", "archive"])
        candidate = self._releases.candidate
        share.add_metric([current.archive.version, current.archive.sha256[:12]], 1 - self._releases.share)
        if candidate is not None:
            share.add_metric([candidate.archive.version, candidate.archive.sha256[:12]], self._releases.share)
        yield share


class Observe:
    """Counts and logs every request, as plain ASGI: it stands in the path of every film."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and note what it answers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                seconds = time.perf_counter() - began
                if scope["path"] == "/predict" and scope["method"] == "POST":
                    self._metrics.answered(status, message.get("body", b""), seconds)
                if self._log:
                    access_log.info("%s", line(scope["method"], scope["path"], status, seconds))
            await send(message)

        await self._app(scope, receive, observed_send)


def line(method: str, path: str, status: int, seconds: float) -> str:
    """Return a line of the access log: nothing of a film, and no header but the request id."""
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": current_request_id(),
            "method": method,
            "path": path[:200],
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
    )
