"""Files and folders that are there whole or not at all; what a killed writer left goes with the next one."""

import fcntl
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spamcli.errors import WriteError

# What is being written; its writer holds a lock on it, which ends with the writer.
UNFINISHED = r"\.spamcli-[0-9a-f]{32}(\.[a-z]+)?"


@contextmanager
def unfinished(directory: Path, suffix: str = "") -> Iterator[Path]:
    """A new, empty file in a directory, to be written over and moved; nothing stays under its name.

    Args:
        suffix: small letters behind a dot, where the writer looks at the name.
    """
    path, lock = _claim(directory, suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def unfinished_folder(directory: Path) -> Iterator[Path]:
    """The same for a folder, which nobody else may enter until then."""
    path, lock = _claim(directory)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def destination(path: Path, advice: str) -> Path:
    """The file that a path leads to, through links; what stands there may be replaced.

    Raises: WriteError, with what to do about it.
    """
    final = Path(os.path.realpath(path))
    try:
        there = path.stat()
    except FileNotFoundError:
        return final
    except OSError as error:  # a name that is too long, a folder that is locked
        raise WriteError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
    if not stat.S_ISREG(there.st_mode):
        raise WriteError(f"{path}: is not a file; {advice}")
    with suppress(OSError):  # closed by the caller
        if os.path.samestat(there, os.fstat(1)):  # by /dev/stdout, say; what others write there would be lost
            raise WriteError(f"{path}: standard output goes there; {advice}")
    if not os.access(path, os.W_OK):
        raise WriteError(f"{path}: is read-only; {advice}")
    return final


def finish(path: Path, final: Path, outdated: Path | None = None) -> None:
    """Move a file that is written into place, on disk before it is seen; whoever may read the old one may read it.

    Args:
        outdated: a file that speaks of the old one, and goes at the same time.
    """
    _sync(path)
    with suppress(OSError):  # there is none, or the file system knows no modes
        old = final.stat()
        with suppress(OSError):  # of a group that this user is not in
            os.chown(path, old.st_uid if os.geteuid() == 0 else -1, old.st_gid)
        path.chmod(stat.S_IMODE(old.st_mode))
    if outdated:
        outdated.unlink(missing_ok=True)
    os.replace(path, final)


def finish_folder(path: Path, final: Path) -> None:
    """The same for a folder; where it goes, there is none, or an empty one."""
    for each in (*path.rglob("*"), path):
        _sync(each)
    os.rename(path, final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError:
        if not path.is_dir():  # not every file system can do that
            raise
    finally:
        os.close(file)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One process at a time in a directory, the others wait; the lock ends with the process that holds it."""
    lock = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: nobody waits
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _claim(directory: Path, suffix: str | None = None) -> tuple[Path, int]:
    """A new file, or folder without a suffix, and the descriptor that holds its lock."""
    _sweep(directory)
    while True:
        path = directory / f".spamcli-{uuid.uuid4().hex}{suffix or ''}"
        path.mkdir(0o700) if suffix is None else path.touch(exist_ok=False)
        with suppress(FileNotFoundError):  # swept by another writer before it was locked: once more
            lock = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: nothing is swept there either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _sweep(directory: Path) -> None:
    """Remove what nobody writes any more."""
    for path in directory.glob(".spamcli-*"):
        if re.fullmatch(UNFINISHED, path.name):
            remove_abandoned(path)


def remove_abandoned(path: Path) -> bool:
    """Whether an unfinished file or folder had no writer any more, and could be removed."""
    with suppress(OSError):  # locked, gone by now, or another user's
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return True
        finally:
            os.close(lock)
    return False
