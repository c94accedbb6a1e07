"""The conventional features beside the biLM's: character n-grams and words, hashed; or words alone.

No n-gram is kept, only numbers under its hash. NumPy alone is needed, for training as for prediction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from spamcli.characters import TOKENIZERS, as_seen
from spamcli.model_config import check_arrays, reading

CHARACTERS = (2, 5)  # shortest and longest character n-gram, inside words with a space on either side
WORDS = (1, 2)  # the same of word n-grams; words as the ELMo inside reads them, marks by themselves
UNKNOWN = 1 / 3  # share of a message's character n-grams that are, above which they may be unfamiliar
RARE = 0.9  # their mean idf, as a share of the largest, above which they are
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
    """How often each n-gram of a lower-cased text, as it is seen, occurs in it."""
    lowered = [as_seen(text).lower() for text in texts]
    return _entries([*_characters(*_flat(map(str.split, lowered))), *_words(*_flat(map(_SPLIT, lowered)))])


def count_words(texts: Sequence[str]) -> Entries:
    """How often each word of a lower-cased text, as it is seen, occurs in it."""
    words, message = _flat(_SPLIT(as_seen(text).lower()) for text in texts)
    return _entries([(message << (BITS + 1)) + columns_of(words)])


_SPLIT = TOKENIZERS["punctuation"]


def _flat(words: Iterable[list[str]]) -> tuple[list[str], np.ndarray]:
    """The words of all messages, one behind the other, and which message each is from: int64 [words]."""
    of_messages = list(words)
    message = np.repeat(np.arange(len(of_messages)), [len(of_message) for of_message in of_messages])
    return list(chain.from_iterable(of_messages)), message


def columns_of(words: Sequence[str]) -> np.ndarray:
    """The column of each word: int64 [words]."""
    return _keys(np.zeros(len(words), np.int64), _hashed(words), kind=1)


def _points(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all words, with a space on either side, one word behind the other, each one more: uint64; and lengths."""
    flat = "".join(f" {word} " for word in words).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(flat, np.uint32).astype(np.uint64) + np.uint64(1), np.array([len(word) + 2 for word in words], int)


def _entries(keys: list[np.ndarray]) -> Entries:
    distinct, counts = np.unique(np.concatenate(keys), return_counts=True)
    return Entries(distinct >> (BITS + 1), distinct & ((1 << (BITS + 1)) - 1), counts.astype(np.float64))


def _characters(words: Sequence[str], message: np.ndarray) -> list[np.ndarray]:
    """Keys of all character n-grams: message, then hash."""
    points, lengths = _points(words)
    owner, left = np.repeat(message, lengths), np.repeat(np.cumsum(lengths), lengths) - np.arange(len(points))
    hashed, keys = np.zeros(len(points), np.uint64), []  # hashed: of the n characters from each place on
    for n in range(1, CHARACTERS[1] + 1):
        hashed = hashed[: len(points) - n + 1] * _FACTOR + points[n - 1 :]
        if n >= CHARACTERS[0]:
            inside = left[: len(hashed)] >= n  # of one word
            keys.append(_keys(owner[: len(hashed)][inside], hashed[inside], kind=0))
    return keys


def _words(words: Sequence[str], message: np.ndarray) -> list[np.ndarray]:
    """Keys of all words and pairs of neighbours."""
    word = _hashed(words)
    neighbours = message[:-1] == message[1:]
    pair = (word[:-1] * _FACTOR + word[1:])[neighbours]
    return [_keys(message, word, kind=1), _keys(message[:-1][neighbours], pair, kind=1)]


def _hashed(words: Sequence[str]) -> np.ndarray:
    """A polynomial hash of each word: uint64 [words]."""
    if not words:
        return np.zeros(0, np.uint64)
    points, lengths = _points(words)
    ends = np.cumsum(lengths)
    powers = np.cumprod(np.full(lengths.max(), _FACTOR))
    behind = np.repeat(ends, lengths) - np.arange(len(points)) - 1  # characters of the word behind each place
    return np.add.reduceat(points * powers[behind], ends - lengths)


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
        known, place = _found(self.columns, counted.columns)
        messages = counted.messages[known]
        values = (1 + np.log(counted.values[known])) * self.idf[place]
        part = 2 * messages + (self.columns[place] >> BITS)
        lengths = np.sqrt(np.bincount(part, values**2))
        return Entries(messages, place, values / lengths[part])

    def unfamiliar(self, counted: Entries, weighed: Entries, num_messages: int) -> np.ndarray:
        """Of which messages training has hardly seen the character n-grams: bool [messages].

        More than UNKNOWN of them are unknown, and on average they are rare: the mean idf, an unknown one's taken for the
        largest, is above RARE of that. So are those of most languages in another script, and of some obfuscation.

        Args:
            weighed: what `weigh` makes of the counted.
        """
        largest, words = self.idf.max(initial=0), np.searchsorted(self.columns, 1 << BITS)
        known = weighed.columns < words
        place, messages = weighed.columns[known], weighed.messages[known]
        number = np.bincount(counted.messages[counted.columns >> BITS == 0], minlength=num_messages)
        unknown = number - np.bincount(messages, minlength=num_messages)
        idf = unknown * largest + np.bincount(messages, self.idf[place], num_messages)
        return (unknown > UNKNOWN * number) & (idf > RARE * largest * number)

    def count(self, texts: Sequence[str]) -> Entries:
        """What `weigh` takes."""
        return count(texts)


