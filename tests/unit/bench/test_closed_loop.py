import sys
from pathlib import Path

import pytest

from bench.closed_loop import Wrk, even_shares, merged, options, report
from bench.errors import InputError, LoadError
from bench.films import Load

OUTPUT = """\
Running 1s test @ http://127.0.0.1:8000/predict
Requests/sec:     87.01

result {"requests": 10, "duration_us": 2000000, "refused": 1, "broken": 2, "took_us": [[4000,5],[6500,5]]}
"""


def load(*urls: str) -> Load:
    return Load(urls=urls, headers={"Content-Type": "x/y"}, bodies=[Path("0.body")])


def fake_wrk(folder: Path, code: str) -> Wrk:
    """Return a generator that runs some Python instead."""
    binary = folder / "wrk"
    binary.write_text(f"#!{sys.executable}\n{code}\n")
    binary.chmod(0o755)
    return Wrk(str(binary))


def test_report_of_the_generator_is_read() -> None:
    timing = merged([report(OUTPUT)])
    assert (timing.films, timing.errors, timing.seconds) == (9, 3, 2.0)
    assert (timing.p50_ms, timing.p99_ms, timing.mean_ms) == pytest.approx((4.0, 6.5, 5.25))


def test_every_address_gets_its_share_and_their_reports_are_added(tmp_path: Path) -> None:
    code = """
import json, sys
clients = int(next(part for part in sys.argv if part.startswith("-c"))[2:])
took_us = 8000 if "http://b/p" in sys.argv else 4000
print("result", json.dumps(
    {"requests": clients, "duration_us": 2_000_000, "refused": 0, "broken": 0, "took_us": [[took_us, clients]]}
))
"""
    timing = fake_wrk(tmp_path, code).run(load("http://a/p", "http://b/p"), concurrency=16, seconds=2)
    assert (timing.films, timing.films_per_s, timing.p50_ms, timing.p99_ms) == pytest.approx((16, 8.0, 4.0, 8.0))


def test_generator_that_fails_is_reported_with_its_output(tmp_path: Path) -> None:
    wrk = fake_wrk(tmp_path, "raise SystemExit('unable to connect')")
    with pytest.raises(LoadError, match="unable to connect"):
        wrk.run(load("http://a/p"), concurrency=1, seconds=1)


def test_generator_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="did not end"):
        fake_wrk(tmp_path, "import time; time.sleep(60)").output(timeout_s=0.3)


@pytest.mark.parametrize(("total", "parts", "shares"), [(16, 2, [8, 8]), (1, 2, [1, 0]), (7, 3, [3, 2, 2])])
def test_clients_are_shared_evenly(total: int, parts: int, shares: list[int]) -> None:
    assert even_shares(total, parts) == shares


def test_options_name_clients_headers_and_bodies() -> None:
    found = options(load("http://a/p"), "http://a/p", 8, 2)
    assert found[:3] == ["-t1", "-c8", "-d2s"]
    assert found[found.index("-H") + 1] == "Content-Type: x/y"
    assert found[-3:] == ["http://a/p", "--", "0.body"]


def test_unpacked_generator_is_found_with_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match="wrk"):
        Wrk.find(tmp_path)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/wrk").touch()
    libraries = tmp_path / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    assert Wrk.find(tmp_path) == Wrk(str(tmp_path / "usr/bin/wrk"), str(libraries))
