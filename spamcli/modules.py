"""Where an ELMo module comes from: the built-in one, a directory, or a URL fetched once into a cache.

A module is a SavedModel with TF-Hub ELMo's signatures. tensorflow_hub loads it, but does not fetch it: its downloader
has neither checks nor timeouts, and keeps broken files.
"""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
import pooch

from spamcli import saved_model
from spamcli.characters import TOKENIZERS
from spamcli.errors import NotFoundError, UnavailableError, WriteError, one_line
from spamcli.fetching import Bar, Body, fetch, without_secrets
from spamcli.files import finish_folder, unfinished_folder
from spamcli.settings import BUILTIN

TOKENIZER_FILE = Path("assets.extra") / "tokenizer.json"  # in a module whose tokens are not what spaces separate
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError, RecursionError)  # an archive
OUTPUTS = ("word_emb", "lstm_outputs1", "lstm_outputs2")  # [b,l,d/2], [b,l,d], [b,l,d]


@dataclass(frozen=True)
class Limits:
    """What fetching a module may take. google/elmo has about 350 MB packed, 0.4 GB unpacked, a dozen files."""

    connect_timeout: float = 10  # seconds
    read_timeout: float = 60  # seconds of silence
    window: float = 60  # seconds, each so many of which have to bring
    window_bytes: int = 1_200_000  # 20 kB/s: google/elmo in five hours, the largest archive in fourteen
    packed_bytes: int = 1_000_000_000
    unpacked_bytes: int = 2_000_000_000
    members: int = 1_000  # files and folders
    depth: int = 16  # folders in folders
    name: int = 200  # bytes of a file's or folder's own
    header_bytes: int = 2**20  # of what an archive says about one member, long names included


def cache_directory() -> Path:
    """Where spamcli keeps what it can make or fetch again ($XDG_CACHE_HOME/spamcli)."""
    try:
        return Path(platformdirs.user_cache_dir("spamcli"))
    except RuntimeError:  # no home: nowhere to keep anything, which whoever tries to will say
        return Path(os.devnull, "spamcli")


def resolve(handle: str, progress: bool = False, trust_module: bool = False, limits: Limits = Limits()) -> Path:
    """The local directory of a module: `builtin`, a directory, or a URL (fetched, unless the cache has it).

    Args:
        progress: show that of a download on stderr.
        trust_module: as `load` takes it.
    Raises: NotFoundError, no such directory; UnavailableError, the URL gives no working module; WriteError, it cannot be kept.
    """
    if handle == BUILTIN:
        return Path(__file__).parent / "assets" / "elmo"
    if handle.startswith(("http://", "https://")):
        return _fetched(handle, progress, trust_module, limits)
    directory = Path(handle)
    if not is_unicode(directory):
        raise NotFoundError(f"{handle}: TensorFlow reads only where names are UTF-8; give it another name")
    if not os.path.isfile(directory / "saved_model.pb"):
        raise NotFoundError(f"{handle}: no SavedModel there; name the directory that holds saved_model.pb, a URL, or {BUILTIN}")
    return directory


def is_unicode(path: Path) -> bool:
    """Whether no part of its name, from the root on, is bytes of something else."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path.absolute()))


def fingerprint(directory: Path) -> str:
    """SHA-256 over names and contents of all files of a module but its card, README.md, which moves no number."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "README.md"):
        digest.update(os.fsencode(f"{path.relative_to(directory).as_posix()}\0{pooch.file_hash(str(path))}\n"))
    return digest.hexdigest()


def tokenizer(directory: Path) -> str:
    """Name of the module's tokenizer, a key of `TOKENIZERS`; `space`, TF-Hub's, unless the module says otherwise."""
    path = directory / TOKENIZER_FILE
    if not path.is_file():
        return "space"
    try:
        with path.open(encoding="utf-8") as file:
            name = json.loads(file.read(2**16))["tokenizer"]  # more than any, whatever the file's length
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnavailableError(f"{path}: does not name a tokenizer; export the module again") from error
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise UnavailableError(f"{path}: unknown tokenizer {name!r}; known are {', '.join(TOKENIZERS)}")
    return name


def load(directory: Path, trust_module: bool = False):
    """The module's `tokens` signature, called once to see that it works.

    Args:
        trust_module: load it whatever it could do; else only what an ELMo needs is let through (`saved_model.check`).
    Raises: UnavailableError, if it cannot be loaded, lacks signature or outputs, or gives numbers that are not finite.
    """
    import tensorflow as tf

    if not trust_module:
        saved_model.check(directory)
    signatures = _signatures(directory)
    if "tokens" not in signatures:
        raise UnavailableError(f"{directory}: no signature 'tokens', needed of an ELMo. Received: {sorted(signatures)}")
    signature = signatures["tokens"]
    absent = [name for name in OUTPUTS if name not in signature.structured_outputs]
    if absent:
        raise UnavailableError(f"{directory}: no output {absent[0]!r}. Received: {sorted(signature.structured_outputs)}")
    try:
        outputs = signature(tokens=tf.constant([["hello", "world"]]), sequence_len=tf.constant([2], tf.int32))
        vectors = [outputs[name].numpy() for name in OUTPUTS]
        finite = all(np.isfinite(each).all() for each in vectors)
    except (TypeError, ValueError, RuntimeError, AttributeError, tf.errors.OpError) as error:
        raise UnavailableError(f"{directory}: its signature 'tokens' does not take tokens ({one_line(error)})") from error
    if not finite:
        raise UnavailableError(f"{directory}: the module's vectors are not finite; fetch or export it again")
    shapes, half = [each.shape for each in vectors], vectors[0].shape[-1] if vectors[0].ndim else 0
    if half == 0 or shapes != [(1, 2, half), (1, 2, 2 * half), (1, 2, 2 * half)]:
        raise UnavailableError(f"{directory}: two tokens gave vectors of shapes {shapes}, which are no ELMo's")
    signature.keep_alive = signatures  # a signature does not hold its model's variables
    return signature


