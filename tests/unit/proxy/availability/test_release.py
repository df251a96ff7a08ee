import asyncio
import json
import logging
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.availability import release as module
from proxy.availability.archive import Archive
from proxy.availability.release import Releases
from proxy.errors import ArchiveError, DeployError, StartError
from proxy.settings import Settings
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.run_dir import CURRENT, RunDir


class FakeRelease:
    """Comes up, or not, by its version."""

    def __init__(self, archive: Archive, settings: Settings, _buffer: FilmBuffer, *, beside: bool = False) -> None:
        self.beside = beside
        self.archive = archive
        self.settings = settings
        self.run_dir = RunDir(settings.run_dir)
        self.admission = SimpleNamespace(workers=1, waiting=0, in_torchserve=0)
        self.readiness = SimpleNamespace(ready=True, reason="", admission=self.admission)
        self.pauses = 0
        self.supervisor = SimpleNamespace(
            kill=self.kill, pause=self.pause, resume=lambda **_: None, ready_once=asyncio.Event()
        )
        self.supervisor.ready_once.set()
        self.keeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stopped = self.killed = False
        self.waits = asyncio.Event()
        self.waits.set()

    def kill(self) -> None:
        self.killed = True

    def pause(self) -> None:
        self.pauses += 1

    async def start(self) -> None:
        self.run_dir.path.mkdir()

    async def ready(self) -> None:
        if self.archive.version == "slow":
            await asyncio.Event().wait()
        if self.archive.version == "bad":
            raise StartError("the model does not load: it is broken\nlast words")

    async def idle(self) -> None:
        await self.waits.wait()

    async def stop(self) -> None:
        self.stopped = True
        self.keeper.cancel()


def pack(path: Path, version: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    film = {"file": "normal-1-224.jpeg", "label": "NORMAL", "p_pneumonia": 0.1}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"handler": "handler.py"}}))
        archive.writestr("handler.py", "")
        contract: dict[str, object] = {"model_version": version, "default_operating_point": "rule_out"}
        contract["operating_points"] = [{"name": "rule_out"}]
        archive.writestr("contract.json", json.dumps(contract))
        archive.writestr("model-config.yaml", "minWorkers: 1")
        archive.writestr("reference/expected.json", json.dumps({"tolerance": 0.02, "films": [film]}))
        archive.writestr("reference/normal-1-224.jpeg", b"a film")
    return path


class Bench:
    """Releases with version 1 in service, and what became of each."""

    def __init__(self, tmp_path: Path, buffer: FilmBuffer) -> None:
        (tmp_path / "run").mkdir()
        self.folder = tmp_path
        # Past the check of the path's length: no socket is made here.
        folders = {"run_dir": tmp_path / "run", "model_store": tmp_path / "store"}
        self.settings = Settings.from_environ({}).model_copy(update=folders)
        self.releases = Releases(self.settings, buffer)
        self.steps: list[str] = []

    async def begin(self) -> None:
        await self.releases.begin(Archive.read(pack(self.settings.archive, "1")))

    async def deploy(self, version: str, share: float = 1.0) -> None:
        await self.releases.deploy(pack(self.folder / f"{version}.mar", version), share, self.steps.append)

    @property
    def versions(self) -> tuple[str, ...]:
        """The version in service, and the candidate's."""
        candidate = self.releases.candidate
        return (self.releases.current.archive.version, *([candidate.archive.version] if candidate else []))

    def on_disk(self, name: str = "pneumonia.mar") -> str:
        return Archive.read(self.settings.model_store / name).version


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(module, "Release", FakeRelease)
    buffer = FilmBuffer(100_000)
    bench = Bench(tmp_path, buffer)
    await bench.begin()
    yield bench
    buffer.close()


async def test_ready_version_takes_over_and_the_old_one_ends(bench: Bench) -> None:
    old = bench.releases.current
    await bench.deploy("2")
    assert bench.versions == ("2",)
    assert old.stopped  # type: ignore[attr-defined]
    assert (bench.on_disk(), bench.on_disk("pneumonia.previous.mar")) == ("2", "1")
    assert (bench.settings.run_dir / CURRENT).readlink() == Path("2")


async def test_old_version_ends_when_its_films_are_answered(bench: Bench) -> None:
    old = bench.releases.current
    old.waits.clear()  # type: ignore[attr-defined]
    deployment = asyncio.create_task(bench.deploy("2"))
    await asyncio.sleep(0.05)
    assert bench.versions == ("2",)
    assert not old.stopped  # type: ignore[attr-defined]
    old.waits.set()  # type: ignore[attr-defined]
    await deployment
    assert old.stopped  # type: ignore[attr-defined]


