"""What a model remembers of its training messages: enough to recognise them and to name the nearest, but not their text."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spamcli.model_config import check_arrays, reading
from spamcli.protocols import normalise

_ARRAYS = {  # dtype, dimensions
    "hashes": (np.uint64, 1), "rows": (np.int32, 1), "files": (np.int8, 1), "labels": (np.int8, 1), "vectors": (np.int8, 2)
}  # fmt: skip
_REPETITIVE = 200  # how many times its size the memory of messages unpacks to that are much alike


@dataclass(frozen=True, eq=False)
class Memory:
    """Of each training message, in order:

    Attributes:
        hashes: uint64 [n], the first 8 bytes of the SHA-256 of its letters and digits.
        rows: int32 [n], its data row in its file; files: int8 [n], 0 the data, k the k-th that was also learned from.
        labels: int8 [n].
        vectors: int8 [n, dim], its mixed layers, scaled so that the largest number is 127; 0 where it has no tokens.
        texts: the messages themselves, only if the user asked for that.
    """

    hashes: np.ndarray
    rows: np.ndarray
    files: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray
    texts: Sequence[str] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], rows, files, labels, mixed: np.ndarray, keep_texts: bool = False) -> "Memory":
        """Remember messages, whose mixed layers are float32 [n, dim], NaN where there are no tokens."""
        mixed = np.nan_to_num(mixed)
        vectors = np.round(127 * mixed / np.maximum(np.abs(mixed).max(axis=1, keepdims=True), 1e-12)).astype(np.int8)
        kept = list(texts) if keep_texts else None
        small = (np.asarray(values, kind) for values, kind in ((rows, np.int32), (files, np.int8), (labels, np.int8)))
        return cls(hashes(texts), *small, vectors, kept)

    def knows(self, texts: Sequence[str]) -> np.ndarray:
        """Which messages are among those trained on, but for case, punctuation and spaces: bool [texts]."""
        return np.isin(hashes(texts), self.hashes)

    def nearest(self, mixed: np.ndarray, k: int) -> list[tuple[int, float]]:
        """Positions and cosines of the k training messages nearest to mixed layers, float32 [dim]."""
        cosines = unit(self.vectors.astype(np.float32)) @ unit(mixed[None])[0]
        order = np.argsort(-cosines, kind="stable")[:k]
        return [(int(place), float(cosines[place])) for place in order]

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.texts is not None:
            arrays["texts"] = np.frombuffer(json.dumps(self.texts).encode(), np.uint8)
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path, files: int, dim: int) -> "Memory":
        """Raises: DataError, if it is damaged, names others than so many files, or has vectors of another dim."""
        check_arrays(path, _REPETITIVE)
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            texts = json.loads(arrays["texts"].tobytes()) if "texts" in arrays else None
            memory = cls(*(arrays[name] for name in _ARRAYS), texts)
            if not memory._is_as_written(files, dim):
                raise ValueError("unexpected arrays")
        return memory

    def _is_as_written(self, files: int, dim: int) -> bool:
        kinds = {name: (getattr(self, name).dtype, getattr(self, name).ndim) for name in _ARRAYS}
        if kinds != _ARRAYS or not isinstance(self.texts, list | None) or not all(isinstance(x, str) for x in self.texts or ()):
            return False
        lengths = {len(values) for values in vars(self).values() if values is not None}
        return len(lengths) == 1 and self.vectors.shape[1] == dim and bool(np.isin(self.files, range(files)).all())


def hashes(texts: Sequence[str]) -> np.ndarray:
    """uint64 [texts]; equal for messages that `protocols.distinct` would hold to be the same."""
    keys = ((normalise(text) or text).encode("utf-8", "surrogatepass") for text in texts)
    return np.array([int.from_bytes(hashlib.sha256(key).digest()[:8], "big") for key in keys], np.uint64)


def unit(mixed: np.ndarray) -> np.ndarray:
    """Rows of length 1: float32 [n, dim]; rows of NaN become 0."""
    mixed = np.nan_to_num(mixed)
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)
