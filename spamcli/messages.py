"""Labelled messages from a file: the collection in either form, or anybody's CSV, TSV or JSONL."""

import hashlib
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spamcli import collection
from spamcli.errors import DataError, NotFoundError
from spamcli.model_config import reading_fingerprint
from spamcli.rows import TEXT_COLUMNS, Lines, check_is_text, check_separated, find_column, rows

LABEL_COLUMNS = ("label", "class", "category", "v1")
_LABELS = {"ham": 0, "spam": 1, "0": 0, "1": 1, "false": 0, "true": 1}
_BYTES = re.compile("[\udc80-\udcff]")  # what is not UTF-8 and was read all the same
_CONVERT = "convert it, e.g. iconv -f latin1 -t utf-8"
_QUOTES = "check the quotes of the record that begins here"
Read = tuple[int, int, str] | DataError  # data row from 0, label, text; or why there are none


@dataclass(frozen=True)
class Messages:
    """Labelled messages in file order.

    Attributes:
        frame: columns `text` (str), `label` (0 ham, 1 spam), `row` (int, the file's data row from 0; two messages share
            one where spam.csv's row had swallowed its neighbour).
        form: "spam.csv" or "uci" for the verified collection, else "csv", "tsv" or "jsonl".
        reading: how the file was read: raw, text_column, label_column, spam_labels, skip_bad, as `read_messages` takes them.
        sha256: of the file.
        skipped: records that could not be read and are left out.
    """

    frame: pd.DataFrame
    path: Path
    form: str
    reading: dict
    sha256: str
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def fingerprint(self) -> str:
        return reading_fingerprint(self.sha256, {**self.reading, "skipped": self.skipped})


def read_messages(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    spam_labels: Sequence[str] = (),
    raw: bool = False,
    both_classes: bool = True,
    skip_bad: bool = False,
) -> Messages:
    """Read and check a labelled file; the collection's two forms are recognised by their content.

    Args:
        text_column, label_column: names in the header; by default the first of TEXT_COLUMNS and LABEL_COLUMNS.
        spam_labels: labels that mean spam, every other one meaning ham; by default ham/spam, 0/1 or false/true
            in any case.
        raw: read spam.csv exactly as the tutorial did, without repair.
        both_classes: refuse messages of one class alone, from which nothing can be learned.
        skip_bad: leave out records that cannot be read, and warn with their number, instead of refusing the file.
    Raises: NotFoundError; DataError, with line, reason and remedy.
    """
    data, wanted = read_bytes(path), (text_column, label_column)
    if collection.is_spam_csv(data):
        if (text_column or "v2", label_column or "v1") != ("v2", "v1"):
            raise DataError(
                f"{path}, line 1: the tutorial's spam.csv has v2 and v1; leave out --text-column and --label-column"
            )
        form, records = "spam.csv", _spam_csv_records(data, raw)
    elif raw:
        raise DataError(f"{path}: not the tutorial's spam.csv, which alone has a raw form; leave out --raw")
    elif _is_headerless(text := _decode(data, path, skip_bad)):
        if text_column or label_column:
            raise DataError(f"{path}, line 1: no header in this form; leave out --text-column and --label-column")
        form, records = "uci" if collection.is_uci(data) else "tsv", _headerless_records(text, path, spam_labels)
    else:
        form = _form(path, text)
        table = _jsonl_rows(text, path) if form == "jsonl" else _csv_rows(text, path, "\t" if form == "tsv" else ",", wanted)
        records = _table_records(table, path, wanted, spam_labels)
    good, skipped = _readable(records, path, skip_bad)
    frame = pd.DataFrame(good, columns=["row", "label", "text"], dtype=object).astype({"row": "int64", "label": "int8"})
    _check_classes(frame, path, both_classes)
    reading = {"raw": raw, "text_column": text_column, "label_column": label_column}
    reading |= {"spam_labels": list(spam_labels), "skip_bad": skip_bad}
    return Messages(frame, path, form, reading, hashlib.sha256(data).hexdigest(), skipped)


def _readable(records: Iterable[Read], path: Path, skip_bad: bool) -> tuple[list[tuple[int, int, str]], int]:
    """The records that could be read, and the number of the others.

    Raises: DataError, for the first of the others, unless they are to be skipped and are not all there is.
    """
    good, skipped, first = [], 0, None
    for record in records:
        if not isinstance(record, DataError):
            good.append(record)
            continue
        if not skip_bad:
            raise DataError(f"{record}; or leave such records out with --skip-bad")
        skipped, first = skipped + 1, first or record
    if first and not good:
        raise first
    if first:
        warnings.warn(f"{path}: {skipped:,} records that cannot be read are skipped; the first: {first}", stacklevel=3)
    return good, skipped


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


def _decode(data: bytes, path: Path, leniently: bool) -> str:
    """The text; leniently, bytes that are not UTF-8 are kept as lone surrogates, by which their record is known."""
    check_is_text(data[:8], path)
    try:
        return data.decode("utf-8-sig", "surrogateescape" if leniently else "strict")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason}); {_CONVERT}") from error


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


