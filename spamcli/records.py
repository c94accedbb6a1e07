"""Messages as records of files and pipes, in and out, one after the other: text, CSV, TSV, JSONL, Parquet, also .gz and .zst.

Memory is bounded, whatever a file unpacks to. Nothing here loads what is not used: pyarrow is for Parquet and .zst alone.
"""

import errno
import gzip
import io
import json
import math
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.files import destination, finish, unfinished
from spamcli.rows import LONGEST, TEXT_COLUMNS, TOO_LONG, Lines, check_is_text, check_separated, find_column, rows
from spamcli.tables import BATCH, write_delimited, write_parquet

FORMS = ("text", "csv", "tsv", "jsonl", "parquet")
STREAM = "-"  # standard input
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BATCH_BYTES = 2**24  # what rows of a Parquet file that are read together may unpack to, by its footer
_NESTED = 16  # rows with lists that are read together: of these the footer's sizes say little
_ROW_BYTES, _CELL_BYTES = 2**26, 2**24  # what a row of a Parquet file, and a cell of it, may unpack to
_FIELD = 16  # characters that a field takes the room of, however empty
_DEPTH = 90  # of lists and objects in one another; Parquet has 100 at most, Python's JSON a thousand


@dataclass
class Record:
    """A message with the other columns of its row.

    Attributes:
        text: None, if the record cannot be parsed; `error` then says where and why.
        values: the row's columns in order, the text's among them; empty for a line of text.
        size: characters that it was read from, about.
    """

    text: str | None
    values: dict = field(default_factory=dict)
    error: str = ""
    size: int = 0

    def __post_init__(self):
        self.size = self.size or len(self.text or "")


def form_of(path: str, form: str | None = None) -> str:
    """The form that is asked for, or what the name says: `text`, if it says nothing."""
    return form or _SUFFIXES.get(_plain(path).suffix.lower(), "text")


def _plain(path: str) -> Path:
    """The name without .gz or .zst."""
    return Path(path).with_suffix("") if Path(path).suffix.lower() in (".gz", ".zst") else Path(path)


def read(
    path: str,
    form: str | None = None,
    text_column: str | None = None,
    watched: Callable[[BinaryIO], BinaryIO] = lambda file: file,
    columns: dict | None = None,
) -> Iterator[Record]:
    """Records of a file, or of standard input, which must not be Parquet.

    Args:
        watched: the packed bytes of a file, and what shows how many of them are read.
        columns: gets the names of a table's columns before the first record comes, each with its Arrow type or None.
    Raises: NotFoundError; DataError, if the file is damaged or has no column of text.
    """
    form, columns = form_of(path, form), {} if columns is None else columns
    try:
        with _opened(path, watched) as file:
            if form == "parquet":
                yield from _read_parquet(file, path, text_column, columns)
                return
            file = file if hasattr(file, "peek") else io.BufferedReader(file)
            check_is_text(file.peek(8), path)
            newline = "\n" if form == "text" else ""
            lines = Lines(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=newline))
            if form == "text":
                columns.setdefault("text")
                yield from _read_text(lines, path)
            elif form == "jsonl":
                yield from _read_jsonl(lines, path, text_column)
            else:
                yield from _read_table(lines, path, _DELIMITERS[form], text_column, columns)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged or cut off ({error}); make it again") from error


# What commands a terminal; and what ends its line or turns it round.
_CONTROLS, _TURNS = "\x00-\x1f\x7f-\x9f", "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def json_line(values: dict) -> str:
    """JSON in one line, which a terminal shows as it stands; a lone surrogate becomes ?, what is no finite number null."""
    try:
        line = json.dumps(values, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(values), ensure_ascii=False, default=str)
    line = line.encode("utf-8", "replace").decode("utf-8")
    return re.sub(f"[{_CONTROLS}{_TURNS}]", lambda c: f"\\u{ord(c[0]):04x}", line)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(text: str) -> str:
    r"""Text for a terminal: a tab, a line end, what could command or turn it as \t, \n, \xNN, \uNNNN; a lone surrogate as ?."""
    return re.sub(f"[{_TURNS}]", lambda c: f"\\u{ord(c[0]):04x}", _in_one_line(text))


