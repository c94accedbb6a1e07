"""Lines of text and rows of a table, read from files that nobody has checked, and which column is meant."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from spamcli.errors import DataError

TEXT_COLUMNS = ("text", "message", "sms", "v2")
MAX_COLUMNS = 10_000
LONGEST = 2**20  # characters of a record; a longer one has no verdict
_READ = LONGEST + 2  # characters at once, of a line with its end
TOO_LONG = f"longer than {LONGEST:,} characters"
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


class Lines:
    """Lines of text and their numbers. A record is one or more of them, of LONGEST characters in all, but for its line end.

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
        line = self.file.readline(_READ)
        if not line:
            raise StopIteration
        length = len(line) - len(line[-2:]) + len(line[-2:].rstrip("\r\n"))
        self.number, fits, self.room = self.number + 1, length <= self.room, self.room - len(line)
        self.record.append(line if length <= LONGEST else None)
        if not fits:
            while len(line) == _READ and line[-1] != "\n":
                line = self.file.readline(_READ)
            raise csv.Error(TOO_LONG)
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
            row, error = _next(csv.reader([line], delimiter=delimiter, strict=True)) if line else ([], TOO_LONG)
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


def check_separated(header: Sequence[str], delimiter: str, path: Path | str, line: int = 1, named: bool = False) -> None:
    """Raises: DataError, if the only column of a .csv looks like several, unless it was named, or there are too many."""
    if not named and len(header) == 1 and delimiter == "," and (";" in header[0] or "\t" in header[0]):
        raise DataError(f"{path}, line {line}: separated by semicolons or tabs? Save it with commas, or tabs as .tsv")
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}, line {line}: {len(header):,} columns; keep those that matter, at most {MAX_COLUMNS:,}")


def find_column(kind: str, wanted: str | None, usual: Sequence[str], columns: Sequence[str], path: Path | str) -> str:
    """The column that is asked for, else the first of the usual ones, else the only one there is.

    Raises: DataError, if that is none or several.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(f"{path}, line 1: no column {wanted!r} among {_listed(columns)}; correct --{kind}-column")
    found = [column for name in usual for column in columns if column.lower() == name]
    if found or len(columns) == 1:
        return (found or list(columns))[0]
    if not columns:
        raise DataError(
            f"{path}, line 1: no column is left for the {kind}; "
            "a file needs text and label, separated by commas, or by tabs in a .tsv"
        )
    raise DataError(f"{path}, line 1: which of {_listed(columns)} is the {kind}? Name it with --{kind}-column")


def _listed(columns: Sequence[str]) -> str:
    """The first ten of them, cut."""
    shown = [repr(column[:60]) for column in columns[:10]]
    return ", ".join(shown) + f" and {len(columns) - 10:,} more" * (len(columns) > 10)