def _signatures(directory: Path) -> dict:
    import tensorflow_hub as hub

    try:
        return hub.load(str(directory)).signatures
    except Exception as error:
        pythons = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, AssertionError)
        if not isinstance(error, pythons) and not type(error).__module__.startswith("tensorflow"):  # whose have no common base
            raise
        raise UnavailableError(
            f"{directory}: not a loadable SavedModel ({one_line(error)}); fetch or export it again"
        ) from error


def _fetched(url: str, progress: bool, trust_module: bool, limits: Limits) -> Path:
    """The cached module of a URL; it enters the cache by one rename, after it was loaded and called."""
    cache = Path(os.environ.get("TFHUB_CACHE_DIR") or cache_directory() / "modules")
    final = cache / hashlib.sha1(url.encode()).hexdigest()  # the name that tensorflow_hub would give it
    if os.path.isfile(final / "saved_model.pb"):
        return final
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(cache) as partial:
            archive, module = partial / "module.tar.gz", partial / "module"
            try:
                _download(url, archive, progress, limits)
                _extract(archive, module, limits)
                archive.unlink()
                load(module, trust_module)
            except UnavailableError as error:  # which names a folder that is gone by the time it is read
                raise UnavailableError(str(error).replace(str(module), without_secrets(url))) from error
            _enter(module, final)
    except (OSError, WriteError) as error:
        raise WriteError(
            f"{without_secrets(url)}: cannot be kept in {cache} ({one_line(error)}); free some space, or set TFHUB_CACHE_DIR"
        ) from error
    return final


def _enter(module: Path, final: Path) -> None:
    try:
        finish_folder(module, final)
    except OSError:
        if not (final / "saved_model.pb").is_file():  # else another process was first, with the same module
            shutil.rmtree(final, ignore_errors=True)
            finish_folder(module, final)


def _download(url: str, archive: Path, progress: bool, limits: Limits) -> None:
    asked = url if url.endswith((".tar.gz", ".tgz")) else f"{url}?tf-hub-format=compressed"
    timeouts = (limits.connect_timeout, limits.read_timeout)
    try:
        with archive.open("wb") as file:
            body, bar = Body(file, limits.packed_bytes), Bar("module") if progress else None
            fetch(asked, body, timeouts, limits.window, limits.window_bytes, bar)
    except UnavailableError as error:
        raise UnavailableError(
            f"{without_secrets(url)}: not reachable ({error}); fetch it elsewhere and pass its directory"
        ) from error


class _Metered:
    """A file that gives no more bytes than it was last allowed to: an archive may claim little and unfold to terabytes."""

    def __init__(self, file: BinaryIO, allowed: int):
        self.file, self.allowed = file, allowed

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.allowed -= len(data)
        if self.allowed < 0:
            raise UnavailableError("holds more than it says")
        return data


def _extract(archive: Path, module: Path, limits: Limits) -> None:
    """Unpack plain files and folders, as new ones of the user's own; whatever else is in an archive refuses it.

    Raises: UnavailableError; OSError, if they cannot be written.
    """
    try:
        with _unpacked(archive) as file:
            _extract_members(_Metered(file, limits.header_bytes), module, limits)
    except UnavailableError as error:
        raise UnavailableError(f"{module}: its archive {error}; fetch it elsewhere and pass its directory") from error
    except (*_DAMAGED, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UnavailableError(f"{module}: not a .tar.gz of a SavedModel ({one_line(error)}); check the URL") from error
    if not (module / "saved_model.pb").is_file():
        raise UnavailableError(f"{module}: no saved_model.pb in the archive; check the URL")


def _unpacked(archive: Path) -> BinaryIO:
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"  # else whoever sent it has unpacked it on the way
    return gzip.open(archive) if packed else archive.open("rb")


def _extract_members(file: _Metered, module: Path, limits: Limits) -> None:
    left = limits.unpacked_bytes
    with tarfile.open(fileobj=file, mode="r|") as tar:  # forwards only: nothing is read ahead of the checks
        for number, member in enumerate(tar, start=1):
            left -= member.size
            reason = _why_not(member, limits) or (number > limits.members and f"holds more than {limits.members:,} files")
            if reason or left < 0:
                raise UnavailableError(reason or f"unpacks to more than {limits.unpacked_bytes:,} bytes")
            file.allowed = member.size + limits.header_bytes
            path = module / member.name
            (path if member.isdir() else path.parent).mkdir(parents=True, exist_ok=True)
            if member.isreg():
                with path.open("xb") as unpacked:
                    shutil.copyfileobj(tar.extractfile(member), unpacked)
        while file.read(2**16):  # tar ends before gzip does, whose checksum comes last
            pass


def _why_not(member: tarfile.TarInfo, limits: Limits) -> str:
    """What is wrong with a member of an archive; a SavedModel is plain files in a few folders."""
    name, path = ascii(member.name[:60]), Path(member.name)
    if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
        return f"holds {name}, neither a file nor a folder"
    if path.is_absolute() or path.drive or ".." in path.parts:
        return f"holds {name}, which leads out of it"
    if len(path.parts) > limits.depth or max(map(len, map(os.fsencode, path.parts)), default=0) > limits.name:
        return f"holds {name}, which is too deep or too long a name"
    return ""
