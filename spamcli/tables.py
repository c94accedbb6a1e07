"""Rows into a file as a table, whose columns are the first row's: CSV, TSV, Parquet.

Nothing here loads what is not used: pyarrow is for Parquet alone.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
        with _of_one_kind():
            kinds = _kinds(batch, columns())
            schema = pyarrow.schema([(name, kind) for name, (kind, _) in kinds.items()])
            writer = stack.enter_context(parquet.ParquetWriter(file, schema))
        while batch:
            with _of_one_kind():
                writer.write_table(pyarrow.table({name: _column(batch, name, *kind) for name, kind in kinds.items()}, schema))
            batch = list(islice(rows, BATCH))


@contextmanager
def _of_one_kind() -> Iterator[None]:
    """Raises: DataError, where Arrow has no column of some values."""
    import pyarrow

    try:
        yield
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


def _kinds(first: list[dict], types: dict) -> dict:
    """Name -> Arrow type of all rows, and whether it was given, which it is if it takes the first rows' values.

    Else it is what these are; of columns that have no value there p_spam is a number, every other one text.
    """
    import pyarrow

    found = {}
    for name in first[0] if first else types:
        with suppress(pyarrow.ArrowException, OverflowError, TypeError):
            if types.get(name) not in (None, pyarrow.null()):
                given = _plain(types[name]), True
                _column(first, name, *given)
                found[name] = given
                continue
        kind = pyarrow.array(_values(first, name)).type
        number = pyarrow.float64() if name.endswith("p_spam") else pyarrow.string()
        found[name] = number if kind == pyarrow.null() else kind, False
    return found


def _plain(kind):
    """The type of a dictionary's values, whose dictionaries may differ from batch to batch."""
    import pyarrow

    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _values(batch: list[dict], name: str) -> list:
    return [_encodable(row.get(name)) for row in batch]


def _column(batch: list[dict], name: str, kind, given: bool):
    """Raises: ArrowException and others, where a value is of another type, or would be another one in this."""
    import pyarrow

    return pyarrow.array(_values(batch, name), kind) if given else pyarrow.array(_values(batch, name)).cast(kind)
