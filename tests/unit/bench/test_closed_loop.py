from pathlib import Path

import pytest

from bench.closed_loop import Wrk, even_shares, merged, parse
from bench.errors import InputError, LoadError
from bench.load import Load

REPORT = """\
Running 1s test @ http://127.0.0.1:8000/predict
Requests/sec:     87.01

result {"requests": 10, "duration_us": 2000000, "refused": 1, "broken": 2, "took_us": [[4000,5],[6500,5]]}
"""


def test_report_of_the_generator_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(REPORT)
    timing = merged([parse(log)])
    assert (timing.films, timing.errors, timing.seconds) == (9, 3, 2.0)
    assert (timing.p50_ms, timing.p99_ms, timing.mean_ms) == pytest.approx((4.0, 6.5, 5.25))


def test_generators_of_one_load_are_added_up() -> None:
    one = {"requests": 10, "duration_us": 2_000_000, "refused": 0, "broken": 0, "took_us": [[4000, 10]]}
    other = {"requests": 30, "duration_us": 2_010_000, "refused": 0, "broken": 0, "took_us": [[8000, 30]]}
    timing = merged([one, other])
    assert timing.films == 40
    assert timing.films_per_s == pytest.approx(40 / 2.01)
    assert timing.p50_ms == pytest.approx(8.0)


def test_silence_of_the_generator_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("unable to connect to 127.0.0.1:1 Connection refused\n")
    with pytest.raises(LoadError, match="Connection refused"):
        parse(log)


@pytest.mark.parametrize(("total", "parts", "shares"), [(16, 2, [8, 8]), (1, 2, [1, 0]), (7, 3, [3, 2, 2])])
def test_clients_are_shared_evenly(total: int, parts: int, shares: list[int]) -> None:
    assert even_shares(total, parts) == shares


def test_command_names_clients_headers_and_bodies() -> None:
    load = Load(urls=["http://a/p"], headers={"Content-Type": "x/y"}, bodies=[Path("0.body")], folder=Path())
    command = Wrk("wrk", "").command(load, "http://a/p", concurrency=8, seconds=2)
    assert command[:4] == ["wrk", "-t1", "-c8", "-d2s"]
    assert command[command.index("-H") + 1] == "Content-Type: x/y"
    assert command[-3:] == ["http://a/p", "--", "0.body"]


def test_generator_that_is_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match="wrk"):
        Wrk.find(tmp_path)


def test_unpacked_generator_is_found_with_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/wrk").touch()
    libraries = tmp_path / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    found = Wrk.find(tmp_path)
    assert found.binary == str(tmp_path / "usr/bin/wrk")
    assert found.environ["LD_LIBRARY_PATH"] == str(libraries)
