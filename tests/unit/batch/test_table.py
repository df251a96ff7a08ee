from collections.abc import Iterator
from pathlib import Path

import pytest

from batch import table
from batch.errors import InputError
from batch.row import COLUMNS

ROW = ("a,b\n.png", 200, "NORMAL", 0.1, 1, "too_small", "note", "rule_out", 0.2, "1.0.0", "ab", None, None)
ERROR = ("c", 422, *[None] * 9, "damaged_film", "cut")


def test_csv_has_a_column_for_everything_and_quotes_what_it_must(tmp_path: Path) -> None:
    table.write(tmp_path / "r.csv", [ROW, ERROR])
    text = (tmp_path / "r.csv").read_bytes().decode()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert text.endswith(
        '"a,b\n.png",200,NORMAL,0.1,true,too_small,note,rule_out,0.2,1.0.0,ab,,\r\nc,422,,,,,,,,,,damaged_film,cut\r\n'
    )


def test_parquet_has_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: make worklist")
    table.check(tmp_path / "r.parquet")
    table.write(tmp_path / "r.parquet", [ROW, ERROR])
    first, second = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert (first["p_pneumonia"], first["uncertain"], first["error_code"]) == (0.1, True, None)
    assert (second["status"], second["prediction"]) == (422, None)


def test_table_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    out.write_text("old")

    def rows() -> Iterator[table.Values]:
        yield ROW
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space"):
        table.write(out, rows())
    assert out.read_text() == "old"


def test_results_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "file").touch()
    for name in ("r.xlsx", "r", "d.csv", "file/r.csv"):
        with pytest.raises(InputError, match=name.split("/")[0]):
            table.check(tmp_path / name)
    table.check(tmp_path / "new" / "folder" / "r.csv")
    assert (tmp_path / "new" / "folder").is_dir()
