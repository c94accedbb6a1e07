"""What `predict` prints or writes of a record and its verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from spamcli.errors import DataError
from spamcli.records import Record, escaped

if TYPE_CHECKING:  # which loads NumPy
    from spamcli.prediction import Verdict

DIGITS = 6  # of p_spam; batch-mates may move the next one


def row(record: Record, verdict: Verdict | None, with_reason: bool, no_text: bool = False, about: dict | None = None) -> dict:
    """The record's own columns, then label and p_spam, which have another name where the record has one of these.

    A record without a verdict has the label `error` and, where rows need not have the same columns, the reason.

    Args:
        no_text: leave out what holds the message; of a record that cannot be parsed that may be any column.
        about: further columns, at the end.
    """
    values = dict(record.values) or ({"text": record.text} if verdict else {})
    p_spam = None if verdict is None or verdict.p_spam is None else round(verdict.p_spam, DIGITS)
    ours = {"label": verdict.label if verdict else "error", "p_spam": p_spam}
    reason = {"reason": record.error} if with_reason and verdict is None else {}
    ours, reason, about = (_renamed(part, values) for part in (ours, reason, about or {}))
    if no_text:
        values = {name: value for name, value in values.items() if verdict and value != record.text}
    return values | ours | reason | about


def columns_with_ours(columns: dict) -> dict:
    """Those of a table that is read, and then those of its verdicts, as `row` names them."""
    return columns | _renamed(dict.fromkeys(("label", "p_spam")), columns)


def _renamed(ours: dict, theirs: dict) -> dict:
    """The same with names that are not taken."""
    while theirs.keys() & ours.keys():
        ours = {f"spamcli_{name}": value for name, value in ours.items()}
    return ours


def verdict_line(record: Record, verdict: Verdict | None) -> str:
    r"""Three fields; a tab, a line end or what could command a terminal is written as \t, \n, \xNN."""
    if verdict is None:
        return f"error\t\t{escaped(record.error)}"
    p_spam = "" if verdict.p_spam is None else f"{verdict.p_spam:.4f}"
    return f"{verdict.label}\t{p_spam}\t{escaped(verdict.text)}"


COLOURS = {"spam": "red", "unsure": "yellow", "ham": "green", "error": "magenta"}


def table_line(record: Record, verdict: Verdict | None) -> str:
    """The same three fields in columns, for people; NO_COLOR is honoured."""
    label, p_spam, text = verdict_line(record, verdict).split("\t")
    padded = f"{label:<6}"
    return f"{padded if os.environ.get('NO_COLOR') else click.style(padded, fg=COLOURS[label])}  {p_spam:<6}  {text}"


class Seen:
    """What has gone by: which verdicts, how many records without one."""

    def __init__(self):
        self.labels, self.errors, self.first_error = set(), 0, ""

    def of(self, judged: Iterator[tuple[Record, Verdict | None]], fail_fast: bool) -> Iterator[tuple[Record, Verdict | None]]:
        """The same, watched.

        Raises: DataError at a record without a verdict, if it is to fail fast.
        """
        for record, verdict in judged:
            if verdict is None:
                if fail_fast:
                    raise DataError(record.error)
                self.first_error = self.first_error or record.error
                self.errors += 1
            if verdict is not None:
                self.labels.add(verdict.label)
            yield record, verdict