def _in_one_line(text: str) -> str:
    """The same for a file, which may hold what turns a line."""
    text = re.sub(f"[{_CONTROLS}]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), text)
    return text.encode("utf-8", "replace").decode("utf-8")


def _standard_input() -> BinaryIO:
    """A reader of its own: Python closes sys.stdin when it ends, and aborts if a thread is in the middle of reading it."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # not the process's own, but what a program has put in its place
        return sys.stdin.buffer


@contextmanager
def _opened(path: str, watched: Callable[[BinaryIO], BinaryIO]) -> Iterator[BinaryIO]:
    """The bytes, unpacked."""
    if path == STREAM:
        yield _standard_input()
        return
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; correct its name") from error
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror}); name a file of messages") from error
    with watched(file) as file:
        suffix = Path(path).suffix.lower()
        if suffix == ".gz":
            yield gzip.GzipFile(fileobj=file)
        elif suffix == ".zst":
            import pyarrow

            yield io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd"))
        else:
            yield file


def _read_text(lines: Lines, path: str) -> Iterator[Record]:
    for number, line, error in lines.each():
        if error:
            yield Record(None, {"text": None}, f"{path}, line {number}: {error}")
        else:
            yield Record(line.removesuffix("\n").removesuffix("\r"))


def _read_table(lines: Lines, path: str, delimiter: str, text_column: str | None, columns: dict) -> Iterator[Record]:
    table = rows(lines, delimiter)
    number, header, error = next(table, (1, [], ""))
    if error:
        raise DataError(f"{path}, line {number}: {error}; check the quotes of the header, which begins here")
    if not header:
        raise DataError(f"{path}: the file is empty; it needs a header and one message a line")
    if len(set(header)) < len(header):
        raise DataError(f"{path}, line 1: a column is there twice; name each differently")
    check_separated(header, delimiter, path, named=text_column is not None)
    column = find_column("text", text_column, TEXT_COLUMNS, header, path)
    columns |= dict.fromkeys(header) | columns
    for number, row, error in table:
        values, size = dict.fromkeys(header) | dict(zip(header, row)), sum(map(len, row)) + _FIELD * len(header)
        if error or len(row) != len(header):
            error = error or f"{len(row)} fields instead of {len(header)}"
            yield Record(None, values, f"{path}, line {number}: {error}", size)
        else:
            yield Record(values[column], values, size=size)


def _read_jsonl(lines: Lines, path: str, text_column: str | None) -> Iterator[Record]:
    column, only = text_column, None  # as it is usually called; as the first record with one field calls it
    for number, line, error in lines.each():
        where = f"{path}, line {number}"
        if error:
            yield Record(None, error=f"{where}: {error}")
            continue
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Record(None, error=f"{where}: not JSON ({error})")
            continue
        if not isinstance(values, dict) or not values:
            yield Record(None, error=f"{where}: not a JSON object with fields")
            continue
        if _is_deep(values):
            yield Record(None, error=f"{where}: more than {_DEPTH} lists and objects in one another")
            continue
        column = column or next((name for usual in TEXT_COLUMNS for name in values if name.lower() == usual), None)
        only = only or (next(iter(values)) if len(values) == 1 else None)
        own = column or only or "text"
        text = values.get(own)
        error = "" if isinstance(text, str) else f"{where}: no text under {own!r}"
        error += "; name its column with --text-column" if error and not column else ""
        yield Record(None if error else text, values, error, len(line))


def _is_deep(values: dict) -> bool:
    level = [values]
    for _ in range(_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [each for part in parts for each in part if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _read_parquet(file: BinaryIO, path: str, text_column: str | None, columns: dict) -> Iterator[Record]:
    if path == STREAM:
        raise DataError("standard input: Parquet cannot be read from a pipe; name the file")
    if _plain(path) != Path(path):  # it is read from its end
        with _in_temporary_file(file) as whole:
            yield from _rows_of_parquet(whole, path, text_column, columns)
    else:
        yield from _rows_of_parquet(file, path, text_column, columns)


@contextmanager
def _in_temporary_file(packed: BinaryIO) -> Iterator[BinaryIO]:
    """A temporary file of it. Raises: WriteError, if there is no room for one."""
    with ExitStack() as stack:
        with _temporary_room():
            unpacked = stack.enter_context(tempfile.TemporaryFile(buffering=0))  # on a full disk a buffer is never empty
        while data := packed.read(2**20):
            with _temporary_room():
                if unpacked.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        unpacked.seek(0)
        yield unpacked


@contextmanager
def _temporary_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"no room for a temporary file, to unpack Parquet into ({error.strerror or error}); set TMPDIR to another folder"
        ) from error


def _rows_of_parquet(file: BinaryIO, path: str, text_column: str | None, columns: dict) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        schema = parquet.ParquetFile(file).schema_arrow
        names, strings = schema.names, [field.name for field in schema if pyarrow.types.is_string(field.type)]
        table = parquet.ParquetFile(file, read_dictionary=strings)  # a value that comes again is held once
        if len(set(names)) < len(names):
            raise DataError(f"{path}: a column is there twice; name each differently")
        column = find_column("text", text_column, TEXT_COLUMNS, names, path)
        columns |= dict(zip(names, schema.types)) | columns
        number = 0
        most = _NESTED if any(pyarrow.types.is_nested(kind) for kind in schema.types) else BATCH
        for batch in table.iter_batches(min(most, _rows_together(table.metadata))):
            cells, size = dict(zip(names, batch.columns)), batch.nbytes // max(1, batch.num_rows)
            large = {name for name in names if cells[name].nbytes > _CELL_BYTES}
            for row in range(batch.num_rows):
                number += 1
                yield _parquet_record(cells, row, column, f"{path}, row {number}", size, large)
    except (pyarrow.ArrowException, OSError, MemoryError, ValueError, LookupError) as error:  # a name may be no UTF-8
        raise DataError(f"{path}: damaged, or not Parquet ({' '.join(str(error).split())[:100]}); make it again") from error


def _rows_together(metadata) -> int:
    """By what the footer says of their size.

    Raises: ValueError, if a single row is too large.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
    if largest > _ROW_BYTES:
        raise ValueError(f"rows of {largest:,.0f} bytes")
    return max(1, int(_BATCH_BYTES / max(1, largest)))


def _parquet_record(columns: dict, row: int, column: str, where: str, size: int, large: set[str]) -> Record:
    """One after the other: Python's copy of a row is larger than Arrow's.

    Args:
        large: columns that hold so much that a cell may be larger than what is read.
    """
    values, error = dict.fromkeys(columns), ""
    for name, cells in columns.items():
        if name in large and _bytes_of(cells, row) > _CELL_BYTES:
            error = f"a cell of more than {_CELL_BYTES:,} bytes under {name!r}"
            continue
        try:
            values[name] = cells[row].as_py()
        except (ValueError, OverflowError, LookupError) as problem:  # not UTF-8, not a date, an unknown time zone
            error = " ".join(str(problem).split())[:100] if name == column else error
    text = values[column]
    error = error or (f"no text in {column!r}" if not isinstance(text, str) else TOO_LONG if len(text) > LONGEST else "")
    size = max(size, sum(len(value) for value in values.values() if isinstance(value, str | bytes)))
    return Record(None if error else text, values, f"{where}: {error}" if error else "", size)


def _bytes_of(cells, row: int) -> int:
    """Of a cell that has room of its own; 0 for views, and for lists of a dictionary's values, which share it."""
    import pyarrow

    if pyarrow.types.is_dictionary(cells.type):
        value = cells[row].value
        return len(value.as_buffer()) if value is not None and value.is_valid else 0
    shared = "view" in str(cells.type) or "dictionary" in str(cells.type)
    return 0 if shared else cells.slice(row, 1).nbytes


def write(path: str, form: str | None, rows: Iterator[dict], columns: Callable[[], dict] = dict) -> None:
    """Write rows; the file appears whole or not at all.

    Args:
        columns: of a table, once its first row is there or there is none: names, each with its Arrow type or None.
    Raises: WriteError; DataError, if the rows do not make a table; whatever reading them raises. Nothing half-written stays.
    """
    final, form = destination(Path(path), "name one for the verdicts"), form_of(path, form)
    writers: dict[str, Callable[[BinaryIO, Iterator[dict]], None]] = {
        "text": _write_text,
        "jsonl": _write_jsonl,
        "parquet": lambda file, rows: write_parquet(file, rows, columns),
        "csv": lambda file, rows: write_delimited(file, rows, ",", columns),
        "tsv": lambda file, rows: write_delimited(file, rows, "\t", columns),
    }
    try:
        with unfinished(final.parent) as partial:
            with suppress(OSError):  # the file system knows no modes
                if final.exists():
                    partial.chmod(0o600)  # nobody else reads it before it may be read by whom the old one is
            with open(partial, "wb") as file, _packed(file, Path(path).suffix.lower()) as packed:
                writers[form](packed, rows)
            finish(partial, final)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}); name another place with -o") from error


@contextmanager
def _packed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
            yield packed
    elif suffix == ".zst":
        import pyarrow

        with pyarrow.CompressedOutputStream(pyarrow.PythonFile(file, mode="w"), "zstd") as packed:
            yield packed
    else:
        yield file


def _write_text(file: BinaryIO, rows: Iterator[dict]) -> None:
    for row in rows:
        file.write("\t".join("" if value is None else _in_one_line(str(value)) for value in row.values()).encode() + b"\n")


def _write_jsonl(file: BinaryIO, rows: Iterator[dict]) -> None:
    for row in rows:
        file.write(json_line(row).encode() + b"\n")