async def test_version_that_does_not_come_up_changes_nothing(bench: Bench) -> None:
    with pytest.raises(DeployError, match=r"bad \(\w+\) does not serve, 1 \(\w+\) stays: .*it is broken$"):
        await bench.deploy("bad")
    assert bench.versions == ("1",)
    assert bench.on_disk() == "1"
    await bench.deploy("2")
    assert bench.versions == ("2",)


async def test_what_is_no_archive_changes_nothing(bench: Bench) -> None:
    with pytest.raises(ArchiveError):
        await bench.releases.deploy(Path("/nowhere.mar"), 1.0, bench.steps.append)
    assert bench.versions == ("1",)


async def test_candidate_screens_its_share_until_it_is_promoted(bench: Bench) -> None:
    await bench.deploy("2", share=0.3)
    assert bench.versions == ("1", "2")
    chosen = [bench.releases.choose().archive.version for _ in range(2000)]
    assert 0.2 < chosen.count("2") / len(chosen) < 0.4
    assert bench.on_disk() == "1"
    await bench.releases.promote(bench.steps.append)
    assert {bench.releases.choose().archive.version for _ in range(100)} == {"2"}


async def test_candidate_in_the_shadow_screens_for_no_client_and_is_reported_on(bench: Bench) -> None:
    archive = pack(bench.folder / "2.mar", "2")
    await bench.releases.deploy(archive, 0.0, bench.steps.append, shadow=0.5)
    assert bench.releases.shadow is not None
    assert {bench.releases.choose().archive.version for _ in range(100)} == {"1"}
    await bench.releases.abandon(bench.steps.append)
    assert bench.releases.shadow is None
    assert [step for step in bench.steps if step.startswith("shadow: 0 films, 0 decisions flipped")]


async def test_same_archive_again_is_said_so(bench: Bench) -> None:
    await bench.releases.deploy(bench.settings.archive, 1.0, bench.steps.append)
    assert "they are the same archive" in bench.steps


async def test_archive_that_a_rollback_puts_in_the_store_is_marked_as_not_made_there(bench: Bench) -> None:
    store, mark = bench.settings.model_store, bench.settings.model_store / module.PUT_HERE
    pack(bench.settings.archive, "2")
    made = bench.settings.archive.stat().st_mtime_ns
    await bench.releases.deploy(bench.settings.archive, 1.0, bench.steps.append)
    assert bench.settings.archive.stat().st_mtime_ns == made
    assert not mark.exists()
    await bench.releases.rollback(bench.steps.append)
    assert bench.on_disk() == "1"
    assert mark.stat().st_mtime_ns >= bench.settings.archive.stat().st_mtime_ns
    assert Archive.read(store / "pneumonia.previous.mar").version == "2"


async def test_candidate_that_fails_screens_nothing(bench: Bench) -> None:
    await bench.deploy("2", share=0.99)
    assert bench.releases.candidate is not None
    bench.releases.candidate.readiness.ready = False  # type: ignore[misc]
    assert {bench.releases.choose().archive.version for _ in range(100)} == {"1"}
    with pytest.raises(DeployError, match="not ready"):
        await bench.releases.promote(bench.steps.append)
    assert bench.versions == ("1", "2")


async def test_candidate_is_abandoned(bench: Bench) -> None:
    await bench.deploy("2", share=0.5)
    candidate = bench.releases.candidate
    await bench.releases.rollback(bench.steps.append)
    assert bench.versions == ("1",)
    assert candidate is not None
    assert candidate.stopped  # type: ignore[attr-defined]
    assert bench.on_disk() == "1"


async def test_rollback_goes_back_to_the_version_before_and_forth_again(bench: Bench) -> None:
    await bench.deploy("2")
    await bench.releases.rollback(bench.steps.append)
    assert bench.versions == ("1",)
    assert (bench.on_disk(), bench.on_disk("pneumonia.previous.mar")) == ("1", "2")
    await bench.releases.rollback(bench.steps.append)
    assert bench.versions == ("2",)


@pytest.mark.parametrize("command", ["promote", "abandon", "rollback"])
async def test_without_a_candidate_or_an_earlier_version_there_is_nothing_to_do(bench: Bench, command: str) -> None:
    with pytest.raises(DeployError, match="there is no"):
        await getattr(bench.releases, command)(bench.steps.append)


