"""Misspelt words: still one word, by each kind of slip, and readable to us."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.bilm.spelling import LOOK_ALIKES, disguise, misspell
from spamcli.characters import split_punctuation

LETTERS = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1, max_size=12)
SEEDS = st.integers(0, 2**32)


def all_of(word: str, times: int = 2000) -> set[str]:
    """What becomes of a word."""
    random = np.random.default_rng(0)
    return {misspell(word, random) for _ in range(times)}


@given(LETTERS, SEEDS)
def test_a_word_stays_one_token(word, seed):
    """Of the tokenizer whose token it was; and it never vanishes."""
    if split_punctuation(word) == [word]:
        spelt = misspell(word, np.random.default_rng(seed))
        assert isinstance(spelt, str) and spelt
        assert split_punctuation(spelt) == [spelt]


@given(st.text(max_size=12), SEEDS)
def test_any_token_becomes_a_token_of_about_its_length(token, seed):
    spelt = misspell(token, np.random.default_rng(seed))
    assert abs(len(spelt) - len(token)) <= 1
    assert bool(spelt) == bool(token)


@given(st.one_of(st.text(max_size=2), st.text(st.characters(exclude_categories=["L"]), max_size=12)), SEEDS)
def test_short_tokens_and_those_without_letters_stay(token, seed):
    assert misspell(token, np.random.default_rng(seed)) == token


def test_every_slip_of_a_word_occurs_and_no_other():
    """By hand, for a word of three letters; the last one stays, but for a swap. `c` alone of them has look-alikes."""
    swapped, lost, doubled = {"kcq", "cqk"}, {"kq", "cq"}, {"cckq", "ckkq"}
    wrong = {f"{letter}kq" for letter in map(chr, range(97, 123))} | {f"c{letter}q" for letter in map(chr, range(97, 123))}
    disguised = {f"{c}kq" for c in LOOK_ALIKES["c"]}
    assert all_of("ckq") == swapped | lost | doubled | wrong | disguised | {"ckq"}


def test_each_kind_of_slip_is_a_fifth():
    """A word of which all letters have look-alikes, so that most disguises show; each kind has its own look."""
    random = np.random.default_rng(1)
    drawn = [misspell("besoluta", random) for _ in range(5000)]
    lost, doubled = (sum(len(word) == length for word in drawn) / 5000 for length in (7, 9))
    swapped = sum(sorted(word) == sorted("besoluta") for word in drawn) / 5000
    disguised = sum(not re.fullmatch("[a-z]*", word) for word in drawn) / 5000
    assert lost == pytest.approx(0.2, abs=0.02) and doubled == pytest.approx(0.2, abs=0.02)
    assert swapped == pytest.approx(0.2 + 0.2 / 26, abs=0.02)  # a wrong letter is right by chance
    assert 0.17 < disguised < 0.21


def test_disguise_gives_what_senders_write():
    random = np.random.default_rng(0)
    assert {"acc0unt", "4ccount", "aççount"} <= {disguise("account", random) for _ in range(20_000)}


def test_disguise_replaces_a_third_to_all():
    random = np.random.default_rng(0)
    shares = [sum(map(str.isdigit, disguise("b" * 300, random))) / 300 for _ in range(1000)]
    assert 0.2 < min(shares) < 0.4 and 0.95 < max(shares) <= 1
    assert abs(np.mean(shares) - 2 / 3) < 0.03


@given(st.text(max_size=20), SEEDS)
def test_disguise_replaces_each_letter_by_its_look_alike_alone(token, seed):
    spelt = disguise(token, np.random.default_rng(seed))
    assert len(spelt) == len(token)
    for ours, theirs in zip(spelt, token):
        assert ours == theirs or ours in LOOK_ALIKES[theirs.lower()]


@pytest.mark.parametrize("letter", LOOK_ALIKES)
def test_a_look_alike_is_another_character_that_looks_like_it(letter):
    """A digit, the letter with an accent, or a Cyrillic letter; one token with it, and not twice in the list."""
    looks = LOOK_ALIKES[letter]
    assert letter not in looks and len(set(looks)) == len(looks)
    for other in looks:
        plain = unicodedata.normalize("NFD", other)[0]
        assert re.match("CYRILLIC SMALL LETTER", unicodedata.name(other)) or plain == letter or other.isdigit()
        assert split_punctuation(f"a{other}a") == [f"a{other}a"]


def test_a_seed_gives_the_same_slips():
    drawn = [[misspell("account", np.random.default_rng([seed, k])) for k in range(20)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
