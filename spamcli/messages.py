"""Labelled messages from a file: the collection in either form, or anybody's CSV, TSV or JSONL."""

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spamcli import collection
from spamcli.errors import DataError, NotFoundError
from spamcli.model_config import reading_fingerprint
from spamcli.records import TEXT_COLUMNS, find_column

LABEL_COLUMNS = ("label", "class", "category", "v1")
_LABELS = {"ham": 0, "spam": 1, "0": 0, "1": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class Messages:
    """Labelled messages in file order.

    Attributes:
        frame: columns `text` (str), `label` (0 ham, 1 spam), `row` (int, the file's data row from 0; two messages share
            one where spam.csv's row had swallowed its neighbour).
        form: "spam.csv" or "uci" for the verified collection, else "csv", "tsv" or "jsonl".
        reading: how the file was read: raw, text_column, label_column, spam_labels, as `read_messages` takes them.
        sha256: of the file.
    """

    frame: pd.DataFrame
    path: Path
    form: str
    reading: dict
    sha256: str

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def fingerprint(self) -> str:
        return reading_fingerprint(self.sha256, self.reading)


def read_messages(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    spam_labels: Sequence[str] = (),
    raw: bool = False,
    both_classes: bool = True,
) -> Messages:
    """Read and check a labelled file; the collection's two forms are recognised by their content.

    Args:
        text_column, label_column: names in the header; by default the first of TEXT_COLUMNS and LABEL_COLUMNS.
        spam_labels: labels that mean spam, every other one meaning ham; by default ham/spam, 0/1 or false/true
            in any case.
        raw: read spam.csv exactly as the tutorial did, without repair.
        both_classes: refuse messages of one class alone, from which nothing can be learned.
    Raises: NotFoundError; DataError, with line, reason and remedy.
    """
    data = read_bytes(path)
    if collection.is_spam_csv(data):
        if (text_column or "v2", label_column or "v1") != ("v2", "v1"):
            raise DataError(
                f"{path}, line 1: the tutorial's spam.csv has v2 and v1; leave out --text-column and --label-column"
            )
        form, records = "spam.csv", _spam_csv_records(data, raw)
    elif raw:
        raise DataError(f"{path}: not the tutorial's spam.csv, which alone has a raw form; leave out --raw")
    elif _is_headerless(text := _decode(data, path)):
        if text_column or label_column:
            raise DataError(f"{path}, line 1: no header in this form; leave out --text-column and --label-column")
        form, records = "uci" if collection.is_uci(data) else "tsv", _headerless_records(text, path, spam_labels)
    else:
        form = _form(path, text)
        rows = _jsonl_rows(text, path) if form == "jsonl" else _csv_rows(text, path, "\t" if form == "tsv" else ",")
        records = _table_records(rows, path, text_column, label_column, spam_labels)
    frame = pd.DataFrame(records, columns=["row", "label", "text"], dtype=object)
    frame = frame.astype({"row": "int64", "label": "int8"})
    _check_classes(frame, path, both_classes)
    reading = {"raw": raw, "text_column": text_column, "label_column": label_column, "spam_labels": list(spam_labels)}
    return Messages(frame, path, form, reading, hashlib.sha256(data).hexdigest())


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or an error in one line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; correct its name, or get the collection with `spamcli download`") from error
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror}); name a file of messages") from error
    if not data.strip():
        raise DataError(f"{path}: the file is empty; it needs a header and one message a line")
    return data


def _decode(data: bytes, path: Path) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}, line 1: UTF-16, not UTF-8; convert it, e.g. iconv -f utf-16 -t utf-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 ({error.reason}); convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error


def _is_headerless(text: str) -> bool:
    """UCI's form: label, tab, text in every line, no header, no quoting."""
    return text.lower().startswith(("ham\t", "spam\t"))


