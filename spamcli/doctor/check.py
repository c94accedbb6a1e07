"""A check, and the other process that does it: what is broken may do worse than raise."""

import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from spamcli.errors import SpamcliError, UnavailableError

OK, REPAIRED, MISSING, WARNING, FAILED = "ok", "repaired", "missing", "warning", "failed"
SECONDS = 300  # for one check


@dataclass(frozen=True)
class Check:
    """What was found; `remedy` is what to do about it. A failed one has the exit code of the error that says the same."""

    status: str
    detail: str
    remedy: str = ""
    name: str = ""
    exit_code: int = 0

    def to_dict(self) -> dict[str, str]:
        return {key: getattr(self, key) for key in ("name", "status", "detail", "remedy")}


class Apart:
    """Another process that does checks, and is begun anew when it has died or hangs.

    Call: the check's name, a function that returns a Check or raises, its arguments -> Check.

    Attributes:
        remedy: for what nobody foresaw, another error than ours or a crash, where the call names no other.
    """

    remedy = "install spamcli again"

    def __enter__(self) -> "Apart":
        self._process = None
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def __call__(self, name: str, check: Callable[..., Check], *arguments, remedy: str = "") -> Check:
        remedy = remedy or self.remedy
        if not self._process:
            self._begin()
        try:
            self._pipe.send((name, check, arguments, remedy))
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
            ended = f"no answer after {SECONDS} s"
        except (EOFError, OSError):
            self._process.join()
            ended = f"the process that tried it ended by {_cause(self._process.exitcode)}"
        self._end()
        return Check(FAILED, ended, remedy, name, UnavailableError.exit_code)

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=[theirs], daemon=True)
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # TensorFlow writes to either, past sys.stdout and sys.stderr
        os.dup2(nowhere, stream)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            pipe.send(_done(*pipe.recv()))


def _done(name: str, check: Callable[..., Check], arguments: tuple, remedy: str) -> Check:
    try:
        return replace(check(*arguments), name=name)
    except SpamcliError as error:
        detail, advice = split(str(error))
        if refused(error):
            return Check(WARNING, detail, advice, name)
        return Check(FAILED, detail, advice or remedy, name, error.exit_code)
    except Exception as error:  # a broken package raises whatever it likes
        return Check(FAILED, one_line(error), remedy, name, UnavailableError.exit_code)


def refused(error: SpamcliError) -> bool:
    """Whether a module was not loaded because of what it could do: nothing is wrong with it, the user has to decide."""
    return "--trust-module" in str(error)


def split(message: str) -> tuple[str, str]:
    """Of an error's message, what is wrong and what to do: parted by the first semicolon outside parentheses."""
    for place in (found.start() for found in re.finditer("; ", message)):
        if message.count("(", 0, place) == message.count(")", 0, place):
            return message[:place], message[place + 2 :]
    return message, ""


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
