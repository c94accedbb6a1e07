"""Lines of text as a biLM reads them: arrays of token ids, what is to be predicted, batches of similar length."""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spamcli.bilm.reading import Text
from spamcli.bilm.spelling import misspell
from spamcli.characters import TOKENIZERS, encode_tokens
from spamcli.errors import DataError

UNKNOWN, BEGIN, END = 0, 1, 2  # word ids in the softmax; real words follow, the most frequent first
LINK, NAME = "<link>", "<name>"  # words of the softmax that stand for all of their kind
_MASKED = re.compile(
    r"(?P<link>(?:https?:|www\.)\S+|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]+)+"  # bounds: a line may be a megabyte without space
    r"|\b[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}\.(?:com|net|org|info|biz|tv|edu|gov|co|uk)\b\S*)|(?<=@)\w+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Corpus:
    """Messages as tokens, and each distinct token as characters and as a word of the softmax.

    Attributes:
        tokens: int32 [all tokens], ids of distinct tokens, message after message; offsets: int64 [messages + 1].
        lines: int32 [messages], the line each message is, or is a piece of.
        texts: the distinct tokens; char_ids: uint16 [distinct tokens, chars]; words: int32 [distinct tokens], ids in the
            softmax vocabulary.
        counts: int64 [vocabulary], how often each word is read.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    lines: np.ndarray
    texts: list[str]
    char_ids: np.ndarray
    words: np.ndarray
    counts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @property
    def sha256(self) -> str:
        """Of all that is read and predicted, in its order."""
        digest = hashlib.sha256("\0".join(self.texts).encode())
        for array_ in (self.tokens, self.offsets, self.lines, self.words, self.counts):
            digest.update(array_.tobytes())
        return digest.hexdigest()

    def take(self, rows: np.ndarray) -> "Corpus":
        """The messages `rows` alone, with the vocabulary of all."""
        pieces = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        tokens = np.concatenate([self.tokens[:0], *pieces])  # also of no rows
        return replace(self, tokens=tokens, offsets=_offsets(self.lengths[rows]), lines=self.lines[rows])

    def batch(self, rows: np.ndarray, misspelt: float = 0.0, random: np.random.Generator | None = None) -> "Batch":
        """The messages `rows`, each distinct token once; a share of the words misspelt, but predicted as they should be."""
        lengths = self.lengths[rows]
        padded = np.zeros([len(rows), lengths.max()], np.int32)
        real = np.arange(padded.shape[1]) < lengths[:, None]
        padded[real] = np.concatenate([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        distinct, inverse = np.unique(padded, return_inverse=True)
        char_ids, indices = self.char_ids[distinct].astype(np.int32), inverse.reshape(padded.shape).astype(np.int32)
        if misspelt:
            wrong = real & (random.random(padded.shape) < misspelt)
            spelt = [misspell(self.texts[token], random) for token in padded[wrong]]
            indices[wrong] = len(char_ids) + np.arange(len(spelt))
            char_ids = np.concatenate([char_ids, encode_tokens(spelt, char_ids.shape[1])])
        return Batch(char_ids, indices + 2, lengths.astype(np.int32), self.words[padded])


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


def softmax_words(line: str, tokens: Sequence[str]) -> list[str]:
    """What the language model predicts for a line's tokens: lower case, digits as 0; user names and links masked."""
    masks = [""] * len(line)
    for match in _MASKED.finditer(line):
        masks[match.start() : match.end()] = [LINK if match["link"] else NAME] * len(match[0])
    words, end = [], 0
    for token in tokens:
        start = line.index(token, end)
        end = start + len(token)
        mask = next(filter(None, masks[start:end]), None)
        words.append(mask or "".join("0" if c.isdigit() else c for c in token.lower()))
    return words


def build(text: Text, tokenizer: str, max_characters: int, max_tokens: int, vocabulary: int, min_sources: int = 1) -> Corpus:
    """Tokenise lines; cut those longer than `max_tokens` into pieces; keep the `vocabulary` most frequent words.

    Only words that at least `min_sources` of the files hold (of fewer files: all) are kept: no one's name or number.
    """
    split = TOKENIZERS[tokenizer]
    ids: dict[tuple[str, str], int] = {}  # a token and its word: a name after @ is not the word spelt like it
    sources: Counter[str] = Counter()
    tokens, lengths, lines = array("i"), array("i"), array("i")
    for number, (line, times) in enumerate(text.times.items()):
        read = split(line)
        words = softmax_words(line, read)
        numbers = array("i", [ids.setdefault(pair, len(ids)) for pair in zip(read, words)])
        for word in words:
            sources[word] |= text.sources[line]
        sizes = [min(max_tokens, len(read) - start) for start in range(0, len(read), max_tokens)]
        tokens += numbers * times
        lengths.extend(sizes * times)
        lines.extend([number] * len(sizes) * times)
    if not lengths:
        raise DataError("no tokens in the corpus; name files with one sentence or message a line")
    tokens = np.array(tokens, np.int32)
    frequency: Counter[str] = Counter()
    for (_, word), count in zip(ids, np.bincount(tokens, minlength=len(ids))):
        if sources[word].bit_count() >= min(min_sources, len(set(text.files.values()))):
            frequency[word] += int(count)
    kept = {word: END + 1 + rank for rank, (word, _) in enumerate(frequency.most_common(vocabulary - END - 1))}
    word_ids = np.array([kept.get(word, UNKNOWN) for _, word in ids], np.int32)
    counts = np.bincount(word_ids[tokens], minlength=len(kept) + END + 1)
    counts[[BEGIN, END]] = len(lengths)
    texts = [token for token, _ in ids]
    char_ids = encode_tokens(texts, max_characters).astype(np.uint16)
    return Corpus(tokens, _offsets(lengths), np.array(lines, np.int32), texts, char_ids, word_ids, counts)


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