def _form(path: Path, text: str) -> str:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json") or text.lstrip().startswith("{"):
        return "jsonl"
    return "tsv" if suffix in (".tsv", ".tab") else "csv"


def _spam_csv_records(data: bytes, raw: bool) -> Iterator[tuple[int, int, str]]:
    for row, fields in enumerate(collection.read_rows(data)):
        for label, text in [fields[:2]] if raw else collection.repair(fields):
            yield row, _LABELS[label], text


def _headerless_records(text: str, path: Path, spam_labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    for row, line in enumerate(text.rstrip("\r\n").split("\n")):
        label, tab, message = line.rstrip("\r").partition("\t")
        if not tab:
            raise DataError(f"{path}, line {row + 1}: no tab between label and text; correct the line")
        yield row, _label(label, spam_labels, f"{path}, line {row + 1}"), message


def _csv_rows(text: str, path: Path, delimiter: str) -> Iterator[tuple[int, dict]]:
    """Line number and fields by name of each record of a CSV or TSV with a header."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1  # where a record begins; a quote that never closes is noticed much later
    try:
        header = next(filter(None, reader), [])  # blank lines may come before it
        twice = sorted({name for name in header if header.count(name) > 1 and name})
        if twice:
            raise DataError(f"{path}, line {line}: two columns are called {twice[0]!r}; rename one")
        if len(header) == 1 and delimiter == "," and (";" in header[0] or "\t" in header[0]):
            raise DataError(f"{path}, line {line}: separated by semicolons or tabs? Save it with commas, or tabs as .tsv")
        line = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                separator = "tab" if delimiter == "\t" else "comma"
                raise DataError(
                    f"{path}, line {line}: {len(fields)} fields where the header has {len(header)}; the separator is the "
                    f"{separator} here (.tsv: tab), and text that contains it needs quotes"
                )
            if fields:
                yield line, dict(zip(header, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}; check the quotes of the record that begins here") from error


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict]]:
    for line, record in enumerate(text.split("\n"), start=1):
        if not record.strip():
            continue
        try:
            fields = json.loads(record)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {line}: not JSON ({error.msg}); each line must be one object") from error
        except (ValueError, RecursionError) as error:  # thousands of digits or of brackets
            raise DataError(f"{path}, line {line}: JSON beyond what can be read; correct the line") from error
        if not isinstance(fields, dict):
            raise DataError(f"{path}, line {line}: a JSON {type(fields).__name__}, not an object; write {{...}} a line")
        yield line, fields


def _table_records(table, path, text_column, label_column, spam_labels) -> Iterator[tuple[int, int, str]]:
    for row, (line, fields) in enumerate(table):
        if row == 0:
            text_column = find_column("text", text_column, TEXT_COLUMNS, list(fields), path)
            label_column = find_column("label", label_column, LABEL_COLUMNS, [c for c in fields if c != text_column], path)
        for column in (text_column, label_column):
            if column not in fields:
                raise DataError(f"{path}, line {line}: no field {column!r}; every line needs it")
        if not isinstance(fields[text_column], str):
            raise DataError(f"{path}, line {line}: the text is not a string; put it in quotes")
        yield row, _label(fields[label_column], spam_labels, f"{path}, line {line}"), fields[text_column]


def _label(label: object, spam_labels: Sequence[str], where: str) -> int:
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    name = str(label).strip().lower().removesuffix(".0")  # what pandas makes of 0 and 1 beside a missing one
    if spam_labels:
        return int(name in {spam_label.strip().lower() for spam_label in spam_labels})
    if name not in _LABELS:
        raise DataError(
            f"{where}: label {label!r} is neither ham nor spam; correct it or say which mean spam with --spam-label"
        )
    return _LABELS[name]


def _check_classes(frame: pd.DataFrame, path: Path, both: bool) -> None:
    if frame.empty:
        raise DataError(f"{path}: no messages in it; it needs a header and one message a line")
    if both and frame["label"].nunique() == 1:
        only = "spam" if frame["label"].iloc[0] else "ham"
        raise DataError(f"{path}: all {len(frame)} messages are {only}; a classifier needs both classes (see --spam-label)")
