"""Rows into a file as a table, whose columns are the first row's: CSV, TSV, Parquet.

Nothing here loads what is not used: pyarrow is for Parquet alone.
"""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from spamcli.errors import DataError

BATCH = 1024  # rows of a Parquet file that are read or written together


def write_delimited(file: BinaryIO, rows: Iterator[dict], delimiter: str) -> None:
    """Rows as CSV or TSV under a header.

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
    finally:
        lines.detach()  # written out, and left open for what packs it


def write_parquet(file: BinaryIO, rows: Iterator[dict]) -> None:
    """Rows as Parquet, BATCH of them at a time.

    Raises: DataError likewise, and if the values of a column are not of one kind.
    """
    import pyarrow
    from pyarrow import parquet

    writer, rows = None, _of_the_same_columns(rows)
    while True:
        batch = [{name: _encodable(value) for name, value in row.items()} for row in islice(rows, BATCH)]
        if writer and not batch:
            break
        try:
            schema = writer.schema if writer else _schema(pyarrow.Table.from_pylist(batch).schema)
            writer = writer or parquet.ParquetWriter(file, schema)
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
        except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            about = " ".join(str(error).split())[:100]
            raise DataError(f"values of a column are not of one kind that Parquet has ({about}); write .jsonl") from error
    writer.close()


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


def _schema(first):
    """Of all rows; of columns that have no value among the first ones p_spam is a number, every other text."""
    import pyarrow

    def kind(field) -> pyarrow.DataType:
        return (
            field.type
            if field.type != pyarrow.null()
            else pyarrow.float64()
            if field.name.endswith("p_spam")
            else pyarrow.string()
        )

    return pyarrow.schema([(field.name, kind(field)) for field in first])