async def test_second_deployment_waits_for_a_decision(bench: Bench) -> None:
    await bench.deploy("2", share=0.1)
    with pytest.raises(DeployError, match="promote or abandon"):
        await bench.deploy("3")


async def test_commands_do_not_cross(bench: Bench) -> None:
    deployment = asyncio.create_task(bench.deploy("slow"))
    await asyncio.sleep(0.05)
    with pytest.raises(DeployError, match="under way"):
        await bench.deploy("2")
    candidate = bench.releases.candidate
    deployment.cancel()
    await asyncio.wait({deployment})
    assert candidate is not None
    assert candidate.stopped  # type: ignore[attr-defined]
    assert bench.versions == ("1",)


async def test_version_that_starts_is_paused_for_films(bench: Bench) -> None:
    bench.releases.current.admission.in_torchserve = 1000  # type: ignore[misc]
    deployment = asyncio.create_task(bench.deploy("slow"))
    while not (bench.releases.candidate and bench.releases.candidate.pauses):  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    deployment.cancel()
    await asyncio.gather(deployment, return_exceptions=True)


async def test_kill_reaches_a_candidate_that_still_starts(bench: Bench) -> None:
    deployment = asyncio.create_task(bench.deploy("slow"))
    await asyncio.sleep(0.05)
    bench.releases.kill()
    for one in (bench.releases.current, bench.releases.candidate):
        assert one.killed  # type: ignore[union-attr]
    deployment.cancel()
    await asyncio.wait({deployment})


async def test_versions_have_ports_of_their_own_and_the_configured_ones_in_turn(bench: Bench) -> None:
    ports = [bench.releases.current.settings.torchserve_ports]
    for version in ("2", "3"):
        await bench.deploy(version)
        ports.append(bench.releases.current.settings.torchserve_ports)
    assert ports[0] == ports[2] == bench.settings.torchserve_ports
    assert not set(ports[1].values()) & set(ports[0].values())


async def test_archive_exchanged_on_disk_changes_nothing_and_is_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "EXCHANGE_POLL_S", 0.01)
    watch = asyncio.create_task(bench.releases.watch_disk())
    with caplog.at_level(logging.WARNING):
        pack(bench.settings.archive, "9")
        await asyncio.sleep(0.2)
    watch.cancel()
    assert bench.versions == ("1",)
    exchanged = [record for record in caplog.records if "was exchanged for 9" in record.getMessage()]
    assert len(exchanged) == 1


async def test_store_that_cannot_be_written_leaves_the_version_in_service(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    await bench.deploy("2", share=0.5)
    monkeypatch.setattr("proxy.availability.release.shutil.copyfile", refuse)
    with pytest.raises(DeployError, match="MODEL_STORE cannot be written"):
        await bench.releases.promote(bench.steps.append)
    assert bench.versions == ("1", "2")


async def test_end_of_the_release_in_service_ends_the_run_and_of_an_old_one_does_not(bench: Bench) -> None:
    run = asyncio.create_task(bench.releases.run())
    await bench.deploy("2")
    await asyncio.sleep(0.02)
    assert not run.done()
    bench.releases.current.keeper.set_exception(StartError("it is over"))
    with pytest.raises(StartError, match="over"):
        await run


async def test_nothing_is_deployed_before_the_first_release_is_ready(bench: Bench) -> None:
    bench.releases.current.supervisor.ready_once.clear()
    with pytest.raises(DeployError, match="still starting"):
        await bench.deploy("2")


async def test_version_that_cannot_be_kept_is_ended_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ready_and_full(release: FakeRelease) -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        assert release.archive.version == "2"
        monkeypatch.setattr("proxy.availability.release.shutil.copyfile", refuse)

    monkeypatch.setattr(FakeRelease, "ready", ready_and_full)
    with pytest.raises(DeployError, match="No space left"):
        await bench.deploy("2")
    assert bench.versions == ("1",)
    assert {bench.releases.choose().archive.version for _ in range(20)} == {"1"}
    assert bench.on_disk() == "1"
    assert not list(bench.settings.model_store.glob(".*"))


async def test_archive_that_cannot_be_copied_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proxy.availability.release.shutil.copyfile", refuse)
    with pytest.raises(StartError, match=r"RUN_DIR: .*No space left"):
        await bench.deploy("2")
    assert [path.name for path in (bench.settings.run_dir / "archives").iterdir()] == ["1"]
