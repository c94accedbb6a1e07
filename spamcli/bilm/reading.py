"""Text files for pretraining: one sentence or message a line -> distinct lines, and how often each is read."""

import glob
import gzip
import hashlib
import io
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spamcli.errors import DataError, NotFoundError
from spamcli.protocols import normalise

STDIN = "-"
SHARED_4_GRAMS = 0.3  # share of a line's word 4-grams that may stand in an excluded file, at most


@dataclass(frozen=True)
class Text:
    """Distinct lines, in order.

    Attributes:
        times: line -> how often an epoch reads it: the number of named files that hold it.
        sources: line -> the files of distinct content that hold it, one bit each.
        files: path -> SHA-256.
    """

    times: Counter[str]
    sources: dict[str, int]
    files: dict[str, str]


def read_text(names: Sequence[str | Path]) -> Text:
    """Read text files (UTF-8, also .gz), patterns such as `*.txt`, or standard input (`-`).

    A file that is named twice counts twice: its lines are read twice in every epoch.
    Raises: NotFoundError; DataError, with file and line.
    """
    paths = [path for name in names for path in _matching(str(name))]
    times: Counter[str] = Counter()
    sources: dict[str, int] = {}
    files: dict[str, str] = {}
    bits: dict[str, int] = {}  # of a file's SHA-256: a copy, or the same file by another path, is no other source
    for path, named in Counter(paths).items():
        data, files[path] = _content(path)
        bit = bits.setdefault(files[path], len(bits))
        lines = dict.fromkeys(_lines(data, path))
        times.update(dict.fromkeys(lines, named))
        for line in lines:
            sources[line] = sources.get(line, 0) | 1 << bit
    if not times:
        raise DataError("no text in the corpus; name files with one sentence or message a line")
    return Text(times, sources, files)


def without(text: Text, messages: Sequence[str]) -> Text:
    """The lines that do not occur in messages, which may be somebody's test set.

    A line occurs if it equals a message in its letters and digits, or if more than SHARED_4_GRAMS of its word 4-grams
    stand in the messages.
    """
    if not messages:
        return text
    keys = {_key(message) for message in messages}
    grams = {gram for message in messages for gram in _word_4_grams(message)}

    def occurs(line: str) -> bool:
        own = _word_4_grams(line)
        return _key(line) in keys or sum(gram in grams for gram in own) > SHARED_4_GRAMS * len(own)

    kept = Counter({line: times for line, times in text.times.items() if not occurs(line)})
    if not kept:
        raise DataError("every line of the corpus occurs in the excluded file; name other text")
    return replace(text, times=kept)


def _key(line: str) -> str:
    return normalise(line) or line.strip()  # no letter, no digit: only what is the same


def _word_4_grams(line: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", line.lower())
    return list(zip(words, words[1:], words[2:], words[3:]))


def _matching(name: str) -> list[str]:
    if name == STDIN or os.path.exists(name) or not glob.has_magic(name):
        return [name]
    found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
    if not found:
        raise NotFoundError(f"{name}: no file matches; name text files with one sentence or message a line")
    return found


def _content(path: str) -> tuple[bytes, str]:
    """What is stored, decompressed, and the SHA-256 of the file."""
    try:
        data = _standard_input() if path == STDIN else Path(path).read_bytes()
        return gzip.decompress(data) if path.endswith(".gz") else data, hashlib.sha256(data).hexdigest()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; name text files with one sentence or message a line") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror}); name text files") from error


def _standard_input() -> bytes:
    return sys.stdin.buffer.read() if sys.stdin else b""  # closed by the caller


def _lines(data: bytes, path: str) -> Iterator[str]:
    for number, line in enumerate(io.BytesIO(data), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}); convert the file first") from error
        yield from filter(None, map(str.strip, text.split("\r")))
