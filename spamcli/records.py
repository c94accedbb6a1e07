"""Messages as records of files and pipes, in and out, one after the other: text, CSV, TSV, JSONL, Parquet, also .gz and .zst.

Nothing here loads what is not used: pyarrow is imported for Parquet alone, zstandard for .zst.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.files import finish, unfinished

FORMS = ("text", "csv", "tsv", "jsonl", "parquet")
STREAM = "-"  # standard input, or output
TEXT_COLUMNS = ("text", "message", "sms", "v2")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BATCH = 1024  # rows of a Parquet file that are read together


@dataclass
class Record:
    """A message with the other columns of its row.

    Attributes:
        text: None, if the record cannot be parsed; `error` then says where and why.
        values: the row's columns in order, the text's among them; empty for a line of text.
    """

    text: str | None
    values: dict = field(default_factory=dict)
    error: str = ""


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
            lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="\n" if form == "text" else "")
            if form == "text":
                yield from (Record(line.removesuffix("\n").removesuffix("\r")) for line in lines)
            elif form == "jsonl":
                yield from _read_jsonl(lines, path, text_column)
            else:
                yield from _read_table(lines, path, _DELIMITERS[form], text_column)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or cut off ({error}); make it again") from error


def json_line(values: dict) -> str:
    """JSON in one line; a lone surrogate becomes ?."""
    return json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace").decode("utf-8")


def escaped(text: str) -> str:
    r"""A tab, a line end or what could command a terminal is written as \t, \n, \xNN; a lone surrogate as ?."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), text)
    return text.encode("utf-8", "replace").decode("utf-8")


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


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
            import zstandard

            try:
                yield io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
            except zstandard.ZstdError as error:
                raise DataError(f"{path}: damaged or cut off ({error}); make it again") from error
        else:
            yield file


def _read_table(lines: io.TextIOWrapper, path: str, delimiter: str, text_column: str | None) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(lines, delimiter=delimiter)
    header = next(rows, None)
    if header is None:
        raise DataError(f"{path}: the file is empty; it needs a header and one message a line")
    if len(set(header)) < len(header):
        raise DataError(f"{path}, line 1: a column is there twice; name each differently")
    column = find_column("text", text_column, TEXT_COLUMNS, header, path)
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(None, error=f"{path}, line {line}: {error}")
            continue
        if not row:
            continue  # a blank line is no record
        values = dict(zip(header, row))
        if len(row) == len(header):
            yield Record(values[column], values)
        else:
            yield Record(None, values, f"{path}, line {line}: {len(row)} fields instead of {len(header)}")


def _read_jsonl(lines: io.TextIOWrapper, path: str, text_column: str | None) -> Iterator[Record]:
    column = text_column
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Record(None, error=f"{where}: not JSON ({error})")
            continue
        if not isinstance(values, dict):
            yield Record(None, error=f"{where}: not a JSON object")
            continue
        column = column or find_column("text", None, TEXT_COLUMNS, list(values), path)
        text = values.get(column)
        if isinstance(text, str):
            yield Record(text, values)
        else:
            yield Record(None, values, f"{where}: no text under {column!r}")


def _read_parquet(file: BinaryIO, path: str, text_column: str | None) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    if path == STREAM:
        raise DataError("standard input: Parquet cannot be read from a pipe; name the file")
    try:
        table = parquet.ParquetFile(file if file.seekable() else io.BytesIO(file.read()))
        column = find_column("text", text_column, TEXT_COLUMNS, table.schema_arrow.names, path)
        number = 0
        for batch in table.iter_batches(_BATCH):
            for values in batch.to_pylist():
                text, number = values[column], number + 1
                if isinstance(text, str):
                    yield Record(text, values)
                else:
                    yield Record(None, values, f"{path}, row {number}: no text in {column!r}")
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged, or not Parquet ({' '.join(str(error).split())[:100]}); make it again") from error


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
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
            yield packed
    else:
        yield file


def _write_text(file: BinaryIO, rows: Iterator[dict]) -> None:
    for row in rows:
        file.write("\t".join("" if value is None else escaped(str(value)) for value in row.values()).encode() + b"\n")


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
            if new := row.keys() - set(writer.fieldnames):
                raise DataError(f"column {min(new)!r} is not in every record; write .jsonl, where each has its own")
            has_return = any("\r" in str(value) for value in row.values())  # which the writer would leave unquoted
            (quoting if has_return else writer).writerow(row)
    finally:
        lines.detach()  # written out, and left open for what packs it


def _write_parquet(file: BinaryIO, rows: Iterator[dict]) -> None:
    import pyarrow
    from pyarrow import parquet

    writer, waiting = None, []

    def write_waiting():
        nonlocal writer, waiting
        table = pyarrow.Table.from_pylist(waiting, writer.schema if writer else None)
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        waiting = []

    for row in rows:
        waiting.append(row)
        if len(waiting) == _BATCH:
            write_waiting()
    if waiting or writer is None:
        write_waiting()
    writer.close()
