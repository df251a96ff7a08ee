import os
import zipfile
import zlib
from pathlib import Path

import pytest

from batch.errors import InputError, MissingFile, NestedArchive, NoFilm
from batch.listing import Entry, list_films
from tests.worklists import deflated, film, with_flags, with_overlap, write_zip

LIMIT = 1_000_000


def entries(path: Path, spare: Path | None = None) -> list[Entry]:
    return list(list_films(str(path), spare=lambda item: item == str(spare)))


def names(path: Path, spare: Path | None = None) -> list[str]:
    return [entry.name for entry in entries(path, spare)]


def test_folder_is_listed_whole_whatever_files_are_called(tmp_path: Path) -> None:
    for name in ("b/2.dcm", "b/1", "a.JPG", "b/c/1.2.840.1", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert sorted(names(tmp_path)) == ["a.JPG", "b/1", "b/2.dcm", "b/c/1.2.840.1", "notes.txt"]
    assert names(tmp_path) == names(tmp_path)


def test_hidden_files_and_the_run_s_own_are_not_listed(tmp_path: Path) -> None:
    for name in (".DS_Store", "film.png", "results.csv"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "film.png").write_bytes(b"x")
    assert names(tmp_path, spare=tmp_path / "results.csv") == ["film.png"]


def test_folders_that_link_to_each_other_are_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "film.png").write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len([name for name in names(tmp_path) if name.endswith("film.png")]) == 1


def test_file_name_that_is_no_text_is_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    (entry,) = entries(tmp_path)
    assert entry.name == r"caf\udce9.png"
    assert entry.place.read(LIMIT) == b"x"


def test_films_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "film.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    (entry,) = entries(Path("films"))
    monkeypatch.chdir("/")
    assert (entry.name, entry.place.read(LIMIT)) == ("film.png", b"x")


def test_changed_file_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(b"x")
    before = entries(tmp_path)[0].version
    path.write_bytes(b"xy")
    assert entries(tmp_path)[0].version != before


def test_csv_s_paths_are_relative_to_it_and_missing_ones_are_entries(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "list.csv").write_text("id,path\n1,a.png\n2,gone.png\n", encoding="utf-8")
    first, second = entries(tmp_path / "list.csv")
    assert (first.name, first.place.read(LIMIT)) == ("a.png", b"x")
    with pytest.raises(MissingFile):
        second.place.read(LIMIT)


@pytest.mark.parametrize(
    ("line", "name"),
    [("1,", "line 2"), ("1", "line 2"), ('1,"a" b', "line 2"), ('1,"a\n', "line 2"), ("1,a\0b", None)],
)
def test_line_of_a_csv_that_names_no_file_is_an_entry_with_an_error(
    tmp_path: Path, line: str, name: str | None
) -> None:
    (tmp_path / "list.csv").write_text(f"id,path\n{line}", encoding="utf-8")
    (entry,) = entries(tmp_path / "list.csv")
    assert name in (entry.name, None)
    with pytest.raises((NoFilm, MissingFile)):
        entry.place.read(LIMIT)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ('1,"a.png\n2,b.png\n3,c.png\n', 2),  # a stray quote
        ('1,a.png\n2,"b.png\n3,c.png\n4,"d.png"\n', 3),  # one that another quote would close
        ('1,a.png\r\n"2,b.png\r\n3,c.png\r\n', 3),  # in another column
        ('1,a.png\n2,b.png\n3,"c.png', 4),  # at the end
        ('1,a.png\n2,"b""\n3,c.png\n', 3),  # after an escaped one
        ('1,"a.png"x\n2,b.png\n', 2),  # text behind a quoted field
        ('1,"a.png\r2,b.png\r3,c.png\r', 2),  # lines that end by a carriage return alone
        (f"1,a.png\n2,{'b' * 200_000}\n3,c.png\n", 3),  # a line that is too long
    ],
)
def test_line_that_is_no_csv_is_named_and_takes_no_other_with_it(tmp_path: Path, lines: str, wrong: int) -> None:
    (tmp_path / "list.csv").write_bytes(f"id,path\n{lines}".encode())
    found = entries(tmp_path / "list.csv")
    expected = [f"{name}.png" for name in "abcd"[: len(found)]]
    expected[wrong - 2] = f"line {wrong}"
    assert [entry.name for entry in found] == expected
    with pytest.raises(NoFilm, match=f"line {wrong} is no CSV: "):
        found[wrong - 2].place.read(LIMIT)


def test_field_over_two_lines_is_named_as_one_that_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('path,note\n"a\nb.png",x\n', encoding="utf-8")
    first = entries(tmp_path / "list.csv")[0]
    with pytest.raises(NoFilm, match="line 2 is no CSV: a quoted field does not end on its line"):
        first.place.read(LIMIT)


