import io
from pathlib import Path
from statistics import mean

import multipart  # type: ignore[import-untyped]  # the package ships no types
import pytest
from PIL import Image

from bench.errors import InputError
from bench.films import BenchFilm, body, content_type, default_films, load_films, write_bodies
from tests.films import grey, jpeg, png

FILM = BenchFilm("film.jpeg", jpeg(grey(200, 100)))


@pytest.fixture(scope="module")
def made() -> list[BenchFilm]:
    return load_films(None)


def of_class(label: str, films: list[BenchFilm]) -> list[BenchFilm]:
    return [film for film in films if film.name.startswith(label)]


def megapixels(film: BenchFilm) -> float:
    width, height = Image.open(io.BytesIO(film.data)).size
    return width * height / 1e6


@pytest.mark.parametrize(("label", "kilobytes", "size"), [("normal", 630, 2.35), ("pneumonia", 86, 0.98)])
def test_default_films_cost_what_published_films_do(
    made: list[BenchFilm], label: str, kilobytes: float, size: float
) -> None:
    films = of_class(label, made)
    assert mean(len(film.data) for film in films) / 1000 == pytest.approx(kilobytes, rel=0.15)
    assert mean(megapixels(film) for film in films) == pytest.approx(size, rel=0.15)


def test_default_films_have_the_classes_in_proportion(made: list[BenchFilm]) -> None:
    assert 3 * len(of_class("normal", made)) == len(of_class("pneumonia", made))
    assert len({film.name for film in made}) == len(made)


def test_default_films_are_the_same_every_time(made: list[BenchFilm]) -> None:
    assert default_films() == made


def test_any_folder_of_films_will_do(tmp_path: Path) -> None:
    (tmp_path / "b.JPG").write_bytes(FILM.data)
    (tmp_path / "a.png").write_bytes(png(grey()))
    assert [film.name for film in load_films(tmp_path)] == ["a.png", "b.JPG"]


def test_folder_without_films_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no JPEG or PNG"):
        load_films(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        load_films(tmp_path / "missing")


def test_form_carries_the_film_in_its_field() -> None:
    _, options = multipart.parse_options_header(content_type("file"))
    (part,) = multipart.MultipartParser(io.BytesIO(body(FILM, "file")), options["boundary"])
    assert (part.name, part.filename, part.raw) == ("file", "film.jpeg", FILM.data)


def test_body_without_a_field_is_the_film() -> None:
    assert body(FILM, None) == FILM.data
    assert content_type(None) == "application/octet-stream"


def test_bodies_are_written_in_order(tmp_path: Path) -> None:
    paths = write_bodies([FILM, BenchFilm("other.png", b"other")], None, tmp_path / "bodies")
    assert paths == sorted(paths)
    assert paths[0].read_bytes() == FILM.data
