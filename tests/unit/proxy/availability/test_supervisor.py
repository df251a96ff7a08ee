import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import pairwise
from unittest import mock

import pytest

from proxy.availability.admission import Admission
from proxy.availability.prober import Prober
from proxy.availability.readiness import STEADY_S, Readiness, State
from proxy.availability.supervisor import Intervals, Supervisor
from proxy.errors import ManagementError, ProbeError, SettingsError, StartError
from proxy.settings import Settings
from proxy.torchserve.client import TorchServeClient
from proxy.torchserve.run_dir import RunDir
from proxy.torchserve.transport import BodyTransport


class FakeTorchServe:
    """A process that ends at `ended`."""

    tail = "last words"
    load_error: str | None = None

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.stopped = self.killed = False

    async def wait(self) -> int:
        await self.ended.wait()
        return -9

    async def stop(self) -> None:
        self.stopped = True
        self.ended.set()

    def kill(self) -> None:
        self.killed = True
        self.ended.set()


class FakeClient(TorchServeClient):
    """Stands in for the client of TorchServe's APIs."""

    def __init__(self) -> None:
        self.inference = mock.Mock(transport=BodyTransport())
        self.management = mock.Mock(ready_workers=self.ready_workers, scale=self.scale)
        self.scaled: list[int] = []
        self.workers = 1
        self.hangs = False

    def authorise(self, _run_dir: RunDir) -> None:
        pass

    async def scale(self, workers: int) -> None:
        self.scaled.append(workers)

    async def ready_workers(self) -> int:
        if self.hangs:
            raise ManagementError("it does not answer")
        return self.workers


class FakeProber(Prober):
    """Finds that predictions succeed, or not."""

    def __init__(self, readiness: Readiness) -> None:
        self.readiness = readiness
        self.works = True
        self.our_fault: Exception | None = None

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


class Bench:
    """A supervisor whose TorchServe, client and prober are stand-ins, on a clock that tests can put forward."""

    def __init__(self, intervals: Intervals, start_timeout_s: float, *, beside: bool) -> None:
        self.clock_s = 0.0
        self.settings = Settings.from_environ({"WORKERS": "3", "START_TIMEOUT_S": str(start_timeout_s)})
        self.client = FakeClient()
        self.admission = Admission(self.client.inference, workers=1, queue_limit=1, stall_s=1)
        self.readiness = Readiness(self.admission, lambda: self.clock_s)
        self.prober = FakeProber(self.readiness)
        self.supervisor = Supervisor(
            self.settings, RunDir(self.settings.run_dir), self.client, self.prober, intervals=intervals, beside=beside
        )
        self.runs: list[FakeTorchServe] = []
        self.started_at: list[float] = []
        self.fault: Exception | None = None

    def start(self, _settings: Settings, _run_dir: RunDir, worker_environment: Mapping[str, str]) -> FakeTorchServe:
        assert worker_environment == BodyTransport().worker_environment
        self.started_at.append(asyncio.get_running_loop().time())
        if self.fault is not None:
            raise self.fault
        self.runs.append(FakeTorchServe())
        return self.runs[-1]


QUICK = Intervals(
    poll_s=0.01, watch_s=0.01, recovery_watch_s=0.01, first_backoff_s=0.01, longest_backoff_s=0.1, restart_after_s=60
)


@pytest.fixture
def intervals() -> Intervals:
    """Tests that want others override it."""
    return QUICK


@pytest.fixture
def start_timeout_s() -> float:
    """The same."""
    return 5.0


@pytest.fixture
def beside() -> bool:
    """The same."""
    return False


@pytest.fixture
async def bench(
    monkeypatch: pytest.MonkeyPatch, intervals: Intervals, start_timeout_s: float, *, beside: bool
) -> AsyncIterator[Bench]:
    bench = Bench(intervals, start_timeout_s, beside=beside)
    monkeypatch.setattr("proxy.availability.supervisor.TorchServe.start", bench.start)
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
    assert bench.client.scaled == [3]
    await end(task)


@pytest.mark.parametrize("beside", [True])
async def test_version_beside_another_has_one_worker_checked_before_the_others_load(bench: Bench) -> None:
    bench.prober.works = False
    with pytest.raises(StartError, match="wrong answer"):
        await bench.supervisor.run()
    assert bench.client.scaled == [1]


@pytest.mark.parametrize("beside", [True])
async def test_version_beside_another_is_ready_with_all_its_workers(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.client.scaled == [1, 3])
    assert not bench.supervisor.ready_once.is_set()
    bench.client.workers = 3
    await bench.supervisor.ready_once.wait()
    bench.runs[0].ended.set()
    await until(lambda: len(bench.client.scaled) > 2)
    assert bench.client.scaled[2] == 3, "in service, its workers load side by side"
    await end(task)


async def test_admission_follows_the_number_of_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(bench.admission, "resize", sizes.append)
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    assert sizes == [1]
    bench.client.workers = 5
    await until(lambda: sizes[-1] == 5)
    await end(task)


async def test_early_end_of_the_first_run_is_reported_with_its_last_lines(bench: Bench) -> None:
    bench.client.workers = 0
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.runs)
    bench.runs[0].ended.set()
    with pytest.raises(StartError, match=r"exit status -9(?s:.*)last words"):
        await task


@pytest.mark.parametrize("start_timeout_s", [0.05])
async def test_first_run_that_never_works_is_given_up(bench: Bench) -> None:
    bench.client.workers = 0
    with pytest.raises(StartError, match=r"within 0\.05 s \(START_TIMEOUT_S\)"):
        await bench.supervisor.run()


