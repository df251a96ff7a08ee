"""Write the results as CSV or Parquet, whole or not at all, row by row."""

import csv
import importlib.util
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from batch.errors import InputError
from batch.row import COLUMNS

Values = tuple[object, ...]
"""Of a row, in the order of COLUMNS."""

ROWS_AT_ONCE = 10_000
"""Of Parquet, whose columns are written together."""

UNCERTAIN = COLUMNS.index("uncertain")


def check(out: Path) -> None:
    """Make the results' folder, and see that they can be written.

    Raises:
        InputError: They cannot, as another format is wanted, or a package is missing.
    """
    if out.suffix not in _WRITERS:
        raise InputError(f"{out}: results are written as .csv or .parquet")
    if out.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{out}: .parquet wants the package pyarrow: pip install -r requirements/worklist.txt")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"{out.parent}: {exc.strerror}") from exc
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"{out}: cannot be written")


def write(out: Path, rows: Iterable[Values]) -> None:
    """Write the results beside their place, and put them there when they are whole.

    Raises:
        InputError: They cannot be written.
    """
    part = out.with_name(f".{out.name}.part")
    try:
        _WRITERS[out.suffix](part, (_typed(row) for row in rows))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as exc:
        raise InputError(f"{out}: {exc.strerror or exc}") from exc


def _typed(row: Values) -> Values:
    """Return a row as it came from the journal, which has numbers for truth values."""
    uncertain = row[UNCERTAIN]
    return row if uncertain is None else (*row[:UNCERTAIN], bool(uncertain), *row[UNCERTAIN + 1 :])


def _write_csv(path: Path, rows: Iterator[Values]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows([str(value).lower() if isinstance(value, bool) else value for value in row] for row in rows)


def _write_parquet(path: Path, rows: Iterator[Values]) -> None:
    import pyarrow as pa  # noqa: PLC0415  (only for this format)
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {"status": pa.int64(), "p_pneumonia": pa.float64(), "threshold": pa.float64(), "uncertain": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with pq.ParquetWriter(path, schema) as table:
        while page := list(islice(rows, ROWS_AT_ONCE)):
            columns = [
                pa.array(values, kind) for values, kind in zip(zip(*page, strict=True), schema.types, strict=True)
            ]
            table.write_table(pa.Table.from_arrays(columns, schema=schema))


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
