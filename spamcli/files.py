"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(directory: Path, suffix: str) -> Iterator[Path]:
    """A new name in a directory for a file that is being written; nothing stays under it."""
    path = directory / f".{uuid.uuid4().hex}{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def finish(path: Path, final: Path) -> None:
    """Move a file that is written into place, on disk before it is seen."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    os.replace(path, final)