def _headerless_records(text: str, path: Path, spam_labels: Sequence[str]) -> Iterator[Read]:
    for row, line in enumerate(text.rstrip("\r\n").split("\n")):
        label, tab, message = line.rstrip("\r").partition("\t")
        where = f"{path}, line {row + 1}"
        if _BYTES.search(line):
            yield DataError(f"{where}: not UTF-8; {_CONVERT}")
        elif not tab:
            yield DataError(f"{where}: no tab between label and text; correct the line")
        else:
            yield _labelled(row, label, message, spam_labels, where)


def _csv_rows(
    text: str, path: Path, delimiter: str, wanted: tuple[str | None, str | None]
) -> Iterator[tuple[int, dict | DataError]]:
    """Line number of each record of a CSV or TSV with a header, and its fields by name or what is wrong with it."""
    table = rows(Lines(io.StringIO(text, newline="")), delimiter)
    line, header, error = next(table, (1, [], ""))
    if error:
        raise DataError(f"{path}, line {line}: {error}; {_QUOTES}")
    if any(map(_BYTES.search, header)):
        raise DataError(f"{path}, line {line}: not UTF-8; {_CONVERT}")
    twice = sorted(name for name, times in Counter(header).items() if times > 1 and name)
    if twice:
        raise DataError(f"{path}, line {line}: two columns are called {twice[0]!r}; rename one")
    check_separated(header, delimiter, path, line)
    if header:
        _columns(header, wanted, path)
    separator = "tab" if delimiter == "\t" else "comma"
    for line, fields, error in table:
        where = f"{path}, line {line}"
        if error:
            yield line, DataError(f"{where}: {error}; {_QUOTES}")
        elif len(fields) != len(header):
            yield (
                line,
                DataError(
                    f"{where}: {len(fields)} fields where the header has {len(header)}; the separator is the {separator} here "
                    "(.tsv: tab), and text that contains it needs quotes"
                ),
            )
        elif any(map(_BYTES.search, fields)):
            yield line, DataError(f"{where}: not UTF-8; {_CONVERT}")
        else:
            yield line, dict(zip(header, fields))


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict | DataError]]:
    for line, record in enumerate(text.split("\n"), start=1):
        if record.strip():
            yield line, _json_object(record, f"{path}, line {line}")


def _json_object(record: str, where: str) -> dict | DataError:
    if _BYTES.search(record):
        return DataError(f"{where}: not UTF-8; {_CONVERT}")
    try:
        fields = json.loads(record)
    except json.JSONDecodeError as error:
        return DataError(f"{where}: not JSON ({error.msg}); each line must be one object")
    except (ValueError, RecursionError):  # thousands of digits or of brackets
        return DataError(f"{where}: JSON beyond what can be read; correct the line")
    if not isinstance(fields, dict):
        return DataError(f"{where}: a JSON {type(fields).__name__}, not an object; write {{...}} a line")
    return fields


def _table_records(
    table: Iterable[tuple[int, dict | DataError]], path: Path, wanted: tuple[str | None, str | None], spam_labels: Sequence[str]
) -> Iterator[Read]:
    """The columns are those of the first record that has both."""
    columns = None
    for row, (line, fields) in enumerate(table):
        if isinstance(fields, DataError):
            yield fields
            continue
        try:
            columns = columns or _columns(list(fields), wanted, path)
        except DataError as error:
            yield error
            continue
        missing = [column for column in columns if column not in fields]
        if missing:
            yield DataError(f"{path}, line {line}: no field {missing[0]!r}; every line needs it")
        elif not isinstance(fields[columns[0]], str):
            yield DataError(f"{path}, line {line}: the text is not a string; put it in quotes")
        else:
            yield _labelled(row, fields[columns[1]], fields[columns[0]], spam_labels, f"{path}, line {line}")


def _columns(names: list[str], wanted: tuple[str | None, str | None], path: Path) -> tuple[str, str]:
    """Of text and label."""
    text = find_column("text", wanted[0], TEXT_COLUMNS, names, path)
    return text, find_column("label", wanted[1], LABEL_COLUMNS, [name for name in names if name != text], path)


def _labelled(row: int, label: object, text: str, spam_labels: Sequence[str], where: str) -> Read:
    try:
        return row, _label(label, spam_labels, where), text
    except DataError as error:
        return error


def _label(label: object, spam_labels: Sequence[str], where: str) -> int:
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    name = str(label).strip().lower().removesuffix(".0")  # what pandas makes of 0 and 1 beside a missing one
    if spam_labels:
        return int(name in {spam_label.strip().lower() for spam_label in spam_labels})
    if name not in _LABELS:
        raise DataError(
            f"{where}: label {repr(label)[:60]} is neither ham nor spam; correct it or say which mean spam with --spam-label"
        )
    return _LABELS[name]


def _check_classes(frame: pd.DataFrame, path: Path, both: bool) -> None:
    if frame.empty:
        raise DataError(f"{path}: no messages in it; it needs a header and one message a line")
    if both and frame["label"].nunique() == 1:
        only = "spam" if frame["label"].iloc[0] else "ham"
        raise DataError(f"{path}: all {len(frame)} messages are {only}; a classifier needs both classes (see --spam-label)")