@dataclass(frozen=True, eq=False)
class Means:
    """Weights of words that make a sum over them a mean over those that are known: columns int64 [known], sorted."""

    columns: np.ndarray

    def weigh(self, counted: Entries) -> Entries:
        """The share that each known word is of a message's known words; columns are positions in `columns`."""
        known, place = _found(self.columns, counted.columns)
        messages, values = counted.messages[known], counted.values[known]
        return Entries(messages, place, values / np.bincount(messages, values)[messages])

    def count(self, texts: Sequence[str]) -> Entries:
        """What `weigh` takes."""
        return count_words(texts)


@dataclass(frozen=True, eq=False)
class Presence:
    """Weights of word n-grams that occur, however often: columns int64 [known], sorted."""

    columns: np.ndarray

    def weigh(self, counted: Entries) -> Entries:
        """1 / the root of how many different ones a message has, for each known one; columns are positions in `columns`.

        Words follow from one another, so a message twice as long is less than twice the evidence, and one that repeats itself
        is none.
        """
        different = np.bincount(counted.messages[counted.columns >> BITS > 0])
        known, place = _found(self.columns, counted.columns)
        messages = counted.messages[known]
        return Entries(messages, place, 1 / np.sqrt(different[messages]))

    def count(self, texts: Sequence[str]) -> Entries:
        """What `weigh` takes."""
        return count(texts)


def _found(columns: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the wanted ones are among sorted columns, bool [wanted], and where, int64 [found]."""
    place = np.minimum(np.searchsorted(columns, wanted), max(0, len(columns) - 1))
    known = columns[place] == wanted if len(columns) else np.zeros(len(place), bool)
    return known, place[known]


_WEIGHTINGS = {"tf_idf": TfIdf, "means": Means, "presence": Presence}


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear score of weighted n-grams or words: weights float32 [known]."""

    weighting: TfIdf | Means | Presence
    weights: np.ndarray

    def scores(self, weighed: Entries, num_messages: int) -> np.ndarray:
        """Of n-grams that `weighting` has weighed: float64 [messages]."""
        return np.bincount(weighed.messages, weighed.values * self.weights[weighed.columns], minlength=num_messages)


@dataclass(frozen=True, eq=False)
class Wide:
    """The linear scores that stand beside the heads: one or several, each with a weighting of its own."""

    parts: tuple[Linear, ...]

    def count(self, texts: Sequence[str]) -> Entries:
        """What `read` takes."""
        return self.parts[0].weighting.count(texts)

    def read(self, counted: Entries, num_messages: int) -> tuple[np.ndarray, np.ndarray]:
        """Each part's scores, float64 [messages, parts]; which messages are `TfIdf.unfamiliar`, bool [messages]."""
        scores, unfamiliar = [], np.zeros(num_messages, bool)
        for part in self.parts:
            weighed = part.weighting.weigh(counted)
            scores.append(part.scores(weighed, num_messages))
            if isinstance(part.weighting, TfIdf):
                unfamiliar = part.weighting.unfamiliar(counted, weighed, num_messages)
        return np.stack(scores, axis=1), unfamiliar

    def save(self, path: Path) -> None:
        arrays = {}
        for name, weighting in _WEIGHTINGS.items():
            for part in self.parts:
                if type(part.weighting) is weighting:
                    fields = {**vars(part.weighting), "weights": part.weights}
                    arrays |= {f"{name}.{field}": values for field, values in fields.items()}
        with open(path, "wb") as file:
            np.savez_compressed(file, **{name: _small(values) for name, values in arrays.items()})

    @classmethod
    def load(cls, path: Path, parts: int) -> "Wide":
        """Raises: DataError, if it is damaged, or does not have so many parts."""
        check_arrays(path)
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            read = {name: {} for name in _WEIGHTINGS}
            for key in arrays:
                name, field = key.split(".")
                read[name][field] = arrays[key].astype(np.int64) if field == "columns" else arrays[key]
            if any(len({values.shape for values in fields.values()}) > 1 for fields in read.values()):
                raise ValueError("shapes differ")
            weights = {name: fields.pop("weights") for name, fields in read.items() if fields}
            linear = tuple(Linear(_WEIGHTINGS[name](**read[name]), values) for name, values in weights.items())
            if len(linear) != parts or not all(map(_is_sound, linear)):
                raise ValueError("other parts")
        return cls(linear)


def _is_sound(part: Linear) -> bool:
    """Whether columns rise, and are of words alone where they should be, and numbers are finite, an idf above 0."""
    columns, weights, idf = part.weighting.columns, part.weights, getattr(part.weighting, "idf", np.ones(1, np.float32))
    least = 0 if isinstance(part.weighting, TfIdf) else 1 << BITS
    finite = all(values.dtype == np.float32 and np.isfinite(values).all() for values in (weights, idf))
    rising = (np.diff(columns) > 0).all() and (columns >= least).all()
    return weights.ndim == 1 and finite and rising and (idf > 0).all()


def _small(values: np.ndarray) -> np.ndarray:
    """As it is written: columns in half the bytes."""
    return values.astype(np.int32) if values.dtype == np.int64 else values
