"""Bytes from an address: no more of them than the caller allows, and not for longer."""

import math
import re
import sys
from multiprocessing.pool import ThreadPool
from typing import BinaryIO

import pooch

from spamcli.errors import UnavailableError, WriteError, one_line


class Bar:
    """A percentage on stderr, with the names that pooch asks of a progress bar."""

    def __init__(self, label: str):
        self.label, self.shown, self.done, self.total = label, "", 0, 0  # the last two in bytes; pooch sets the total

    def update(self, count: int) -> None:
        self.done += count
        text = f"{min(1, self.done / self.total):4.0%}" if self.total else f"{self.done:,} bytes"
        if text != self.shown:
            print(f"\r{self.label} {text}", end="", file=sys.stderr, flush=True)
        self.shown = text

    def reset(self) -> None:
        """Nothing: pooch only means to fill the bar."""

    def close(self) -> None:
        """Nothing: the line ends in `fetch`, after a failure too."""


class Body:
    """What an address answers, on its way into a file; once that is closed it refuses more, which ends an abandoned fetch."""

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.limit, self.size = file, limit, 0  # the last two in bytes

    def write(self, chunk: bytes) -> int:
        self.size += len(chunk)
        if self.size > self.limit:
            raise UnavailableError(f"longer than {self.limit:,} bytes")
        try:
            return self.file.write(chunk)
        except OSError as error:  # the disk's, which `fetch` would take for the address's
            raise WriteError(one_line(error)) from error

    def flush(self) -> None:
        """Nothing: pooch asks for it at every kilobyte."""


def fetch(
    url: str, body: Body, timeouts: tuple[float, float], patience: float, least: float = math.inf, bar: Bar | None = None
) -> None:
    """Read an address. In a thread, because neither a name lookup nor a drip of single bytes heeds a timeout.

    Args:
        timeouts: seconds for the connection, and of silence.
        patience: seconds, each so many of which have to bring `least` bytes; by default the first have to bring all.
    Raises: UnavailableError; WriteError, if what comes cannot be kept.
    """
    get = pooch.HTTPDownloader(
        bar or False, timeout=timeouts, headers={"Accept-Encoding": "identity"}, hooks={"response": _leave_redirect_unread}
    )
    with ThreadPool(1) as pool:
        answer = pool.apply_async(get, (url, body, None))
        try:
            before = 0
            while not _done(answer, patience):
                if body.size - before < least:
                    raise UnavailableError(_too_slow(patience, least))
                before = body.size
            answer.get()
        except (OSError, ValueError) as error:  # all that requests raises
            raise UnavailableError(_reason(error, timeouts)) from error
        finally:
            if bar and bar.shown:
                print(file=sys.stderr)


def without_secrets(url: str) -> str:
    """An address without the password, query and fragment that it may hold."""
    return re.sub(r"(?<=//)[^/]*@|[?#].*", "", url)


def _done(answer, seconds: float) -> bool:
    answer.wait(seconds)
    return answer.ready()


def _too_slow(patience: float, least: float) -> str:
    return f"not complete after {patience:g} s" if least == math.inf else f"under {least:,} bytes in {patience:g} s"


def _leave_redirect_unread(response, **_) -> None:
    """requests reads the page that a redirect comes with into memory, whatever its length."""
    if response.is_redirect:
        response.close()


def _reason(error: Exception, timeouts: tuple[float, float]) -> str:
    from requests.exceptions import ConnectTimeout, HTTPError

    if isinstance(error, HTTPError):
        return f"HTTP {error.response.status_code}"
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    if any(isinstance(each, TimeoutError) for each in chain):
        return f"timed out after {timeouts[not isinstance(error, ConnectTimeout)]:g} s"
    return getattr(chain[-1], "strerror", None) or one_line(chain[-1]) or type(chain[-1]).__name__
