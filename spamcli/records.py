"""Messages as records of files and pipes, in and out, one after the other: text, CSV, TSV, JSONL, Parquet, also .gz and .zst.

Memory is bounded, whatever a file unpacks to. Nothing here loads what is not used: pyarrow is for Parquet and .zst alone.
"""

import csv
import gzip
import io
import json
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.files import finish, unfinished

FORMS = ("text", "csv", "tsv", "jsonl", "parquet")
STREAM = "-"  # standard input, or output
TEXT_COLUMNS = ("text", "message", "sms", "v2")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
LONGEST = 2**20  # characters of a record; a longer one has no verdict
_BATCH, _BATCH_BYTES = 1024, 2**24  # rows of a Parquet file that are read together, and what they unpack to by its footer
_TOO_LONG = f"longer than {LONGEST:,} characters"
_UNREADABLE = {  # how files begin that are not UTF-8, what they are, and what to do
    b"\xff\xfe\0\0": ("UTF-32, not UTF-8", "convert it, e.g. iconv -f utf-32 -t utf-8"),
    b"\0\0\xfe\xff": ("UTF-32, not UTF-8", "convert it, e.g. iconv -f utf-32 -t utf-8"),
    b"\xff\xfe": ("UTF-16, not UTF-8", "convert it, e.g. iconv -f utf-16 -t utf-8"),
    b"\xfe\xff": ("UTF-16, not UTF-8", "convert it, e.g. iconv -f utf-16 -t utf-8"),
    b"\x1f\x8b": ("gzip, not text", "unpack it; `predict` reads it as .gz"),
    b"\x28\xb5\x2f\xfd": ("zstd, not text", "unpack it; `predict` reads it as .zst"),
    b"PAR1\x15": ("Parquet, not text", "save it as CSV; `predict` reads it as .parquet"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet, not text", "save what is in it as CSV"),
}


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


class Lines:
    """Lines of text and their numbers. A record is one or more of them, of LONGEST characters in all.

    Attributes:
        record: the lines of this record so far; None for one that alone is longer, which is passed over.
    """

    def __init__(self, file: TextIO):
        self.file, self.number, self.record, self.room = file, 0, [], LONGEST

    def begin(self) -> int:
        """The next line begins a record; its number."""
        self.record, self.room = [], LONGEST
        return self.number + 1

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        """Raises: csv.Error, if the record gets too long."""
        line = self.file.readline(LONGEST + 1)
        if not line:
            raise StopIteration
        self.number, self.room = self.number + 1, self.room - len(line)
        self.record.append(line if len(line) <= LONGEST else None)
        if self.room < 0:
            while len(line) > LONGEST and line[-1] not in "\r\n":
                line = self.file.readline(LONGEST + 1)
            raise csv.Error(_TOO_LONG)
        return line

    def each(self) -> Iterator[tuple[int, str, str]]:
        """Of each line, as a record of its own: number, text, what is wrong with it."""
        while True:
            number = self.begin()
            line, error = _next(self)
            if line is None:
                return
            yield number, line or "", error


def rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Of each row of a table: the number of its first line, its fields, what is wrong with it; a blank line is no row.

    Where a record of several lines is wrong, as after a quote that never closes, all but its first line are read one by one.
    """
    csv.field_size_limit(LONGEST)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = lines.begin()
        row, error = _next(reader)
        if row is None:
            return
        found = [(first, row or [], error)]
        for number, line in enumerate(lines.record[1:] if error else [], start=first + 1):
            row, error = _next(csv.reader([line], delimiter=delimiter, strict=True)) if line else ([], _TOO_LONG)
            found.append((number, row or [], error))
        yield from (one for one in found if one[1] or one[2])


def _next(records: Iterator) -> tuple:
    """The next one, or None at the end, and what is wrong with it."""
    try:
        return next(records, None), ""
    except csv.Error as error:
        return (), str(error)


def check_is_text(start: bytes, path: Path | str) -> None:
    """Raises: DataError, if a file that begins so is something else."""
    for magic, (kind, remedy) in _UNREADABLE.items():
        if start.startswith(magic):
            raise DataError(f"{path}, line 1: {kind}; {remedy}")


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
) -> Iterator[Record]:
    """Records of a file, or of standard input, which must not be Parquet.

    Args:
        watched: the packed bytes of a file, and what shows how many of them are read.
    Raises: NotFoundError; DataError, if the file is damaged or has no column of text.
    """
    form = form_of(path, form)
    try:
        with _opened(path, watched) as file:
            if form == "parquet":
                yield from _read_parquet(file, path, text_column)
                return
            file = file if hasattr(file, "peek") else io.BufferedReader(file)
            check_is_text(file.peek(8), path)
            newline = "\n" if form == "text" else ""
            lines = Lines(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=newline))
            if form == "text":
                yield from _read_text(lines, path)
            elif form == "jsonl":
                yield from _read_jsonl(lines, path, text_column)
            else:
                yield from _read_table(lines, path, _DELIMITERS[form], text_column)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged or cut off ({error}); make it again") from error


# What commands a terminal; and what ends its line or turns it round.
_CONTROLS, _TURNS = "\x00-\x1f\x7f-\x9f", "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def json_line(values: dict) -> str:
    """JSON in one line, which a terminal shows as it stands; a lone surrogate becomes ?."""
    line = json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace").decode("utf-8")
    return re.sub(f"[{_CONTROLS}{_TURNS}]", lambda c: f"\\u{ord(c[0]):04x}", line)


def escaped(text: str) -> str:
    r"""Text for a terminal: a tab, a line end, what could command or turn it as \t, \n, \xNN, \uNNNN; a lone surrogate as ?."""
    return re.sub(f"[{_TURNS}]", lambda c: f"\\u{ord(c[0]):04x}", _in_one_line(text))


def _in_one_line(text: str) -> str:
    """The same for a file, which may hold what turns a line."""
    text = re.sub(f"[{_CONTROLS}]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), text)
    return text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def _opened(path: str, watched: Callable[[BinaryIO], BinaryIO]) -> Iterator[BinaryIO]:
    """The bytes, unpacked."""
    if path == STREAM:
        yield sys.stdin.buffer
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
            yield Record(None, error=f"{path}, line {number}: {error}")
        else:
            yield Record(line.removesuffix("\n").removesuffix("\r"))


def _read_table(lines: Lines, path: str, delimiter: str, text_column: str | None) -> Iterator[Record]:
    table = rows(lines, delimiter)
    number, header, error = next(table, (1, [], ""))
    if error:
        raise DataError(f"{path}, line {number}: {error}; check the quotes of the header, which begins here")
    if not header:
        raise DataError(f"{path}: the file is empty; it needs a header and one message a line")
    if len(set(header)) < len(header):
        raise DataError(f"{path}, line 1: a column is there twice; name each differently")
    column = find_column("text", text_column, TEXT_COLUMNS, header, path)
    for number, row, error in table:
        values, size = dict.fromkeys(header) | dict(zip(header, row)), sum(map(len, row))
        if error or len(row) != len(header):
            error = error or f"{len(row)} fields instead of {len(header)}"
            yield Record(None, values, f"{path}, line {number}: {error}", size)
        else:
            yield Record(values[column], values, size=size)


def _read_jsonl(lines: Lines, path: str, text_column: str | None) -> Iterator[Record]:
    column = text_column
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
        column = column or find_column("text", None, TEXT_COLUMNS, list(values), path)
        text = values.get(column)
        error = "" if isinstance(text, str) else f"{where}: no text under {column!r}"
        yield Record(None if error else text, values, error, len(line))


def _read_parquet(file: BinaryIO, path: str, text_column: str | None) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    if path == STREAM:
        raise DataError("standard input: Parquet cannot be read from a pipe; name the file")
    if _plain(path) != Path(path):  # it is read from its end
        packed, file = file, tempfile.TemporaryFile()  # noqa: SIM115
        shutil.copyfileobj(packed, file)
    try:
        table = parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if len(set(names)) < len(names):
            raise DataError(f"{path}: a column is there twice; name each differently")
        column = find_column("text", text_column, TEXT_COLUMNS, names, path)
        number = 0
        for batch in table.iter_batches(_rows_together(table.metadata)):
            columns, size = dict(zip(names, batch.columns)), batch.nbytes // max(1, batch.num_rows)
            for row in range(batch.num_rows):
                number += 1
                yield _parquet_record(columns, row, column, f"{path}, row {number}", size)
    except (pyarrow.ArrowException, OSError, MemoryError, ValueError, LookupError) as error:  # a name may be no UTF-8
        raise DataError(f"{path}: damaged, or not Parquet ({' '.join(str(error).split())[:100]}); make it again") from error


def _rows_together(metadata) -> int:
    """By what the footer says of their size."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(_BATCH, int(_BATCH_BYTES / max(1, largest))))


def _parquet_record(columns: dict, row: int, column: str, where: str, size: int) -> Record:
    """One after the other: Python's copy of a row is larger than Arrow's."""
    try:
        values = {name: cells[row].as_py() for name, cells in columns.items()}
    except (ValueError, OverflowError, LookupError) as error:  # not UTF-8, not a date, an unknown time zone
        return Record(None, dict.fromkeys(columns), f"{where}: {' '.join(str(error).split())[:100]}")
    text = values[column]
    error = f"no text in {column!r}" if not isinstance(text, str) else _TOO_LONG if len(text) > LONGEST else ""
    return Record(None if error else text, values, f"{where}: {error}" if error else "", size)


def find_column(kind: str, wanted: str | None, usual: Sequence[str], columns: Sequence[str], path: Path | str) -> str:
    """The column that is asked for, else the first of the usual ones, else the only one there is.

    Raises: DataError, if that is none or several.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(f"{path}, line 1: no column {wanted!r} among {', '.join(map(repr, columns))}; correct --{kind}-column")
    found = [column for name in usual for column in columns if column.lower() == name]
    if found or len(columns) == 1:
        return (found or list(columns))[0]
    if not columns:
        raise DataError(
            f"{path}, line 1: no column is left for the {kind}; "
            "a file needs text and label, separated by commas, or by tabs in a .tsv"
        )
    raise DataError(f"{path}, line 1: which of {', '.join(map(repr, columns))} is the {kind}? Name it with --{kind}-column")


def write(path: str, form: str | None, rows: Iterator[dict]) -> None:
    """Write rows, which all have the first one's columns; the file appears whole or not at all.

    Raises: WriteError, and whatever reading the rows raises; nothing half-written stays then.
    """
    final, form = Path(path), form_of(path, form)
    writers: dict[str, Callable[[BinaryIO, Iterator[dict]], None]] = {
        "text": _write_text,
        "jsonl": _write_jsonl,
        "parquet": _write_parquet,
        "csv": lambda file, rows: _write_table(file, rows, ","),
        "tsv": lambda file, rows: _write_table(file, rows, "\t"),
    }
    if final.exists() and not final.is_file():
        raise WriteError(f"{path}: is not a file; name one for the verdicts")
    try:
        with unfinished(final.parent, final.suffix) as partial:
            with open(partial, "wb") as file, _packed(file, final.suffix.lower()) as packed:
                writers[form](packed, rows if form in ("text", "jsonl") else _of_the_same_columns(rows))
            finish(partial, final)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}); name another place with -o") from error


def _of_the_same_columns(rows: Iterator[dict]) -> Iterator[dict]:
    """Raises: DataError at a row with a column that the first one does not have."""
    columns = None
    for row in rows:
        columns = row.keys() if columns is None else columns
        if new := row.keys() - columns:
            raise DataError(f"column {min(new)!r} is not in every record; write .jsonl, where each has its own")
        yield row


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


def _write_table(file: BinaryIO, rows: Iterator[dict], delimiter: str) -> None:
    lines, writer = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline=""), None
    settings = {"delimiter": delimiter, "lineterminator": "\n"}
    try:
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(lines, row, **settings)
                quoting = csv.DictWriter(lines, row, quoting=csv.QUOTE_ALL, **settings)
                writer.writeheader()
            has_return = any("\r" in str(value) for value in row.values())  # which the writer would leave unquoted
            (quoting if has_return else writer).writerow(row)
    finally:
        lines.detach()  # written out, and left open for what packs it


def _write_parquet(file: BinaryIO, rows: Iterator[dict]) -> None:
    import pyarrow
    from pyarrow import parquet

    writer, rows = None, iter(rows)
    while True:
        batch = [{name: _encodable(value) for name, value in row.items()} for row in islice(rows, _BATCH)]
        if writer and not batch:
            break
        try:
            schema = writer.schema if writer else _schema(pyarrow.Table.from_pylist(batch).schema)
            table = pyarrow.Table.from_pylist(batch, schema)
        except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            about = " ".join(str(error).split())[:100]
            raise DataError(f"values of a column are not of one kind that Parquet has ({about}); write .jsonl") from error
        writer = writer or parquet.ParquetWriter(file, schema)
        writer.write_table(table)
    writer.close()


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