@pytest.mark.parametrize("header", ['id,"path\n', '"path" x\n', '"a\nb",path\n'])
def test_header_that_is_no_csv_is_said_with_its_line(tmp_path: Path, header: str) -> None:
    (tmp_path / "list.csv").write_text(f"{header}1,a.png\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: "):
        entries(tmp_path / "list.csv")


def test_quotes_that_belong_are_taken_off(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('"id","path"\n1,"a, ""left"".png"\n2,b".png\n', encoding="utf-8")
    assert names(tmp_path / "list.csv") == ['a, "left".png', 'b".png']


def test_csv_of_any_encoding_names_files_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbfpath\r\ncaf\xe9.png\r\n\r\n")
    (entry,) = entries(tmp_path / "list.csv")
    assert entry.place.read(LIMIT) == b"x"


def test_file_without_line_ends_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(InputError, match="neither a folder"):
        entries(path)


@pytest.mark.parametrize("line", ["id,path,x", "id;path;x", "id\tPath\tx", '"ID"; PATH ;"x;y"'])
def test_columns_are_separated_as_spreadsheets_do(tmp_path: Path, line: str) -> None:
    row = "1,2;a.png\n" if ";" in line else line.lower().replace("path", "a.png")
    (tmp_path / "list.csv").write_text(f"{line}\n{row}", encoding="utf-8")
    assert names(tmp_path / "list.csv") == ["a.png"]


def test_line_that_names_the_separator_and_another_spelling_of_the_column_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("sep=;\nPath;path\nx;a.png\n;\n", encoding="utf-8")
    assert names(tmp_path / "list.csv") == ["a.png", "line 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\na.png\n".encode("utf-16"), "UTF-16: save it as CSV in UTF-8"),
        (b"path,id,path\na.png,1,b.png\n", "names the column 'path' twice"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive that is damaged or cut off"),
    ],
)
def test_worklist_that_can_be_put_right_is_told_how(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=message):
        entries(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", film(), b"\xfe\x00\x01"])
def test_what_is_no_worklist_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="neither a folder"):
        entries(tmp_path / "x")


def test_empty_and_missing_worklists_are_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "empty.zip", {})
    (tmp_path / "list.csv").write_text("path\n", encoding="utf-8")
    for path in (tmp_path / "empty.zip", tmp_path / "list.csv"):
        with pytest.raises(InputError, match="no file in it"):
            entries(path)
    with pytest.raises(InputError, match="No such file"):
        entries(tmp_path / "gone")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_an_archive_are_read_one_by_one(tmp_path: Path, method: int) -> None:
    members = {"a/1.jpeg": film(), "b": bytes(100_000)}
    found = entries(
        write_zip(tmp_path / "films.zip", members | {"a/.hidden": b"", "__MACOSX/a/._1.jpeg": b"x"}, method)
    )
    assert {entry.name: entry.place.read(LIMIT) for entry in found} == members


def test_member_s_path_is_only_a_label(tmp_path: Path) -> None:
    outside = {"../../outside.jpeg": b"1", "/etc/passwd": b"2", "..\\windows.jpeg": b"3", "C:/x": b"4"}
    found = entries(write_zip(tmp_path / "films.zip", outside))
    assert {entry.name: entry.place.read(LIMIT) for entry in found} == outside
    assert [path.name for path in tmp_path.iterdir()] == ["films.zip"]


def test_members_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    found = entries(path)
    assert [entry.place.read(LIMIT) for entry in found] == [b"1", b"2"]
    assert len({entry.version for entry in found}) == 2


def test_encrypted_member_is_refused(tmp_path: Path) -> None:
    (entry,) = entries(with_flags(write_zip(tmp_path / "films.zip", {"a": b"x"}), 1))
    with pytest.raises(NoFilm, match="encrypted"):
        entry.place.read(LIMIT)


def test_archive_inside_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"a": film()})
    (entry,) = entries(write_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()}))
    with pytest.raises(NestedArchive):
        entry.place.read(LIMIT)


def test_members_that_share_their_data_are_refused(tmp_path: Path) -> None:
    content = bytes(100_000)
    path = with_overlap(tmp_path / "bomb.zip", deflated(content), len(content), zlib.crc32(content), names=5)
    found = entries(path)
    assert len(found) == 5
    for entry in found:
        with pytest.raises(NoFilm, match="overlaps"):
            entry.place.read(LIMIT)


def test_damaged_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "films.zip", {"a": b"x"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x09\x09"))
    with pytest.raises(InputError, match="cannot be read"):
        entries(path)
