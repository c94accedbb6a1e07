"""A frozen ELMo behind a handle: messages -> their pooled layers, each message once, kept in a cache.

Pooling by means and mixing are linear, mean_t(gamma sum_j s_j h_jt) = gamma sum_j s_j mean_t(h_jt), so the means over the
tokens of the three layers are all that a classifier ever needs of a message. Maxima are taken of each layer, before the mix,
which is another model than one that takes them after it.
"""

import hashlib
import sqlite3
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from spamcli import modules
from spamcli.characters import TOKENIZERS, batches, first_tokens
from spamcli.errors import UnavailableError
from spamcli.settings import BATCH_NUMBERS, BUILTIN, ClassifierSettings

NUM_LAYERS = 3
VERSION = 4  # of pooling over the first tokens of what is seen, and of rows; in the cache's name, counted up when these change


class ELMo:
    """A module with TF-Hub ELMo's `tokens` signature; TensorFlow and the module are loaded at the first uncached message.

    Args:
        handle: `builtin`, a URL or a directory, which is kept as an absolute path.
        cache: directory of the cache of pooled layers; None for none.
        max_batch_tokens: padded tokens of one call; bounds the memory. A longer message goes alone. By default what makes
            BATCH_NUMBERS: 896 at the original ELMo's dim of 1,024, 1,792 for the built-in one.
        progress: show the download of a module on stderr.
        trust_module: load the module whatever it could do: a SavedModel is a program.
        pooling: one of POOLINGS.
    Raises: UnavailableError, NotFoundError, WriteError.
    """

    def __init__(
        self,
        handle: str = BUILTIN,
        cache: Path | None = None,
        max_batch_tokens: int | None = None,
        progress: bool = False,
        trust_module: bool = False,
        pooling: str = ClassifierSettings.pooling,
    ):
        self.directory, self.max_batch_tokens = modules.resolve(handle, progress, trust_module), max_batch_tokens
        self.trust_module, self.pooling = trust_module, pooling
        self.handle = handle if handle == BUILTIN or "://" in handle else str(self.directory.resolve())
        self.fingerprint = modules.fingerprint(self.directory)
        self.tokenizer = modules.tokenizer(self.directory)
        self.tokenize = TOKENIZERS[self.tokenizer]
        self.cache_directory = cache
        self.cache = open_cache(cache, self.fingerprint, pooling) if cache else None
        self._signature = None

    @property
    def signature(self):
        """The loaded module's `tokens` signature."""
        if self._signature is None:
            self._signature = modules.load(self.directory, self.trust_module)
        return self._signature

    def pooled_layers(
        self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> np.ndarray:
        """Each layer, pooled over the first MAX_TOKENS: float32 [messages, 3, dim]; NaN where a message has no tokens.

        With `mean+max` dim is twice the module's: the mean, and behind it the maximum.

        Args:
            texts: messages; equal ones are encoded once.
            progress: called with messages done and to do.
        """
        tokens = first_tokens(texts, self.tokenizer)
        spoken = [text for text in tokens if tokens[text]]
        pooled = self._remember(spoken)
        missing = sorted((text for text in spoken if text not in pooled), key=lambda text: len(tokens[text]))
        done = 0
        for batch in batches([len(tokens[text]) for text in missing], self._budget() if missing else 1):
            vectors = self._call([tokens[missing[i]] for i in batch])
            fresh = dict(zip((missing[i] for i in batch), vectors))
            self._keep(fresh)
            pooled |= fresh
            done += len(fresh)
            progress(done, len(missing))
        if not pooled:
            return np.full([len(texts), NUM_LAYERS, 0], np.nan, np.float32)
        silent = np.full_like(next(iter(pooled.values())), np.nan)
        return np.stack([pooled.get(text, silent) for text in texts])

    def _budget(self) -> int:
        dim = self.signature.structured_outputs["lstm_outputs1"].shape[-1] or 1024
        return self.max_batch_tokens or max(1, BATCH_NUMBERS // dim)

    def _remember(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        try:
            return self.cache.read(texts) if self.cache else {}
        except sqlite3.DatabaseError as error:
            self._give_up_cache(error)
            return {}

    def _keep(self, pooled: dict[str, np.ndarray]) -> None:
        try:
            if self.cache:
                self.cache.write(pooled)
        except sqlite3.DatabaseError as error:
            self._give_up_cache(error)

    def _give_up_cache(self, error: sqlite3.DatabaseError) -> None:
        """Go on without: what it holds can be made again. A damaged file is thrown away, a full disk's is not."""
        warnings.warn(f"{self.cache.path}: the cache is not used any more ({error})", stacklevel=2)
        if not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):  # whose folder cannot be written
                self.cache.path.unlink()
        self.cache = None

    def _call(self, tokens: list[list[str]]) -> np.ndarray:
        """Pooled layers of one batch: float32 [b, 3, dim]. Pooled here: elmo/1 and /2 average over padding, too."""
        import tensorflow as tf

        lengths = np.array([len(message) for message in tokens], np.int32)
        padded = [message + [""] * (lengths.max() - len(message)) for message in tokens]
        outputs = self.signature(tokens=tf.constant(padded), sequence_len=tf.constant(lengths))
        real = np.arange(lengths.max()) < lengths[:, None]
        share = (real / lengths[:, None]).astype(np.float32)[:, None, :]  # [b, 1, l]
        layers = [outputs[layer].numpy() for layer in modules.OUTPUTS]
        parts = [[(share @ layer)[:, 0] for layer in layers]]  # [b, 1, l] @ [b, l, d] -> [b, d]
        if self.pooling == "mean+max":
            parts.append([np.where(real[:, :, None], layer, -np.inf).max(axis=1) for layer in layers])
        pooled = [np.stack([np.tile(first, 2), *others], axis=1) for first, *others in parts]
        pooled = np.concatenate(pooled, axis=-1)
        if not np.isfinite(pooled).all():
            raise UnavailableError(f"{self.handle}: the module gave vectors that are not finite; use another one")
        return pooled


class PooledCache:
    """Pooled layers by message, one SQLite file for each module content: atomic, shared by processes, resumable.

    Vectors alone are kept, under a hash of the message. A damaged file is thrown away: all in it can be made again.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._create()
        except sqlite3.OperationalError:  # locked, read-only, disk full: not the file's fault
            raise
        except sqlite3.DatabaseError:
            path.unlink()
            self._create()

    def _create(self) -> None:
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS pooled (message BLOB PRIMARY KEY, layers BLOB) WITHOUT ROWID")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
            yield database

    def read(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Those of the messages that are there: text -> float32 [3, dim]. Raises: sqlite3.DatabaseError."""
        found = {}
        with self._open() as database:
            for text in texts:
                key = _key(text)
                row = database.execute(f"{ROWS} WHERE message = ?", [key]).fetchone()
                if row:
                    found[text] = np.frombuffer(checked(*row), np.float32).reshape(NUM_LAYERS, -1)
        return found

    def write(self, pooled: dict[str, np.ndarray]) -> None:
        """Add messages: text -> float32 [3, dim]."""
        with self._open() as database:
            rows = ((_key(text), layers.astype(np.float32).tobytes()) for text, layers in pooled.items())
            summed = ((key, layers + _sum(key, layers)) for key, layers in rows)
            database.executemany("INSERT OR IGNORE INTO pooled VALUES (?, ?)", summed)


# A damaged value may be of another type, text that is none, or nothing.
ROWS = "SELECT CAST(message AS BLOB), IFNULL(CAST(layers AS BLOB), x'') FROM pooled"


def checked(key: bytes, row: bytes) -> bytes:
    """The layers of a row of ROWS. Raises: sqlite3.DatabaseError, if they are not as they were written under that key."""
    layers, written = row[:-4], row[-4:]
    if written != _sum(key, layers):
        raise sqlite3.DatabaseError("a row is not as it was written")
    return layers


def _sum(key: bytes, layers: bytes) -> bytes:
    return zlib.crc32(layers, zlib.crc32(key)).to_bytes(4, "little")


def open_cache(directory: Path, fingerprint: str, pooling: str = ClassifierSettings.pooling) -> PooledCache | None:
    """The cache of a module's pooled layers, or None with a warning where it cannot be kept."""
    path = directory / f"{pooling}-{VERSION}-{fingerprint[:32]}.sqlite"
    try:
        return PooledCache(path)
    except (OSError, sqlite3.OperationalError) as error:
        warnings.warn(f"{path}: no cache can be kept there ({error}); set XDG_CACHE_HOME to a writable folder", stacklevel=2)
        return None


def has_tokens(pooled: np.ndarray) -> np.ndarray:
    """Which of pooled layers (float32 [n, 3, dim]) are a message's that had tokens: bool [n]."""
    return ~np.isnan(pooled).any(axis=(1, 2)) & (pooled.shape[2] > 0)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
