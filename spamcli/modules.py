"""Where an ELMo module comes from: the built-in one, a directory, or a URL fetched once into a cache.

A module is a SavedModel with TF-Hub ELMo's signatures. tensorflow_hub loads it, but does not fetch it: its downloader
has neither checks nor timeouts, and keeps broken files.
"""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np
import platformdirs
import pooch
import requests

from spamcli.characters import TOKENIZERS
from spamcli.errors import NotFoundError, UnavailableError
from spamcli.settings import BUILTIN
from spamcli.sources import Bar

TOKENIZER_FILE = Path("assets.extra") / "tokenizer.json"  # in a module whose tokens are not what spaces separate
OUTPUTS = ("word_emb", "lstm_outputs1", "lstm_outputs2")  # [b,l,d/2], [b,l,d], [b,l,d]
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 60  # seconds


def cache_directory() -> Path:
    """Where spamcli keeps what it can make or fetch again ($XDG_CACHE_HOME/spamcli)."""
    return Path(platformdirs.user_cache_dir("spamcli"))


def resolve(handle: str, progress: bool = False) -> Path:
    """The local directory of a module: `builtin`, a directory, or a URL (fetched, unless the cache has it).

    Args:
        progress: show that of a download on stderr.
    Raises: NotFoundError, no such directory; UnavailableError, the URL gives no working module.
    """
    if handle == BUILTIN:
        return Path(__file__).parent / "assets" / "elmo"
    if handle.startswith(("http://", "https://")):
        return _fetched(handle, progress)
    directory = Path(handle)
    if not (directory / "saved_model.pb").is_file():
        raise NotFoundError(f"{handle}: no SavedModel there; name the directory that holds saved_model.pb, a URL, or {BUILTIN}")
    return directory


def fingerprint(directory: Path) -> str:
    """SHA-256 over names and contents of all files of a module but its card, README.md, which moves no number."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "README.md"):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{pooch.file_hash(str(path))}\n".encode())
    return digest.hexdigest()


def tokenizer(directory: Path) -> str:
    """Name of the module's tokenizer, a key of `TOKENIZERS`; `space`, TF-Hub's, unless the module says otherwise."""
    path = directory / TOKENIZER_FILE
    if not path.is_file():
        return "space"
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["tokenizer"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(f"{path}: does not name a tokenizer; export the module again") from error
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise UnavailableError(f"{path}: unknown tokenizer {name!r}; known are {', '.join(TOKENIZERS)}")
    return name


def load(directory: Path):
    """The module's `tokens` signature, called once to see that it works.

    Raises: UnavailableError, if it cannot be loaded, lacks signature or outputs, or gives numbers that are not finite.
    """
    import tensorflow as tf
    import tensorflow_hub as hub

    try:
        signatures = hub.load(str(directory)).signatures
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UnavailableError(
            f"{directory}: not a loadable SavedModel ({_one_line(error)}); fetch or export it again"
        ) from error
    if "tokens" not in signatures:
        raise UnavailableError(f"{directory}: no signature 'tokens', needed of an ELMo. Received: {sorted(signatures)}")
    signature = signatures["tokens"]
    absent = [name for name in OUTPUTS if name not in signature.structured_outputs]
    if absent:
        raise UnavailableError(f"{directory}: no output {absent[0]!r}. Received: {sorted(signature.structured_outputs)}")
    try:
        outputs = signature(tokens=tf.constant([["hello", "world"]]), sequence_len=tf.constant([2], tf.int32))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise UnavailableError(f"{directory}: its signature 'tokens' does not take tokens ({_one_line(error)})") from error
    if not all(np.isfinite(outputs[name].numpy()).all() for name in OUTPUTS):
        raise UnavailableError(f"{directory}: the module's vectors are not finite; fetch or export it again")
    signature.keep_alive = signatures  # a signature does not hold its model's variables
    return signature


def _fetched(url: str, progress: bool) -> Path:
    """The cached module of a URL; it enters the cache by one rename, after it was loaded and called."""
    cache = Path(os.environ.get("TFHUB_CACHE_DIR") or cache_directory() / "modules")
    final = cache / hashlib.sha1(url.encode()).hexdigest()  # the name that tensorflow_hub would give it
    if (final / "saved_model.pb").is_file():
        return final
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as partial:
            module = Path(partial) / "module"
            _extract(_download(url, Path(partial), progress), module, url)
            load(module)
            _enter(module, final)
    except OSError as error:
        raise UnavailableError(f"{url}: cannot be kept in {cache} ({_one_line(error)}); set TFHUB_CACHE_DIR") from error
    return final


def _enter(module: Path, final: Path) -> None:
    try:
        os.rename(module, final)
    except OSError:
        if not (final / "saved_model.pb").is_file():  # else another process was first, with the same module
            shutil.rmtree(final, ignore_errors=True)
            os.rename(module, final)


def _download(url: str, folder: Path, progress: bool) -> Path:
    asked = url if url.endswith((".tar.gz", ".tgz")) else f"{url}?tf-hub-format=compressed"
    archive = folder / "module.tar.gz"
    try:
        pooch.HTTPDownloader(Bar("module") if progress else False, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))(
            asked, str(archive), None
        )
    except requests.RequestException as error:
        raise UnavailableError(
            f"{url}: not reachable ({_one_line(error)}); fetch it elsewhere and pass its directory"
        ) from error
    return archive


def _extract(archive: Path, module: Path, url: str) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UnavailableError(
            f"{url}: this Python unpacks archives unsafely; update it, or unpack by hand and name the directory"
        )
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(module, filter="data")
            while tar.fileobj.read(2**20):  # tar ends before gzip does, whose checksum comes last
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UnavailableError(f"{url}: not a .tar.gz of a SavedModel ({_one_line(error)}); check the URL") from error
    if not (module / "saved_model.pb").is_file():
        raise UnavailableError(f"{url}: no saved_model.pb in the archive; check the URL")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
