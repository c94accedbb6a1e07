"""What a verb shows and where: results on stdout, all else on stderr; errors in one line, with the right exit code."""

import errno
import io
import math
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from spamcli.errors import DataError, NotFoundError, SpamcliError, WriteError
from spamcli.records import escaped, json_line

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def say(text: str, prefix: str = "spamcli: ") -> None:
    """A line on stderr for whoever watches; that it cannot be written stops nothing."""
    try:
        click.echo(escaped(prefix + text), err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is left in the buffer cannot be written either


class Verbs(click.Group):
    """A group whose verbs end with one line on stderr and the right exit code, whatever goes wrong."""

    def main(self, *args, **kwargs):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:  # not standard output
                say(f"{error.filename}: {error.strerror}; see who may read and write there, and how much")
                sys.exit((WriteError if error.errno in _NO_ROOM else NotFoundError).exit_code)
            say(f"standard output cannot be written: {error.strerror}; free some space")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer cannot be written either
            sys.exit(WriteError.exit_code)

    def invoke(self, ctx: click.Context):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="spamcli")
        warnings.showwarning = _each_once(say)
        with _stopping() as signals:
            try:
                return super().invoke(ctx)
            except click.exceptions.Exit:
                raise
            except (Exception, KeyboardInterrupt) as error:
                if signals or isinstance(error, KeyboardInterrupt):  # which some libraries turn into an error of their own
                    say("interrupted")
                    ctx.exit(128 + (signals or [signal.SIGINT])[-1])
                if isinstance(error, (MemoryError, RecursionError)):
                    error = DataError(f"{type(error).__name__}: something in it is larger than this machine can take")
                if isinstance(error, SpamcliError):
                    say(str(error))
                    ctx.exit(error.exit_code)
                if isinstance(error, click.ClickException):
                    error.message = escaped(error.message)
                raise


def _each_once(show: Callable[[str], None]) -> Callable[..., None]:
    """Shows no warning's words again, unlike Python, which forgets them when a library changes its filters."""
    shown: set[str] = set()

    def show_new(message: Warning, *_) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            show(str(message))

    return show_new


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and SIGHUP unwind what is being done, unless the caller ignores them; which ones came."""
    received: list[int] = []

    def stop(number, frame):
        received.append(number)
        raise KeyboardInterrupt

    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) in usual}
    for number in before:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_evaluation(result: dict, json: bool) -> None:
    from spamcli.report.lines import lines

    if json:
        click.echo(json_line(result))
        return
    for line in lines(result):
        click.echo(escaped(line))


def on_terminal(stream) -> bool:
    return stream is not None and stream.isatty()


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


@contextmanager
def reading_bar(aside: bool) -> Iterator[Callable]:
    """What shows on stderr how much of a file is read, and how long the rest will take; no terminal, no bar.

    Args:
        aside: results go to a file; on a terminal they would get in its way.
    """
    if not on_terminal(sys.stderr) or (on_terminal(sys.stdout) and not aside):
        yield lambda file: file
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        yield lambda file: bar.wrap_file(file, os.stat(file.fileno()).st_size, description=escaped(os.path.basename(file.name)))


def _log(seconds: float) -> Callable[[str, int, int], None]:
    """Writes a line to stderr at most every so many seconds."""
    last = -math.inf

    def write(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            say(f"{done:,} of {total:,}: {what}", prefix="")
            last = time.monotonic()

    return write


def load_tensorflow_quietly() -> None:
    """Import TensorFlow without its chatter, which bypasses sys.stderr and its own log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise WriteError("TensorFlow needs a temporary folder, and there is none; set TMPDIR to one") from error
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
