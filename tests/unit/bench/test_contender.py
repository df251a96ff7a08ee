"""A contender from its start to its end, with a server of a few lines in its place."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.agreement import check
from bench.contender import Contender, Live, Place, live
from bench.errors import ContenderError
from bench.films import BenchFilm
from bench.processes import Command
from tests.models import contract

SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = sys.argv[2].encode()
        self.send_response(int(sys.argv[3]))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

FILM = BenchFilm("film.jpeg", b"a film")


def stub(answer: str = '{"p_pneumonia": 0.9}', status: int = 200) -> Contender:
    def commands(place: Place) -> Sequence[Command]:
        return [([sys.executable, "-c", SERVER, str(place.ports[0]), answer, str(status)], {})]

    return Contender(name="stub", title="a stub", commands=commands)


def started(contender: Contender, folder: Path, timeout_s: float = 20.0) -> AbstractContextManager[Live]:
    return live(contender, folder=folder / "place", workers=1, film=FILM, timeout_s=timeout_s)


def test_contender_answers_and_is_ended(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with started(stub(), tmp_path) as running:
        assert running.ask(FILM, running.urls[0]) == {"p_pneumonia": 0.9}
        assert running.start_s > 0
        assert running.memory() > 1
    assert set(psutil.Process().children()) == before


def test_contender_that_ends_at_once_is_reported_with_its_last_output(tmp_path: Path) -> None:
    def commands(_: Place) -> Sequence[Command]:
        return [([sys.executable, "-c", "raise SystemExit('no such model')"], {})]

    broken = Contender(name="broken", title="broken", commands=commands)
    with pytest.raises(ContenderError, match=r"broken: ended .* no such model"), started(broken, tmp_path):
        pass


def test_contender_that_is_not_installed_is_reported(tmp_path: Path) -> None:
    missing = Contender(name="peer", title="a peer", commands=lambda _: [(["/none/python"], {})])
    with pytest.raises(ContenderError, match="not installed: there is no /none/python"), started(missing, tmp_path):
        pass


def test_contender_that_refuses_every_film_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ContenderError, match="422"), started(stub("no", 422), tmp_path, 1.0):
        pass


def test_load_carries_films_as_the_contender_takes_them(tmp_path: Path) -> None:
    with started(stub(), tmp_path) as running:
        form = running.load([FILM], tmp_path / "form")
        raw = running.as_contender(replace(stub(), form_field=None)).load([FILM], tmp_path / "raw")
    assert form.headers["Content-Type"].startswith("multipart/form-data")
    assert FILM.data in form.bodies[0].read_bytes()
    assert raw.headers == {"Content-Type": "application/octet-stream"}
    assert raw.bodies[0].read_bytes() == FILM.data


def test_contender_with_other_results_is_refused(tmp_path: Path) -> None:
    with started(stub(), tmp_path) as running:
        check(running, [FILM, FILM], [0.9, 0.91], contract())
        with pytest.raises(ContenderError, match="its results are not the bare loop's: 2 of 2 decisions differ"):
            check(running, [FILM, FILM], [0.1, 0.1], contract())
