"""What can go wrong, and the exit code that says so (sysexits.h)."""


class SpamcliError(Exception):
    """Base of all errors that are the world's fault, not the programmer's; one line: what, where, what to do next."""

    exit_code = 1


class DataError(SpamcliError):
    """A malformed file, an unknown label, nothing left after cleaning, a damaged or unknown model directory."""

    exit_code = 65


class NotFoundError(SpamcliError):
    """No such file, no such model."""

    exit_code = 66


class UnavailableError(SpamcliError):
    """A module or the network is not there, a signature is missing, a hash does not match."""

    exit_code = 69


class WriteError(SpamcliError):
    """Disk full, or read-only."""

    exit_code = 74


def one_line(error: BaseException) -> str:
    """What another library's error says, which may repeat what a stranger wrote: short, and fit for a terminal."""
    text = " ".join(str(error).split())[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
