"""Text for pretraining: one sentence or message a line -> arrays of token ids, batches of similar length."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spamcli.characters import TOKENIZERS, encode_tokens
from spamcli.errors import DataError, NotFoundError

UNKNOWN, BEGIN, END = 0, 1, 2  # word ids in the softmax; real words follow, the most frequent first


@dataclass(frozen=True)
class Corpus:
    """Messages as tokens, and each distinct token as characters and as a word of the softmax.

    Attributes:
        tokens: int32 [all tokens], ids of distinct tokens, message after message; offsets: int64 [messages + 1].
        lines: int32 [messages], the line each message is, or is a piece of.
        char_ids: uint16 [distinct tokens, chars]; words: int32 [distinct tokens], ids in the softmax vocabulary.
        counts: int64 [vocabulary], how often each word is read.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    lines: np.ndarray
    char_ids: np.ndarray
    words: np.ndarray
    counts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> "Corpus":
        """The messages `rows` alone, with the vocabulary of all."""
        pieces = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        tokens = np.concatenate([self.tokens[:0], *pieces])  # also of no rows
        return replace(self, tokens=tokens, offsets=_offsets(self.lengths[rows]), lines=self.lines[rows])

    def batch(self, rows: np.ndarray) -> "Batch":
        """The messages `rows`, each distinct token once."""
        lengths = self.lengths[rows]
        padded = np.zeros([len(rows), lengths.max()], np.int32)
        real = np.arange(padded.shape[1]) < lengths[:, None]
        padded[real] = np.concatenate([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        distinct, inverse = np.unique(padded, return_inverse=True)
        return Batch(
            self.char_ids[distinct].astype(np.int32),
            (inverse.reshape(padded.shape) + 2).astype(np.int32),
            lengths.astype(np.int32),
            self.words[padded],
        )


@dataclass(frozen=True)
class Batch:
    """Padded messages, their characters apart.

    Attributes:
        char_ids: int32 [distinct, chars]; indices: int32 [b, l], 2 + row of char_ids.
        lengths: int32 [b]; words: int32 [b, l].
    """

    char_ids: np.ndarray
    indices: np.ndarray
    lengths: np.ndarray
    words: np.ndarray


def read_lines(paths: Sequence[Path]) -> Counter[str]:
    """Distinct lines of text files (UTF-8, also .gz), in order, each with the number of files that hold it.

    A file that is named twice counts twice: its lines are read twice in every epoch.
    """
    lines: Counter[str] = Counter()
    for path in map(Path, paths):
        if not path.exists():
            raise NotFoundError(f"{path}: no such file; name text files with one sentence or message a line")
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding="utf-8") as file:
                lines.update(dict.fromkeys((line for line in map(str.strip, file) if line), 1))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason}); convert it first") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error}); fetch it again") from error
        except OSError as error:
            raise NotFoundError(f"{path}: cannot be read ({error.strerror}); name text files") from error
    if not lines:
        raise DataError("no text in the corpus; name files with one sentence or message a line")
    return lines


def softmax_word(token: str) -> str:
    """What the language model predicts for a token: lower case, every digit as 0."""
    return "".join("0" if c.isdigit() else c for c in token.lower())


def build(lines: Counter[str], tokenizer: str, max_characters: int, max_tokens: int, vocabulary: int) -> Corpus:
    """Tokenise lines; cut those longer than `max_tokens` into pieces; keep the `vocabulary` most frequent words."""
    split = TOKENIZERS[tokenizer]
    ids: dict[str, int] = {}
    pieces, lines_of = [], []
    for number, (line, times) in enumerate(lines.items()):
        tokens = np.array([ids.setdefault(token, len(ids)) for token in split(line)], np.int32)
        cut = [tokens[start : start + max_tokens] for start in range(0, len(tokens), max_tokens)] * times
        pieces += cut
        lines_of += [number] * len(cut)
    if not pieces:
        raise DataError("no tokens in the corpus; name files with one sentence or message a line")
    tokens = np.concatenate(pieces)
    words = [softmax_word(token) for token in ids]
    frequency: Counter[str] = Counter()
    for word, count in zip(words, np.bincount(tokens, minlength=len(ids))):
        frequency[word] += int(count)
    kept = {word: END + 1 + rank for rank, (word, _) in enumerate(frequency.most_common(vocabulary - END - 1))}
    word_ids = np.array([kept.get(word, UNKNOWN) for word in words], np.int32)
    counts = np.bincount(word_ids[tokens], minlength=len(kept) + END + 1)
    counts[[BEGIN, END]] = len(pieces)
    char_ids = encode_tokens(list(ids), max_characters).astype(np.uint16)
    offsets = _offsets([len(piece) for piece in pieces])
    return Corpus(tokens, offsets, np.array(lines_of, np.int32), char_ids, word_ids, counts)


def hold_out(corpus: Corpus, num_lines: int, seed: int) -> tuple[Corpus, Corpus]:
    """Corpus to learn from, and `num_lines` other lines (at most a tenth), each once, that only measure."""
    lines = np.unique(corpus.lines)
    chosen = np.random.default_rng([seed, 0]).permutation(lines)[: min(num_lines, len(lines) // 10)]
    held_out = np.isin(corpus.lines, chosen)
    _, first = np.unique(np.where(held_out, corpus.lines, -1), return_index=True)
    return corpus.take(np.flatnonzero(~held_out)), corpus.take(first[held_out[first]])


def _offsets(lengths) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def batches(lengths: np.ndarray, batch_tokens: int, seed: Sequence[int]) -> Iterator[np.ndarray]:
    """Rows of messages in batches of similar length and at most `batch_tokens` padded tokens, in random order."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    groups, start = [], 0
    while start < len(order):
        end = start + max(1, batch_tokens // int(lengths[order[start]]))
        while end > start + 1 and (end - start) * lengths[order[min(end, len(order)) - 1]] > batch_tokens:
            end -= 1
        groups.append(order[start:end])
        start = end
    for index in random.permutation(len(groups)):
        yield groups[index]
