"""The conventional features beside the biLM's: character n-grams and words, hashed and weighted by TF-IDF.

No n-gram is kept, only numbers under its hash. NumPy alone is needed, for training as for prediction.
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spamcli.errors import DataError

CHARACTERS = (2, 5)  # shortest and longest character n-gram, inside words with a space on either side
WORDS = (1, 2)  # the same of word n-grams; words are what white space separates
BITS = 30  # of a hash: so many that what training never showed hardly meets what it did
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: of polynomial hashes modulo 2 ** 64, and of their last mixing


@dataclass(frozen=True)
class Entries:
    """The n-grams that occur in each message, sorted by message and column.

    Attributes:
        messages, columns: int64 [entries]; columns from 2 ** BITS on are of words.
        values: how often, or by TF-IDF how much: float64 [entries].
    """

    messages: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def of(self, rows: np.ndarray) -> "Entries":
        """Those of some messages, which are numbered anew: positions, int [m]."""
        starts, ends = np.searchsorted(self.messages, rows), np.searchsorted(self.messages, rows, side="right")
        lengths = ends - starts
        taken = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return Entries(np.repeat(np.arange(len(rows)), lengths), self.columns[taken], self.values[taken])


def count(texts: Sequence[str]) -> Entries:
    """How often each n-gram of a lower-cased text occurs in it."""
    words = [text.lower().split() for text in texts]
    flat = [f" {word} " for of_message in words for word in of_message]
    message = np.repeat(np.arange(len(texts)), [len(of_message) for of_message in words])  # [words]
    if not flat:
        return Entries(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))
    points = np.frombuffer("".join(flat).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64) + np.uint64(1)
    lengths = np.array([len(word) for word in flat])
    keys = _characters(points, lengths, message) + _words(points, lengths, message)
    keys, counts = np.unique(np.concatenate(keys), return_counts=True)
    return Entries(keys >> (BITS + 1), keys & ((1 << (BITS + 1)) - 1), counts.astype(np.float64))


def _characters(points: np.ndarray, lengths: np.ndarray, message: np.ndarray) -> list[np.ndarray]:
    """Keys of all character n-grams: message, then hash."""
    owner, left = np.repeat(message, lengths), np.repeat(np.cumsum(lengths), lengths) - np.arange(len(points))
    hashed, keys = np.zeros(len(points), np.uint64), []  # hashed: of the n characters from each place on
    for n in range(1, CHARACTERS[1] + 1):
        hashed = hashed[: len(points) - n + 1] * _FACTOR + points[n - 1 :]
        if n >= CHARACTERS[0]:
            inside = left[: len(hashed)] >= n  # of one word
            keys.append(_keys(owner[: len(hashed)][inside], hashed[inside], kind=0))
    return keys


def _words(points: np.ndarray, lengths: np.ndarray, message: np.ndarray) -> list[np.ndarray]:
    """Keys of all words and pairs of neighbours."""
    ends = np.cumsum(lengths)
    powers = np.cumprod(np.full(lengths.max(), _FACTOR))
    behind = np.repeat(ends, lengths) - np.arange(len(points)) - 1  # characters of the word behind each place
    word = np.add.reduceat(points * powers[behind], ends - lengths)  # [words]
    neighbours = message[:-1] == message[1:]
    pair = (word[:-1] * _FACTOR + word[1:])[neighbours]
    return [_keys(message, word, kind=1), _keys(message[:-1][neighbours], pair, kind=1)]


def _keys(message: np.ndarray, hashed: np.ndarray, kind: int) -> np.ndarray:
    """One int64 for message, kind and BITS of the hash, the highest and best mixed ones."""
    column = (hashed * _FACTOR >> np.uint64(64 - BITS)).astype(np.int64)
    return (message << (BITS + 1)) + (kind << BITS) + column


@dataclass(frozen=True, eq=False)
class TfIdf:
    """Weights of the n-grams that training messages have: float32 [known], under their columns, int64 [known], sorted."""

    columns: np.ndarray
    idf: np.ndarray

    @classmethod
    def of(cls, counted: Entries, num_messages: int) -> "TfIdf":
        """idf = log((1 + messages) / (1 + messages with the n-gram)) + 1."""
        columns, having = np.unique(counted.columns, return_counts=True)
        return cls(columns, (np.log((1 + num_messages) / (1 + having)) + 1).astype(np.float32))

    def weigh(self, counted: Entries) -> Entries:
        """(1 + log count) * idf of the n-grams that are known, characters and words each of length 1 in a message.

        Returns: Entries whose columns are positions in `columns`.
        """
        place = np.minimum(np.searchsorted(self.columns, counted.columns), max(0, len(self.columns) - 1))
        known = self.columns[place] == counted.columns if len(self.columns) else np.zeros(len(place), bool)
        messages, place = counted.messages[known], place[known]
        values = (1 + np.log(counted.values[known])) * self.idf[place]
        part = 2 * messages + (self.columns[place] >> BITS)
        lengths = np.sqrt(np.bincount(part, values**2))
        return Entries(messages, place, values / lengths[part])


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear score of the weighted n-grams: weights float32 [known], and a bias."""

    tfidf: TfIdf
    weights: np.ndarray
    bias: float

    def save(self, path: Path) -> None:
        with open(path, "wb") as file:
            columns = self.tfidf.columns.astype(np.int32)
            np.savez_compressed(file, columns=columns, idf=self.tfidf.idf, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, path: Path) -> "Linear":
        """Raises: DataError, if it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                columns, idf, weights, bias = (arrays[name] for name in ("columns", "idf", "weights", "bias"))
            if not (columns.shape == idf.shape == weights.shape == (len(columns),) and bias.shape == ()):
                raise ValueError("shapes differ")
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged ({type(error).__name__}); train again") from error
        return cls(TfIdf(columns.astype(np.int64), idf), weights, float(bias))

    def scores(self, counted: Entries, num_messages: int) -> np.ndarray:
        """float64 [messages]."""
        weighed = self.tfidf.weigh(counted)
        parts = weighed.values * self.weights[weighed.columns]
        return np.bincount(weighed.messages, parts, minlength=num_messages) + self.bias
