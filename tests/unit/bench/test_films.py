import io
from pathlib import Path

import multipart  # type: ignore[import-untyped]  # the package ships no types
import pytest
from PIL import Image

from bench.errors import InputError
from bench.films import BenchFilm, body, content_type, find_films, megapixels, resized, write_bodies
from tests.films import grey, jpeg, png

FILM = BenchFilm("film.jpeg", jpeg(grey(200, 100)))


def test_full_size_films_are_preferred_among_the_reference_films(tmp_path: Path) -> None:
    for name in ("normal-1-224.jpeg", "normal-1-1500.jpeg"):
        (tmp_path / name).write_bytes(FILM.data)
    (tmp_path / "README.md").touch()
    assert [film.name for film in find_films(tmp_path)] == ["normal-1-1500.jpeg"]


def test_any_folder_of_films_will_do(tmp_path: Path) -> None:
    (tmp_path / "b.JPG").write_bytes(FILM.data)
    (tmp_path / "a.png").write_bytes(png(grey()))
    assert [film.name for film in find_films(tmp_path)] == ["a.png", "b.JPG"]


def test_folder_without_films_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no JPEG or PNG"):
        find_films(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_films(tmp_path / "missing")


def test_resized_film_keeps_its_shape() -> None:
    small = resized(FILM, 100)
    assert Image.open(io.BytesIO(small.data)).size == (100, 50)
    assert small.width_px == 100
    assert megapixels(small) == pytest.approx(0.005)


def test_form_carries_the_film_in_its_field() -> None:
    _, options = multipart.parse_options_header(content_type("file"))
    (part,) = multipart.MultipartParser(io.BytesIO(body(FILM, "file")), options["boundary"])
    assert (part.name, part.filename, part.raw) == ("file", "film.jpeg", FILM.data)


def test_body_without_a_field_is_the_film() -> None:
    assert body(FILM, None) == FILM.data
    assert content_type(None) == "application/octet-stream"


def test_bodies_are_written_in_order(tmp_path: Path) -> None:
    paths = write_bodies([FILM, resized(FILM, 100)], None, tmp_path / "bodies")
    assert paths == sorted(paths)
    assert paths[0].read_bytes() == FILM.data
