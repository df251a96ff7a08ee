import os
import zipfile
from pathlib import Path

import fsspec
import pytest

from batch.addresses import split
from batch.errors import FilmTooLarge, MissingFile, NestedArchive, NoFilm, UnreadableFile
from batch.listing import list_films
from batch.place import Address, File, Member, Place, as_text, from_text, nowhere
from handler.errors import UnsupportedFormat
from tests.worklists import film, with_declared_size, write_zip

LIMIT = 100_000


def member(path: Path) -> Place:
    (entry,) = list_films(str(path), spare=lambda _: False)
    return entry.place


def test_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(bytes(LIMIT))
    assert File(str(path)).read(LIMIT) == bytes(LIMIT)
    path.write_bytes(bytes(LIMIT + 1))
    with pytest.raises(FilmTooLarge, match=str(LIMIT)):
        File(str(path)).read(LIMIT)


def test_pipe_and_device_and_folder_do_not_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(NoFilm):
            File(str(path)).read(LIMIT)


def test_missing_and_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        File(str(tmp_path / "gone")).read(LIMIT)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UnreadableFile):
        File(str(tmp_path / "loop")).read(LIMIT)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b", b"Rar!\x1a", bytes(257) + b"ustar"])
def test_archive_is_no_film(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "x").write_bytes(start + bytes(300))
    with pytest.raises(NestedArchive):
        File(str(tmp_path / "x")).read(LIMIT)


def test_dicom_file_may_begin_as_an_archive_does(tmp_path: Path) -> None:
    content = b"PK\x03\x04".ljust(128, b"\0") + b"DICM"
    (tmp_path / "x").write_bytes(content)
    assert File(str(tmp_path / "x")).read(LIMIT) == content


def test_member_over_the_limit_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    with pytest.raises(FilmTooLarge):
        member(write_zip(tmp_path / "bomb.zip", {"a": bytes(LIMIT + 1)})).read(LIMIT)


def test_member_that_holds_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    bomb = with_declared_size(write_zip(tmp_path / "bomb.zip", {"a": bytes(50_000_000)}), 1000)
    with pytest.raises(NoFilm):
        member(bomb).read(LIMIT)


def test_member_that_holds_less_than_it_declares_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoFilm):
        member(with_declared_size(write_zip(tmp_path / "films.zip", {"a": b"x" * 100}), 200)).read(LIMIT)


def test_member_with_damage_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "films.zip", {"a": os.urandom(1000)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(NoFilm, match="checksum"):
        member(path).read(LIMIT)


def test_member_whose_header_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "films.zip", {"a": b"x"})
    path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"XXXX"))
    with pytest.raises(NoFilm, match="no member"):
        member(path).read(LIMIT)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packing_is_named(tmp_path: Path, method: int) -> None:
    with pytest.raises(UnsupportedFormat, match="method"):
        member(write_zip(tmp_path / "films.zip", {"a": film()}, method)).read(LIMIT)


def test_address_is_read_by_fsspec() -> None:
    with fsspec.open("memory://place/film", "wb") as file:
        file.write(b"film")
    assert Address(*split("memory://place/film")).read(LIMIT) == b"film"
    with pytest.raises(FilmTooLarge):
        Address("memory://", "/place/film").read(3)
    with pytest.raises(MissingFile):
        Address("memory://", "/place/gone").read(LIMIT)
    with pytest.raises(UnreadableFile):
        Address("nosuchscheme://", "x").read(LIMIT)


@pytest.mark.parametrize(
    ("url", "root", "path"),
    [
        ("s3://bucket/a/b.dcm", "s3://bucket", "bucket/a/b.dcm"),
        (
            "s3://bucket/a?endpoint_override=host:9&scheme=http",
            "s3://bucket?endpoint_override=host:9&scheme=http",
            "bucket/a",
        ),
        ("gs://anonymous@bucket/a#1", "gs://anonymous@bucket", "bucket/a#1"),
        ("file:///a/b", "file://", "/a/b"),
    ],
)
def test_address_is_split_into_file_system_and_path(url: str, root: str, path: str) -> None:
    assert split(url) == (root, path)


@pytest.mark.parametrize(
    "place",
    [File("/a/caf\udce9"), Member("a.zip", 1, 2, 3, 4, 8), Address("s3://a", "a/b"), nowhere(NoFilm("because"))],
)
def test_place_travels_as_text(place: File | Member | Address) -> None:
    assert as_text(place).isascii()
    assert from_text(as_text(place)) == place


def test_folders_leave_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(NoFilm):
            File(str(tmp_path)).read(100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
