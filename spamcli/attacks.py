"""Evasion: messages rewritten as spammers rewrite them to get past a filter, and as people do who mean no harm.

A tactic lists the edits that it could make to a message, and a seeded choice of them covers the share that is asked for.
A person can still read the result.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from random import Random
from string import ascii_letters
from typing import NamedTuple

from confusable_homoglyphs.confusables import is_confusable

SHARES = (0.1, 0.2, 0.3)


def _both_cases(table: dict[str, str]) -> dict[str, str]:
    return table | {letter.upper(): looks.upper() for letter, looks in table.items()}


# Confusables that phones show and people read: ASCII, Greek, Cyrillic, and sans-serif mathematical letters, without which
# k, n and t would have none. Left out are rare scripts, signs, digits and phonetic letters.
_READABLE = re.compile("[A-Za-z\u0386-\u052f\U0001d5a0-\U0001d5d3]+")
LOOK_ALIKES = {
    letter: sorted(h["c"] for h in is_confusable(letter, greedy=True)[0]["homoglyphs"] if _READABLE.fullmatch(h["c"]))
    for letter in ascii_letters
}
LEET = _both_cases({"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1", "o": "0", "s": "5$", "t": "7", "z": "2"})
ACCENTS = _both_cases(
    {"a": "àáâä", "c": "ç", "e": "èéêë", "i": "ìíîï", "n": "ñ", "o": "òóôö", "s": "š", "u": "ùúûü", "y": "ýÿ", "z": "ž"}
)
FULL_WIDTH = {ord(letter): ord(letter) + 0xFEE0 for letter in ascii_letters}
ZERO_WIDTH = "\u200b\u200c\u200d\u2060"  # space, non-joiner, joiner, word joiner
PUNCTUATION = ".-_*"
EMOJI = " 😀| 😂| 😊| 😍| 😘| 😉| 👍| 🙏| 🎉| 🔥".split("|")
DIGITS = "zero one two three four five six seven eight nine".split()

_LETTER = r"[^\W\d_]"
_WORD = rf"{_LETTER}+"
_INNER = rf"(?<={_LETTER}){_LETTER}(?={_LETTER})"  # neither the first of its word nor the last
_INNER_PAIR = rf"(?<={_LETTER}){_LETTER}{{2}}(?={_LETTER})"
_INSIDE_WORD = rf"(?<={_LETTER})(?={_LETTER})"
_WORD_END = r"(?<=\S)(?!\S)"
_NUMBER_OR_LINK = (
    r"(?i)(?P<link>(?:https?://|(?<!\w)www\.)\S*\w"
    r"|(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:biz|co|com|info|net|org|tv|uk)\b(?:/\S*\w)?)"
    r"|[0-9]+(?:[.,][0-9]+)+|(?P<short>(?<!\w)[0-9]{1,2}(?!\w))|[0-9]{2,}"
)
UNITS: dict[str, Callable[[str], int]] = {
    "characters": len,
    "letters": lambda text: len(re.findall(_LETTER, text)),
    "inner letters": lambda text: len(re.findall(_INNER, text)),
    "words": lambda text: len(text.split()),
}


class Edit(NamedTuple):
    """The characters from `start` to `end` become `new`; where that is None, the message is cut in two."""

    start: int
    end: int
    new: str | None
    size: int = 1  # what it takes of the share, in the unit of the tactic


class Tactic(NamedTuple):
    """One way to rewrite a message. Unit and `what` tell what the share is the share of: "letters that get an accent"."""

    unit: str  # a key of UNITS
    what: str
    edits: Callable[..., list[Edit]]  # message and generator -> all that could be done, no two at the same characters


def attack(texts: Sequence[str], tactic: str, share: float, seed: int, ham_words: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Rewrite messages by one tactic: each becomes one message, or its two parts where the tactic is splitting.

    Parts are judged one by one, and the message counts as caught (ham: as blocked) when any of them is. A result depends
    on the message and the arguments, not on the other messages. The share is met to within half an edit where
    the message allows it, and at least one edit is made if any can be; else the message comes back unchanged.

    Args:
        tactic: a key of TACTICS.
        share: 0 (nothing) to 1 (all that the tactic can change).
        ham_words: what padding draws from, words of ham outside the training rows.
    Raises: ValueError, for an unknown tactic, a share out of range, or padding without words.
    """
    if tactic not in TACTICS:
        raise ValueError(f"the tactics are {', '.join(TACTICS)}. Received: {tactic!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"the share must be between 0 and 1. Received: {share!r}")
    edits, count = TACTICS[tactic].edits, UNITS[TACTICS[tactic].unit]
    if tactic == "padding":
        if not ham_words:
            raise ValueError(f"padding needs ham words to draw from. Received: {ham_words!r}")
        edits = partial(edits, ham_words=ham_words)
    results = []
    for text in texts:
        random = Random(hashlib.sha256(f"{seed}\0{tactic}\0{text}".encode("utf-8", "surrogatepass")).digest())
        results.append(_apply(text, _choose(edits(text, random), share * count(text), random)))
    return results


def _choose(edits: list[Edit], missing: float, random: Random) -> list[Edit]:
    """In random order, each edit that brings the share nearer, or else the smallest one; sorted by place."""
    if not edits or not missing:
        return []
    random.shuffle(edits)
    chosen = []
    for edit in edits:
        if edit.size < 2 * missing:
            chosen.append(edit)
            missing -= edit.size
    return sorted(chosen or [min(edits, key=lambda edit: edit.size)], key=lambda edit: edit.start)


def _apply(text: str, edits: list[Edit]) -> tuple[str, ...]:
    pieces, position = [], 0
    for start, end, new, _ in edits:
        pieces += [text[position:start], new]
        position = end
    pieces.append(text[position:])
    return (pieces[0], pieces[2]) if None in pieces else ("".join(pieces),)


def _each(pattern: str, new: Callable[[re.Match, Random], str]) -> Callable[..., list[Edit]]:
    """Edits of all that a pattern finds; the size of one is the length of what it replaces, or 1 for an insertion."""

    def edits(text: str, random: Random) -> list[Edit]:
        found = [Edit(*match.span(), new(match, random), len(match[0]) or 1) for match in re.finditer(pattern, text)]
        return [edit for edit in found if edit.new != text[edit.start : edit.end]]

    return edits


def _replace(table: dict[str, Sequence[str]]) -> Callable[..., list[Edit]]:
    return _each(f"[{''.join(table)}]", lambda letter, random: random.choice(table[letter[0]]))


def _insert(marks: Sequence[str], place: str) -> Callable[..., list[Edit]]:
    return _each(place, lambda _, random: random.choice(marks))


def _pad(text: str, random: Random, ham_words: Sequence[str]) -> list[Edit]:
    edits, place, missing, own = [], random.choice([0, len(text)]), len(text), set(text.split())
    ham_words = [word for word in ham_words if word not in own] or ham_words
    while missing > 0:
        word = random.choice(ham_words)
        edits.append(Edit(place, place, f" {word}" if place else f"{word} ", len(word) + 1))
        missing -= len(word) + 1
    return edits


def _split(text: str, random: Random) -> list[Edit]:
    gaps = [(left.end(), right.start()) for left, right in pairwise(re.finditer(r"\S+", text))]
    return [Edit(*min(gaps, key=lambda gap: abs(sum(gap) - len(text))), None)] if gaps else []


def _number_or_link(found: re.Match, random: Random) -> str:
    old = found[0]
    if found["link"]:
        forms = [old.replace(".", dot) for dot in (" dot ", "(.)", "[.]")] + [re.sub("(?i)^http", "hxxp", old)]
    else:
        forms = [" ".join(old), old.replace("0", "O")]
        if found["short"]:
            forms.append(" ".join(DIGITS[int(digit)] for digit in old))
        elif old.isdigit() and len(old) > 3:
            forms += [re.sub("^0", "(0)", old), f"{old[:-3]} {old[-3:]}", "-".join(re.findall(".{1,4}", old))]
    return random.choice([form for form in forms if form != old])


TACTICS = {
    "look-alikes": Tactic("letters", "replaced by Unicode confusables", _replace(LOOK_ALIKES)),
    "leetspeak": Tactic("letters", "replaced by digits and signs", _replace(LEET)),
    "spacing": Tactic("letters", "in words that are spaced out", _each(_WORD, lambda word, _: " ".join(word[0]))),
    "swaps": Tactic("inner letters", "that change places", _each(_INNER_PAIR, lambda pair, _: pair[0][::-1])),
    "drops": Tactic("inner letters", "left out, no two in a row", _each(_INNER, lambda x, _: x[0] * (x.start() % 2))),
    "zero-width": Tactic("letters", "with a zero-width character in front", _insert(ZERO_WIDTH, _INSIDE_WORD)),
    "punctuation": Tactic("letters", "with a punctuation mark in front", _insert(PUNCTUATION, _INSIDE_WORD)),
    "numbers and links": Tactic("characters", "in whole ones rewritten", _each(_NUMBER_OR_LINK, _number_or_link)),
    "padding": Tactic("characters", "added in ham words, before or behind", _pad),
    "splitting": Tactic("characters", "whatever the share: cut in two between words, nearest to the middle", _split),
    # People do these without meaning to evade.
    "accents": Tactic("letters", "that get an accent", _replace(ACCENTS)),
    "emoji": Tactic("words", "followed by an emoji", _insert(EMOJI, _WORD_END)),
    "full-width": Tactic("letters", "in full-width words", _each(_WORD, lambda word, _: word[0].translate(FULL_WIDTH))),
}
