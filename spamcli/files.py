"""Files and folders that are there whole or not at all; what a killed writer left goes with the next one."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".spamcli-"  # of what is being written; its writer holds a lock on it, which ends with the writer


@contextmanager
def unfinished(directory: Path, suffix: str) -> Iterator[Path]:
    """A new, empty file in a directory, to be written over and moved; nothing stays under its name."""
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


def finish(path: Path, final: Path) -> None:
    """Move a file that is written into place, on disk before it is seen."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    os.replace(path, final)


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
        path = directory / f"{_PREFIX}{uuid.uuid4().hex}{suffix or ''}"
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
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # locked, gone by now, or another user's
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(lock)
