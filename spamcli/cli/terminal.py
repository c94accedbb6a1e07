"""What a verb shows and where: results on stdout, all else on stderr; errors in one line, with the right exit code."""

import codecs
import io
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps

import click

from spamcli.errors import SpamcliError, WriteError


class Verbs(click.Group):
    """A group whose verbs end with one line on stderr and the right exit code, whatever goes wrong."""

    def main(self, *args, **kwargs):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:  # not standard output, and nobody's job to explain yet
                raise
            click.echo(f"spamcli: standard output cannot be written: {error.strerror}; free some space", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer cannot be written either
            sys.exit(WriteError.exit_code)

    def invoke(self, ctx: click.Context):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="spamcli")
        warnings.showwarning = lambda message, *_: click.echo(f"spamcli: {message}", err=True)
        try:
            return super().invoke(ctx)
        except SpamcliError as error:
            click.echo(f"spamcli: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("spamcli: interrupted", err=True)
            ctx.exit(130)


def print_evaluation(result: dict, json: bool) -> None:
    from spamcli.report.lines import lines

    if json:
        click.echo(json_line(result))
        return
    for line in lines(result):
        click.echo(escaped(line))


def json_line(values: dict) -> str:
    return dumps(values, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def verdict_line(verdict) -> str:
    r"""Three fields; a tab, a line end or what could command a terminal is written as \t, \n, \xNN."""
    return f"{verdict.label}\t{verdict.p_spam:.4f}\t{escaped(verdict.text)}"


def escaped(text: str) -> str:
    r"""A tab, a line end or what could command a terminal is written as \t, \n, \xNN; a lone surrogate as ?."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), text)
    return text.encode("utf-8", "replace").decode("utf-8")


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def on_terminal(stream) -> bool:
    return stream is not None and stream.isatty()


def lines_of(stream) -> Iterator[str]:
    for number, line in enumerate(stream):
        line = line if number else line.removeprefix(codecs.BOM_UTF8)
        yield line.rstrip(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


@contextmanager
def progress_bar(log_seconds: float | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for what is being done at the moment; no terminal, no bar, but a line now and then if asked for."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log(log_seconds) if log_seconds else lambda what, done, total: None
        return
    with Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _log(seconds: float) -> Callable[[str, int, int], None]:
    """Writes a line to stderr at most every so many seconds."""
    last = -math.inf

    def write(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            click.echo(f"{done:,} of {total:,}: {what}", err=True)
            last = time.monotonic()

    return write


def load_tensorflow_quietly() -> None:
    """Import TensorFlow without its chatter, which bypasses sys.stderr and its own log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_to_nowhere():
        import tensorflow as tf

        tf.config.list_logical_devices()
        tf.get_logger().setLevel("ERROR")


@contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """What libraries write to file descriptor 2 themselves is not shown."""
    if sys.stderr is None:  # closed by the caller
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
