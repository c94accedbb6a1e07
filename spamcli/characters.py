"""From a message to tokens to char ids, as ELMo's char-CNN reads them (Peters et al. 2018; ids as in AllenNLP).

A token is read as bytes of UTF-8 between a begin-word and an end-word mark. Id 0 is padding from day one: a position
of the batch that holds no token. Inside a token the unused places hold `PAD_CHAR`.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

MASK = 0  # a position without a token
FIRST_BYTE = 1  # byte b has id b + 1
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PAD_CHAR = 257, 258, 259, 260, 261
NUM_CHAR_IDS = 262

MAX_TOKENS = 2048  # of a message that go through an ELMo; ten text messages joined into one have 1,530 characters

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
# What no one sees: controls that are no white space, and what Unicode calls default-ignorable (zero-width characters, soft
# hyphens, variation selectors, marks of direction and such), but for fillers, which take room as U+2800 does.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_FILLER = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")
_TURNED = re.compile("\u202e([^\u202c\n]*)")  # RIGHT-TO-LEFT OVERRIDE, up to its end
_TOKENS = {"space": re.compile("[^ ]+"), "punctuation": re.compile(TOKEN_PATTERN)}


def replace_surrogates(text: str) -> str:
    """Text that can be written as UTF-8: surrogate pairs joined, each lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_seen(text: str) -> str:
    """Text as a person sees it, that can be written as UTF-8.

    `replace_surrogates`; what is written backwards is turned round, fillers are spaces, and what is invisible is left out.
    """
    if text.isascii() and text.isprintable():
        return text
    turned = _TURNED.sub(lambda part: part[1][::-1], replace_surrogates(text))
    return _INVISIBLE.sub("", _FILLER.sub(" ", turned))


# Scripts, as the names of their letters begin.
_LIKE_LATIN = {"CYRILLIC", "GREEK", "ARMENIAN", "CANADIAN", "CHEROKEE", "LISU"}  # some of whose letters pass for Latin ones
_IN_ONE_WORD = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "HANGUL"}


@lru_cache(4096)
def _script(character: str) -> str:
    """Of a letter, mathematical and full-width ones as what they stand for; empty for other characters."""
    return unicodedata.name(unicodedata.normalize("NFKC", character)[0], "").partition(" ")[0] if character.isalpha() else ""


def in_another_script(text: str) -> bool:
    """Whether most letters of a text, as it is seen, are of other scripts than Latin.

    A word of several scripts that no language writes together says nothing: its letters are drawn for what they look like.
    """
    if text.isascii():
        return False
    letters = others = 0
    for word in as_seen(text).split():
        scripts = Counter(map(_script, word))
        number, latin = len(word) - scripts.pop("", 0), scripts.pop("LATIN", 0)
        letters += number
        if (len(scripts) == 1 or scripts.keys() <= _IN_ONE_WORD) and not (latin and scripts.keys() & _LIKE_LATIN):
            others += number - latin
    return others > letters / 2


def split_at_spaces(text: str) -> list[str]:
    """Tokens as TF-Hub's ELMo modules make them: what spaces separate; tabs and line ends do not."""
    return _TOKENS["space"].findall(replace_surrogates(text))


def split_punctuation(text: str) -> list[str]:
    """Words, runs of one punctuation mark and single symbols; any white space or control character separates."""
    return _TOKENS["punctuation"].findall(replace_surrogates(text))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"space": split_at_spaces, "punctuation": split_punctuation}


def first_tokens(texts: Iterable[str], tokenizer: str) -> dict[str, list[str]]:
    """The tokens of each message that an ELMo reads: of what is visible, MAX_TOKENS at most, so that what it costs is bounded.

    Warns where there are more, in the same words each time, so that one line is shown and not one a message.
    """
    pattern, first, cut = _TOKENS[tokenizer], {}, False
    for text in dict.fromkeys(texts):
        matches = pattern.finditer(as_seen(text))
        first[text] = [match[0] for match in islice(matches, MAX_TOKENS)]
        cut = cut or next(matches, None) is not None
    if cut:
        warnings.warn(
            f"a message has more than {MAX_TOKENS:,} tokens: the ELMo reads the first {MAX_TOKENS:,} of them; send it in parts "
            "where the rest matters",
            stacklevel=2,
        )
    return first


def encode_tokens(tokens: Sequence[str], max_characters: int) -> np.ndarray:
    """Char ids of tokens: int32 [tokens, max_characters]; bytes past `max_characters - 2` are cut off."""
    ids = np.full([len(tokens), max_characters], PAD_CHAR, np.int32)
    for row, token in zip(ids, tokens):
        room = max_characters - 2
        data = np.frombuffer(token[:room].encode("utf-8")[:room], np.uint8)
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
