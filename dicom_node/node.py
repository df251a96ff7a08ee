"""The node: everything together, from its start to its end."""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.backoff import Clock
from dicom_node.destinations import destination
from dicom_node.errors import SettingsError
from dicom_node.objects import ObjectFacts
from dicom_node.scp import Scp
from dicom_node.service import Service
from dicom_node.settings import Settings
from dicom_node.storage import Queue
from dicom_node.workers import Courier, Screener, Worker, new_backoff

logger = logging.getLogger(__name__)

LOCK = "lock"
FORGET_EVERY_S = 3600.0
DAY_S = 86_400.0
STOP_TIMEOUT_S = 10.0


class Node:
    """Takes films, has them screened, and sends the results on, until `stop`."""

    def __init__(self, settings: Settings, *, clock: Clock = time.time) -> None:
        """Open the queue and start.

        Raises:
            SettingsError: The queue or the port cannot be used.
        """
        self.settings = settings
        self.queue = Queue(settings.queue_dir, max_bytes=settings.max_queue_bytes, clock=clock)
        self.queue.recover(destinations=[address.name for address in settings.destinations])
        self._stopping = threading.Event()
        self._services = [Service(settings) for _ in range(settings.screeners)]
        self._couriers = [
            Courier(
                settings,
                self.queue,
                destination=destination(address, settings),
                backoff=new_backoff(settings, clock),
                stopping=self._stopping,
            )
            for address in settings.destinations
        ]
        self._deliverers = [
            Worker(f"courier {address.name}", courier.step, stopping=self._stopping)
            for address, courier in zip(settings.destinations, self._couriers, strict=True)
        ]
        backoff = new_backoff(settings, clock)  # one for all: the service is down for all of them
        self._screeners = [
            Worker(
                f"screener {number}",
                Screener(
                    settings, self.queue, screen=service.screen, backoff=backoff, on_results=self._wake_deliverers
                ).step,
                stopping=self._stopping,
            )
            for number, service in enumerate(self._services)
        ]
        self._janitor = Worker("janitor", self._forget, stopping=self._stopping)
        try:
            self.scp = Scp(settings, self.take)
        except SettingsError:
            self.queue.close()
            raise
        for worker in self._workers:
            worker.start()

    @property
    def _workers(self) -> list[Worker]:
        return [*self._screeners, *self._deliverers, self._janitor]

    def take(self, file: bytes, facts: ObjectFacts, sender: str) -> None:
        """Take a film into the queue; on return it is on disk.

        Raises:
            RefusedObjectError: There is no room, or another object has its UID.
        """
        number = self.queue.add(file, facts, sender=sender)
        if number is None:
            logger.info("a film of %s is known already", sender)
            return
        logger.info("film %d received from %s", number, sender)
        for screener in self._screeners:
            screener.wake()

    def wind_down(self) -> None:
        """Begin with no other film or result; films are still taken."""
        self._stopping.set()
        for worker in self._workers:
            worker.wake()

    def stop(self) -> None:
        """Take no more films, and end; what waits goes on at the next start."""
        self.wind_down()
        self.scp.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        for service in self._services:
            service.close()
        if not any(worker.is_alive() for worker in self._workers):
            self._record_sent()
            self.queue.close()

    def _record_sent(self) -> None:
        for courier in self._couriers:
            try:
                courier.record_sent()
            except (OSError, sqlite3.Error) as exc:
                logger.error("a delivery cannot be recorded: %s", exc)  # noqa: TRY400  (one line says it all)

    def _wake_deliverers(self) -> None:
        for deliverer in self._deliverers:
            deliverer.wake()

    def _forget(self) -> float:
        self.queue.forget_delivered(older_than_s=self.settings.keep_records_days * DAY_S)
        return FORGET_EVERY_S


@contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """Hold the queue of a folder for this process alone.

    Raises:
        SettingsError: Another node has it, or it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} cannot be used: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise SettingsError(f"DICOM_QUEUE_DIR={str(folder)!r} is the queue of another node that runs") from exc
    else:
        yield
    finally:
        os.close(lock)
