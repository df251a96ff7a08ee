import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from proxy import supervisor as module
from proxy.client import Answer
from proxy.errors import ProbeError, ProxyError, SettingsError, StartError
from proxy.gate import Gate
from proxy.memory import Film
from proxy.readiness import Readiness, State
from proxy.rundir import RunDir
from proxy.settings import Settings
from proxy.supervisor import Supervisor


class FakeTorchServe:
    """A process that ends when told to."""

    tail = "last words"

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.stopped = False

    async def wait(self) -> int:
        await self.ended.wait()
        return -9

    async def stop(self) -> None:
        self.stopped = True
        self.ended.set()

    def kill(self) -> None:
        self.ended.set()


class Bench:
    """A supervisor whose TorchServe, client and prober are the bench itself."""

    film_memory = "/proc/1/fd/3"

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.settings = Settings.from_environ({"WORKERS": "3"})
        gate = Gate(self.screen, workers=1, batch_films=1, queue_limit=1, stall_s=1)
        self.readiness = Readiness(gate, loop.time)
        self.supervisor = Supervisor(
            self.settings,
            RunDir(self.settings.run_dir),
            self,  # type: ignore[arg-type]
            self.readiness,
            self,  # type: ignore[arg-type]
        )
        self.runs: list[FakeTorchServe] = []
        self.fault: ProxyError | None = None
        self.our_fault: Exception | None = None
        self.scaled: list[int] = []
        self.workers = 1
        self.works = True

    async def screen(self, _films: Sequence[Film]) -> Sequence[Answer]:
        raise NotImplementedError

    def start(self, _settings: Settings, _run_dir: RunDir, film_memory: str | None) -> FakeTorchServe:
        assert film_memory == self.film_memory
        if self.fault is not None:
            raise self.fault
        self.runs.append(FakeTorchServe())
        return self.runs[-1]

    def read_tokens(self) -> None:
        pass

    async def scale(self, workers: int) -> None:
        self.scaled.append(workers)

    async def ready_workers(self) -> int:
        return self.workers

    async def check_all(self) -> None:
        if not self.works:
            raise ProbeError("wrong answer")

    async def probe(self) -> None:
        if self.our_fault is not None:
            raise self.our_fault
        if self.works:
            self.readiness.succeeded()
        else:
            self.readiness.failed("no answer")


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    for name in ("POLL_S", "WATCH_S", "RECOVERY_WATCH_S", "FIRST_BACKOFF_S"):
        monkeypatch.setattr(module, name, 0.01)
    bench = Bench()
    monkeypatch.setattr("proxy.torchserve.TorchServe.start", bench.start)
    yield bench
    assert all(run.stopped for run in bench.runs)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_start_asks_for_all_workers_and_becomes_ready(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    assert bench.readiness.ready
    assert bench.scaled == [3]
    await end(task)


async def test_gate_follows_the_number_of_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(bench.readiness.gate, "resize", told.append)
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    assert told == [1]
    bench.workers = 5
    await until(lambda: told[-1] == 5)
    await end(task)


async def test_early_end_of_the_first_run_is_told_with_its_last_lines(bench: Bench) -> None:
    bench.workers = 0
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.runs)
    bench.runs[0].ended.set()
    with pytest.raises(StartError, match=r"exit status -9(?s:.*)last words"):
        await task


async def test_first_run_that_never_works_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.workers = 0
    monkeypatch.setattr(bench.supervisor, "_settings", Settings.from_environ({"START_TIMEOUT_S": "0.05"}))
    with pytest.raises(StartError, match=r"START_TIMEOUT_S=0\.05"):
        await bench.supervisor.run()


async def test_first_run_that_answers_wrongly_is_given_up(bench: Bench) -> None:
    bench.works = False
    with pytest.raises(StartError, match="wrong answer"):
        await bench.supervisor.run()


async def test_nothing_to_start_is_told(bench: Bench) -> None:
    bench.fault = SettingsError("no archive")
    with pytest.raises(SettingsError, match="no archive"):
        await bench.supervisor.run()


async def test_death_is_said_at_once_and_followed_by_a_new_start(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.workers = 0
    bench.runs[0].ended.set()
    await until(lambda: bench.readiness.state is State.LOADING)
    await until(lambda: len(bench.runs) == 2)
    bench.workers = 1
    await until(lambda: bench.readiness.ready)
    await end(task)


async def test_later_start_that_fails_is_tried_again(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.works = False
    bench.runs[0].ended.set()
    await until(lambda: len(bench.runs) >= 3)
    bench.works = True
    await until(lambda: bench.readiness.ready)
    await end(task)


async def test_torchserve_that_does_not_recover_is_started_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_AFTER_S", 0.05)
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.works = False
    await until(lambda: bench.runs[0].stopped)
    bench.works = True
    await until(lambda: len(bench.runs) >= 2 and bench.readiness.ready)
    await end(task)


async def test_short_trouble_is_left_to_torchserve(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.works = False
    await until(lambda: bench.readiness.state is State.UNAVAILABLE)
    bench.works = True
    await until(lambda: bench.readiness.ready)
    assert len(bench.runs) == 1
    await end(task)


async def test_fault_of_ours_leaves_no_torchserve_behind(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.our_fault = RuntimeError("a fault of ours")
    bench.readiness.failed("so that it is tried at once")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await task
    assert bench.runs[0].stopped


async def test_kill_reaches_the_process(bench: Bench) -> None:
    bench.supervisor.kill()
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.supervisor.kill()
    assert bench.runs[0].ended.is_set()
    await end(task)