async def test_first_run_that_answers_wrongly_is_given_up(bench: Bench) -> None:
    bench.prober.works = False
    with pytest.raises(StartError, match="wrong answer"):
        await bench.supervisor.run()


async def test_model_that_does_not_load_is_given_up_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTorchServe, "load_error", "ContractError: another version")
    bench.client.workers = 0
    with pytest.raises(StartError, match="does not load: ContractError: another version"):
        await bench.supervisor.run()


async def test_nothing_to_start_is_reported(bench: Bench) -> None:
    bench.fault = SettingsError("no archive")
    with pytest.raises(SettingsError, match="no archive"):
        await bench.supervisor.run()


async def test_death_is_seen_at_once_and_followed_by_a_new_start(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.client.workers = 0
    bench.runs[0].ended.set()
    await until(lambda: bench.readiness.state is State.LOADING)
    await until(lambda: len(bench.runs) == 2)
    bench.client.workers = 1
    await until(lambda: bench.readiness.ready)
    await end(task)


async def test_later_start_that_fails_is_tried_again(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.prober.works = False
    bench.runs[0].ended.set()
    await until(lambda: len(bench.runs) >= 3)
    bench.prober.works = True
    await until(lambda: bench.readiness.ready)
    await end(task)


@pytest.mark.parametrize("fault", [SettingsError("the archive is gone"), StartError("no space left on device")])
async def test_later_start_that_the_system_refuses_is_tried_again(bench: Bench, fault: Exception) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.fault = fault
    bench.runs[0].ended.set()
    await until(lambda: len(bench.started_at) >= 3)
    bench.fault = None
    await until(lambda: len(bench.runs) == 2 and bench.readiness.ready)
    await end(task)


async def test_starts_follow_ever_more_slowly_while_torchserve_does_not_stay(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    for number in range(5):
        await until(lambda number=number: len(bench.runs) > number and bench.readiness.ready)
        bench.runs[number].ended.set()
    await until(lambda: len(bench.runs) > 5)
    gaps = [later - earlier for earlier, later in pairwise(bench.started_at)]
    assert all(gap >= wait for gap, wait in zip(gaps, [0.01, 0.02, 0.04, 0.08, 0.1], strict=True))
    await end(task)


@pytest.mark.parametrize("intervals", [replace(QUICK, first_backoff_s=0.01, longest_backoff_s=1000)])
async def test_service_that_was_steady_is_started_anew_soon(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    for number in range(12):  # doubled each time, the wait would be 40 seconds by now
        await until(lambda number=number: len(bench.runs) > number and bench.readiness.ready)
        bench.clock_s += STEADY_S + 1
        bench.runs[number].ended.set()
    await end(task)


async def test_torchserve_that_does_not_recover_is_started_anew(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.prober.works = False
    await until(lambda: bench.readiness.state is State.UNAVAILABLE)
    bench.clock_s += QUICK.restart_after_s + 1
    await until(lambda: bench.runs[0].stopped)
    bench.prober.works = True
    await until(lambda: len(bench.runs) >= 2 and bench.readiness.ready)
    await end(task)


async def test_torchserve_that_recovers_and_fails_in_turn_is_started_anew(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    for _ in range(4):
        bench.prober.works = False
        await until(lambda: bench.readiness.state is State.UNAVAILABLE or bench.runs[0].stopped)
        bench.clock_s += QUICK.restart_after_s / 3
        bench.prober.works = True
        await until(lambda: bench.readiness.ready)
        bench.clock_s += 1
    await until(lambda: bench.runs[0].stopped)
    await end(task)


@pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02])
async def test_end_of_the_service_meets_the_end_of_torchserve(bench: Bench, delay_s: float) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.runs[0].ended.set()
    await asyncio.sleep(delay_s)
    await end(task)
    assert bench.runs[0].stopped


@pytest.mark.parametrize("intervals", [replace(QUICK, hung_after_s=0.05)])
async def test_torchserve_that_hangs_is_killed_and_started_anew(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.client.hangs = True
    await until(lambda: bench.runs[0].stopped)
    assert bench.runs[0].killed
    bench.client.hangs = False
    await until(lambda: len(bench.runs) == 2 and bench.readiness.ready)
    await end(task)


@pytest.mark.parametrize("intervals", [replace(QUICK, watch_s=1e9)])
async def test_death_of_all_workers_is_said_when_a_film_meets_it(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.client.workers = 0
    bench.prober.works = False
    bench.admission.alarm.set()
    await until(lambda: bench.readiness.state is State.UNAVAILABLE)
    await end(task)


@pytest.mark.parametrize("intervals", [replace(QUICK, watch_s=1e9)])
async def test_death_of_one_worker_leaves_the_service_ready(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.prober.works = False  # as where the reference film is with the worker that died
    bench.admission.alarm.set()
    await until(lambda: not bench.admission.alarm.is_set())
    await asyncio.sleep(0.05)
    assert bench.readiness.ready
    await end(task)


async def test_short_trouble_is_left_to_torchserve(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.prober.works = False
    await until(lambda: bench.readiness.state is State.UNAVAILABLE)
    bench.prober.works = True
    await until(lambda: bench.readiness.ready)
    assert len(bench.runs) == 1
    await end(task)


async def test_fault_of_ours_leaves_no_torchserve_behind(bench: Bench) -> None:
    task = asyncio.create_task(bench.supervisor.run())
    await bench.supervisor.ready_once.wait()
    bench.prober.our_fault = RuntimeError("a fault of ours")
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
