"""The HTML page of an evaluation: a pure function of what `evaluate --json` prints."""

from spamcli.report.page import render, write

__all__ = ["render", "write"]
