"""Word vectors from a text file, as GloVe and word2vec are published: the mean over a message's words stands beside the biLM.

A linear score of a mean is the mean of each word's score, so a trained model keeps a number for each word, and no vector.
"""

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
from scipy.sparse import csr_matrix

from spamcli.characters import as_seen
from spamcli.errors import DataError, NotFoundError
from spamcli.ngrams import Entries, Means, columns_of, count_words
from spamcli.rows import LONGEST
from spamcli.settings import STATIC, ClassifierSettings

MAX_DIM = 4096  # numbers of a vector, far more than any such file has


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors of words in lower case; of words that differ in case alone the first, in such files the most frequent.

    Attributes:
        columns: of the words, int64 [words], sorted, see `ngrams.columns_of`.
        vectors: float32 [words, dim].
        sha256: of the file.
    """

    columns: np.ndarray
    vectors: np.ndarray
    sha256: str

    def count(self, texts: Sequence[str]) -> Entries:
        """How often each word of a text occurs in it, also one that has no vector."""
        return count_words(texts)

    def unknown(self, texts: Sequence[str]) -> tuple[int, int]:
        """How many of the words of messages have no vector, and how many there are."""
        counted = count_words(texts)
        known = np.isin(counted.columns, self.columns)
        return int(counted.values[~known].sum()), int(counted.values.sum())

    def means(self, counted: Entries, num_messages: int) -> np.ndarray:
        """Mean vector of each message's words that have one, 0 without any: float64 [messages, dim]."""
        weighed = Means(self.columns).weigh(counted)
        shares = csr_matrix((weighed.values, (weighed.messages, weighed.columns)), shape=(num_messages, len(self.columns)))
        return shares @ self.vectors


def of(settings: ClassifierSettings) -> WordVectors | None:
    """Those that the settings name, if they do.

    Raises: what `read` raises; DataError, if the file is another one now.
    """
    if settings.static in STATIC:
        return None
    try:
        vectors = read(Path(settings.static))
    except NotFoundError as error:
        raise NotFoundError(
            f"{settings.static}: the model learned with these word vectors; put them back to train again"
        ) from error
    if vectors.sha256 != settings.vectors:
        raise DataError(f"{settings.static}: other word vectors than the model was trained with; train again")
    return vectors


@lru_cache(maxsize=1)
def read(path: Path) -> WordVectors:
    """Lines of a word and its numbers, separated by single spaces, one more at the end or not.

    A first line of two numbers, as word2vec writes, is skipped.

    Args:
        path: UTF-8, as it is or .gz.
    Raises: NotFoundError; DataError, with the line where that is known.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; --static names one of word vectors as text, or is none or ngrams")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            first = file.readline(LONGEST).rstrip().split(" ")
            dim, header = (int(first[1]), 1) if len(first) == 2 else (len(first) - 1, 0)
        if not 0 < dim <= MAX_DIM:
            raise ValueError(f"vectors of {dim} numbers")
        table = pd.read_csv(
            path, sep=" ", header=None, skiprows=header, names=["word", *range(dim), "rest"], index_col=False,
            dtype={"word": str, **dict.fromkeys(range(dim), np.float32), "rest": str}, na_filter=False, encoding="utf-8",
            quoting=csv.QUOTE_NONE, compression="gzip" if path.suffix == ".gz" else None,
        )  # fmt: skip
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(
            f"{path}: not word vectors as text ({' '.join(str(error).split())}); each line is a word and its numbers"
        ) from error
    vectors = table[list(range(dim))].to_numpy(np.float32)
    longer = np.flatnonzero(table["rest"].fillna("").str.strip() != "")
    if len(longer):
        word = table["word"][longer[0]]
        raise DataError(f"{path}: {word!r} has more than {dim} numbers, which the first word has; all have as many")
    if not len(table) or not np.isfinite(vectors).all():
        raise DataError(f"{path}: has no vectors, or some that are not finite")
    columns, rows = np.unique(columns_of([as_seen(word).lower() for word in table["word"]]), return_index=True)
    return WordVectors(columns, vectors[rows], pooch.file_hash(str(path)))
