"""From a message to tokens to char ids, as ELMo's char-CNN reads them (Peters et al. 2018; ids as in AllenNLP).

A token is read as bytes of UTF-8 between a begin-word and an end-word mark. Id 0 is padding from day one: a position
of the batch that holds no token. Inside a token the unused places hold `PAD_CHAR`.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

MASK = 0  # a position without a token
FIRST_BYTE = 1  # byte b has id b + 1
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PAD_CHAR = 257, 258, 259, 260, 261
NUM_CHAR_IDS = 262

# Both regular expressions are read by Python's `re` and by RE2 inside an exported module, and must mean the same there:
# explicit ranges only, since \s, \w and \d know different characters in the two.
_SEPARATORS = "\\x00-\\x20\\x7f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SYMBOLS = "!-/:-@\\[-`{-~\u00a1-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2600-\u27bf\U0001f000-\U0001faff"
SEPARATORS_PATTERN = f"[{_SEPARATORS}]+"
TOKEN_PATTERN = (
    f"[^{_SEPARATORS}{_SYMBOLS}]+(?:['\u2019][A-Za-z]+)*"  # a word, "don't" in one piece
    r"|\.+|!+|\?+|-+|\*+|=+|_+|~+|#+"  # a run of one mark
    f"|[^{_SEPARATORS}]"  # any other symbol alone
)
_TOKEN = re.compile(TOKEN_PATTERN)


def replace_surrogates(text: str) -> str:
    """Text that can be written as UTF-8: surrogate pairs joined, each lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_at_spaces(text: str) -> list[str]:
    """Tokens as TF-Hub's ELMo modules make them: what spaces separate; tabs and line ends do not."""
    return [token for token in replace_surrogates(text).split(" ") if token]


def split_punctuation(text: str) -> list[str]:
    """Words, runs of one punctuation mark and single symbols; any white space or control character separates."""
    return _TOKEN.findall(replace_surrogates(text))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"space": split_at_spaces, "punctuation": split_punctuation}


def encode_tokens(tokens: Sequence[str], max_characters: int) -> np.ndarray:
    """Char ids of tokens: int32 [tokens, max_characters]; bytes past `max_characters - 2` are cut off."""
    ids = np.full([len(tokens), max_characters], PAD_CHAR, np.int32)
    for row, token in zip(ids, tokens):
        data = np.frombuffer(token.encode("utf-8")[: max_characters - 2], np.uint8)
        row[0] = BEGIN_WORD
        row[1 : 1 + len(data)] = data
        row[1 : 1 + len(data)] += FIRST_BYTE
        row[1 + len(data)] = END_WORD
    return ids


def sentence_marks(max_characters: int) -> np.ndarray:
    """Char ids of the begin-sentence and end-sentence tokens: int32 [2, max_characters]."""
    ids = np.full([2, max_characters], PAD_CHAR, np.int32)
    ids[:, 0], ids[:, 2] = BEGIN_WORD, END_WORD
    ids[:, 1] = BEGIN_SENTENCE, END_SENTENCE
    return ids


def batches(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[range]:
    """Cut messages in order of length into batches of at most `max_batch_tokens` padded tokens, at least one message each."""
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > max_batch_tokens:
            yield range(start, end)
            start = end
