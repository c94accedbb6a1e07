"""Rows into a file as a table, whose columns are the first row's: CSV, TSV, Parquet.

Nothing here loads what is not used: pyarrow is for Parquet alone.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import BinaryIO

from spamcli.errors import DataError

BATCH = 1024  # rows of a Parquet file that are read or written together


def write_delimited(file: BinaryIO, rows: Iterator[dict], delimiter: str, columns: Callable[[], dict]) -> None:
    """Rows as CSV or TSV under a header.

    Args:
        columns: of a table without rows, asked once these have ended.
    Raises: DataError at a row with a column that the first one does not have.
    """
    lines, writer = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline=""), None
    settings = {"delimiter": delimiter, "lineterminator": "\n"}
    try:
        for row in _of_the_same_columns(rows):
            if writer is None:
                writer = csv.DictWriter(lines, row, **settings)
                quoting = csv.DictWriter(lines, row, quoting=csv.QUOTE_ALL, **settings)
                writer.writeheader()
            has_return = any("\r" in str(value) for value in row.values())  # which the writer would leave unquoted
            (quoting if has_return else writer).writerow(row)
        if writer is None:
            csv.DictWriter(lines, columns(), **settings).writeheader()
    finally:
        lines.detach()  # written out, and left open for what packs it


def write_parquet(file: BinaryIO, rows: Iterator[dict], columns: Callable[[], dict]) -> None:
    """Rows as Parquet, BATCH of them at a time.

    Args:
        columns: names, each with its Arrow type or None for what the first rows hold. Asked once these are there.
    Raises: DataError likewise, and if the values of a column are not of one kind.
    """
    import pyarrow
    from pyarrow import parquet

    rows = _of_the_same_columns(rows)
    batch = list(islice(rows, BATCH))
    with ExitStack() as stack:
        try:
            schema = _schema(batch, columns())
            writer = stack.enter_context(parquet.ParquetWriter(file, schema))
            while batch:
                values = [{name: _encodable(value) for name, value in row.items()} for row in batch]
                writer.write_table(pyarrow.Table.from_pylist(values, schema))
                batch = list(islice(rows, BATCH))
        except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            about = " ".join(str(error).split())[:100]
            raise DataError(f"values of a column are not of one kind that Parquet has ({about}); write .jsonl") from error


def _of_the_same_columns(rows: Iterator[dict]) -> Iterator[dict]:
    """Raises: DataError at a row with a column that the first one does not have."""
    columns = None
    for row in rows:
        columns = row.keys() if columns is None else columns
        if new := row.keys() - columns:
            raise DataError(f"column {min(new)!r} is not in every record; write .jsonl, where each has its own")
        yield row


def _encodable(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _schema(first: list[dict], types: dict):
    """Of all rows; of columns that have neither a type nor a value among the first rows p_spam is a number, others are text."""
    import pyarrow

    def kind(name: str) -> pyarrow.DataType:
        if types.get(name) is not None:
            return types[name]
        found = pyarrow.array([_encodable(row.get(name)) for row in first]).type
        if found != pyarrow.null():
            return found
        return pyarrow.float64() if name.endswith("p_spam") else pyarrow.string()

    return pyarrow.schema([(name, kind(name)) for name in (first[0] if first else types)])
