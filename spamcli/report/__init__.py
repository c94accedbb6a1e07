"""The HTML page of an evaluation: a pure function of what `evaluate --json` prints."""

from spamcli.report.page import check_place, render, write

__all__ = ["check_place", "render", "write"]
