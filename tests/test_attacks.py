"""Evasion: a person can still read what a tactic makes of a message, and it covers the share that is asked for."""

import re
import time
import unicodedata

import hypothesis
import pytest
from hypothesis import strategies as st

from spamcli import attacks
from spamcli.attacks import LOOK_ALIKES, SHARES, TACTICS, UNITS, attack

HAM = ["ok", "later", "home", "mum", "dinner"]
MESSAGE = "Free prize of £1000! Txt WIN to 80870 now, see www.dbuk.net"
# Long enough for every share of every tactic; each number occurs once, and no m, whose look-alike is two letters.
LONG = " ".join(
    f"URGENT! You have won a {week} week FREE stay, a prize of £{week}00,000. Txt the word CLAI to {81000 + week} or call "
    f"{9061701460 + week}, a friend told us. See www.dbuk{week}.net/prizes or http://{week}.site.co.uk now, T&C apply."
    for week in range(31, 51)
)
SPECIAL = "aZkIm9é'.!-_#£€@\t\n\r \x00\xa0\u3000\u200b😀\ud83d\ude00\u0301אבक्Ａ"
ANY_TEXT = st.lists(st.characters(exclude_categories=()) | st.sampled_from(SPECIAL) | st.sampled_from(MESSAGE)).map("".join)
NUMBERS = st.from_regex("[0-9]{1,12}|[0-9]{1,3}[.,][0-9]{2,3}", fullmatch=True)
LINKS = st.from_regex(
    "(https?://|www\\.|HTTP://)[a-z0-9-]{1,9}\\.(com|net/[a-z]{1,3}|co\\.uk)|[a-z0-9]{1,9}\\.com", fullmatch=True
)
ANY_SHARE = st.sampled_from(SHARES) | st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
OTHERS = [tactic for tactic in TACTICS if tactic != "splitting"]


def given(*values, **named):
    """Hypothesis's, however busy the machine is."""
    return lambda test: hypothesis.settings(deadline=None)(hypothesis.given(*values, **named)(test))


def one(text: str, tactic: str, share: float = 0.3, seed: int = 1) -> str:
    """The one message that a tactic makes of a message."""
    (parts,) = attack([text], tactic, share, seed, HAM)
    (result,) = parts
    return result


def without(marks: str, text: str) -> str:
    return text.translate(dict.fromkeys(map(ord, marks)))


def words(text: str) -> list[str]:
    """Runs of letters."""
    return re.findall(r"[^\W\d_]+", text)


def between_words(text: str) -> list[str]:
    return re.split(r"[^\W\d_]+", text)


# Every tactic


def test_the_tactics():
    assert list(TACTICS) == [
        *("look-alikes", "leetspeak", "spacing", "swaps", "drops", "zero-width", "punctuation", "numbers and links"),
        *("padding", "splitting", "accents", "emoji", "full-width"),
    ]
    assert all(tactic.unit in UNITS and tactic.what for tactic in TACTICS.values())


@pytest.mark.parametrize("tactic", TACTICS)
@given(text=ANY_TEXT, share=ANY_SHARE, seed=SEEDS)
def test_any_message_becomes_a_message(tactic, text, share, seed):
    (parts,) = attack([text], tactic, share, seed, HAM)
    assert len(parts) in ((1, 2) if tactic == "splitting" else (1,))
    assert all(parts) or parts == (text,) == ("",)


@pytest.mark.parametrize("tactic", TACTICS)
@given(texts=st.lists(ANY_TEXT, max_size=6), share=ANY_SHARE, seed=SEEDS)
def test_a_message_does_not_see_the_others(tactic, texts, share, seed):
    alone = [attack([text], tactic, share, seed, HAM)[0] for text in texts]
    assert attack(texts, tactic, share, seed, HAM) == alone
    assert attack(texts[::-1], tactic, share, seed, HAM) == alone[::-1]


@pytest.mark.parametrize(
    "tactic, expected",
    [
        ("look-alikes", ("Freе 𝗉rize of £1000! Τхt WIN to 80870 now, 𝗌𝖾e ww𝗐.dbuk.net",)),
        ("leetspeak", ("Fr33 priz3 0f £1000! 7xt WIN 7o 80870 now, s3e www.dbuk.net",)),
        ("spacing", ("F r e e prize of £1000! Txt WIN to 80870 now, see www.dbuk.n e t",)),
        ("swaps", ("Free pirze of £1000! Txt WIN to 80870 now, see www.dbuk.net",)),
        ("drops", ("Free pize of £1000! Tt WIN to 80870 now, se www.dbuk.net",)),
        (
            "zero-width",
            ("Fre\u2060e prize of £1000! Txt WIN t\u200co 80870 no\u200dw, see w\u200cww.d\u2060b\u2060uk.ne\u200ct",),
        ),
        ("punctuation", ("Free p*rize of £1000! Tx*t W_IN to 80870 now, se*e w_ww.dbu*k.ne_t",)),
        ("numbers and links", ("Free prize of £1 000! Txt WIN to 80 870 now, see www.dbuk.net",)),
        ("padding", ("ok dinner ok Free prize of £1000! Txt WIN to 80870 now, see www.dbuk.net",)),
        ("splitting", ("Free prize of £1000! Txt WIN", "to 80870 now, see www.dbuk.net")),
        ("accents", ("Free prize of £1000! Txt WÎÑ to 80870 ñôw, sëé www.dbuk.nét",)),
        ("emoji", ("Free 😍 prize of £1000! Txt 🔥 WIN to 80870 now, see www.dbuk.net",)),
        ("full-width", ("Free prize of £1000! Ｔｘｔ WIN to 80870 now, ｓｅｅ www.dbuk.net",)),
    ],
)
def test_a_seed_gives_the_same_on_every_machine(tactic, expected):
    assert attack([MESSAGE], tactic, 0.2, 1, HAM) == [expected]


@pytest.mark.parametrize("tactic", OTHERS)
def test_another_seed_gives_another_message(tactic):
    assert one(LONG, tactic, seed=1) == one(LONG, tactic, seed=1) != one(LONG, tactic, seed=2)


@pytest.mark.parametrize("tactic", TACTICS)
def test_a_share_of_nothing_changes_nothing(tactic):
    assert attack([MESSAGE], tactic, 0, 1, HAM) == [(MESSAGE,)]


@pytest.mark.parametrize("tactic", TACTICS)
@pytest.mark.parametrize("share", [0.001, *SHARES])
def test_no_share_is_too_small_for_an_edit(tactic, share):
    assert attack([MESSAGE], tactic, share, 1, HAM) != [(MESSAGE,)]


@pytest.mark.parametrize(
    "tactic, text",
    [
        *((tactic, "") for tactic in TACTICS),
        *((tactic, "?! \ud83d") for tactic in TACTICS if tactic not in ("padding", "emoji", "splitting")),
        ("look-alikes", "9 £ é"),
        ("leetspeak", "Why DUCK?"),
        ("spacing", "a 1 b"),
        ("swaps", "all you need"),  # no inner letters that differ, side by side
        ("drops", "so we go"),
        ("zero-width", "I 2 U"),
        ("punctuation", "I 2 U"),
        ("numbers and links", "B4u... awww.cute, Ok...come"),
        ("splitting", " Hello! "),
        ("accents", "TXT 2 \u0301 é"),
        ("emoji", " \n"),
        ("full-width", "1 é ж"),
    ],
)
def test_where_nothing_can_be_changed_nothing_is(tactic, text):
    assert attack([text], tactic, 1, 1, HAM) == [(text,)]


@pytest.mark.parametrize("tactic", TACTICS)
@pytest.mark.parametrize("text", [LONG * 20, "a" * 20000 + "1" * 20000 + "a.1" * 7000 + " " * 20000 + "www.!" * 5000])
def test_100_kb_take_less_than_a_second(tactic, text):
    start = time.process_time()
    attack([text], tactic, 0.3, 1, HAM)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("l33t", 0.1, 1), "the tactics are look-alikes, leetspeak, .* Received: 'l33t'"),
        (("drops", 1.1, 1), "between 0 and 1. Received: 1.1"),
        (("drops", -0.1, 1), "between 0 and 1"),
        (("drops", float("nan"), 1), "between 0 and 1"),
        (("padding", 0.1, 1), "padding needs ham words"),
    ],
)
def test_what_cannot_be_asked_for(arguments, message):
    with pytest.raises(ValueError, match=message):
        attack(["text"], *arguments)


# The share


def single_letters(text: str) -> int:
    return sum(len(word) == 1 for word in words(text))


def different(old: str, new: str) -> int:
    return sum(a != b for a, b in zip(old, new, strict=True))


def longer(old: str, new: str) -> int:
    return len(new) - len(old)


def rewritten(old: str, new: str) -> int:
    """Characters in numbers and links that are gone."""
    found = re.findall(r"https?://[\w.]+|www[\w./]+|\d[\d,]*\d", old)
    kept = re.split(r"[^\w.,/:]+", new)
    return sum(len(f) for f in found if f not in [k.strip(".,") for k in kept])


COVERED = {
    "look-alikes": different,
    "leetspeak": different,
    "spacing": lambda old, new: single_letters(new) - single_letters(old),
    "swaps": different,
    "drops": lambda old, new: longer(new, old),
    "zero-width": longer,
    "punctuation": longer,
    "numbers and links": rewritten,
    "padding": longer,
    "accents": different,
    "emoji": lambda old, new: longer(old, new) / 2,
    "full-width": different,
}
LONGEST_EDIT = {"spacing": 7, "swaps": 2, "numbers and links": 24, "padding": 7, "full-width": 7}


@pytest.mark.parametrize("tactic", COVERED)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_share_is_met_to_half_an_edit(tactic, share, seed):
    asked = share * UNITS[TACTICS[tactic].unit](LONG)
    assert abs(COVERED[tactic](LONG, one(LONG, tactic, share, seed)) - asked) <= LONGEST_EDIT.get(tactic, 1) / 2 + 1e-6


@pytest.mark.parametrize("share, spaced_words", [(0.01, 1), (0.29, 1), (0.31, 2), (0.49, 2), (0.51, 3), (1, 5)])
def test_whole_words_come_as_near_to_the_share_as_they_can(share, spaced_words):
    assert one("five word text will pass", "spacing", share).count(" ") == 4 + 3 * spaced_words


def test_units_by_hand():
    text = "Txt WIN to 80870, it's 3éme!"
    assert {unit: count(text) for unit, count in UNITS.items()} == {
        "characters": 28,
        "letters": 14,
        "inner letters": 3,
        "words": 6,
    }


@pytest.mark.parametrize("tactic", ["leetspeak", "accents", "look-alikes", "swaps"])
def test_a_larger_share_changes_the_same_letters_and_more(tactic):
    some, more = one(LONG, tactic, 0.1), one(LONG, tactic, 0.3)
    assert all(b in (a, c) for a, b, c in zip(LONG, some, more, strict=True))


# A person can still read it


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_look_alikes_read_as_their_letters_give_the_message(text, share, seed):
    read = {ord(look): letter for letter, looks in LOOK_ALIKES.items() for look in looks if not look.isascii()}
    read |= {ord("I"): "l", ord("m"): "rn"}
    read |= {look: read.get(ord(letter), letter) for look, letter in read.items() if len(letter) == 1}
    assert one(text, "look-alikes", share, seed).translate(read) == text.translate(read)


@pytest.mark.parametrize("letter", LOOK_ALIKES)
def test_look_alikes_are_letters_that_phones_show(letter):
    looks = LOOK_ALIKES[letter]
    assert looks == sorted(set(looks)) and letter not in looks and looks
    for look in looks:
        script = "LATIN|GREEK|CYRILLIC|MATHEMATICAL SANS-SERIF (CAPITAL|SMALL)"
        assert look == "rn" or (look.isalpha() and re.match(script, unicodedata.name(look)))


def test_no_look_alike_stands_for_two_letters():
    looks = [look for looks in LOOK_ALIKES.values() for look in looks]
    assert len(set(looks)) == len(looks) and {"а", "о", "е", "р", "с", "Α", "Ѕ"} < set(looks)


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_leetspeak_and_accents_change_letters_one_for_one(text, share, seed):
    for tactic, table in (("leetspeak", attacks.LEET), ("accents", attacks.ACCENTS)):
        result = one(text, tactic, share, seed)
        assert all(new == old or new in table[old] for old, new in zip(text, result, strict=True))


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_accents_taken_off_give_the_message(text, share, seed):
    def plain(text):
        return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")

    assert plain(one(text, "accents", share, seed)) == plain(text)


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_full_width_words_are_the_words(text, share, seed):
    result = one(text, "full-width", share, seed)
    assert unicodedata.normalize("NFKC", result) == unicodedata.normalize("NFKC", text)
    assert all(new in (old, old.translate(attacks.FULL_WIDTH)) for old, new in zip(words(text), words(result), strict=True))


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_spacing_spells_whole_words(text, share, seed):
    result = one(text, "spacing", share, seed)
    spelt = (f"(?:{re.escape(word)}|{re.escape(' '.join(word))})" for word in [*words(text), ""])
    pattern = "".join(re.escape(gap) + word for gap, word in zip(between_words(text), spelt, strict=True))
    assert re.fullmatch(pattern, result)


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_swaps_keep_the_letters_of_a_word_and_its_ends(text, share, seed):
    result = one(text, "swaps", share, seed)
    assert between_words(result) == between_words(text)
    for old, new in zip(words(text), words(result), strict=True):
        assert sorted(new) == sorted(old) and (new[0], new[-1]) == (old[0], old[-1])


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_drops_keep_the_ends_of_a_word_and_one_letter_of_two(text, share, seed):
    result = one(text, "drops", share, seed)
    assert between_words(result) == between_words(text)
    for old, new in zip(words(text), words(result), strict=True):
        read = {(0, True)}  # letters of `new` found so far, and whether one must be found next
        for letter in old:
            found = {(place + 1, False) for place, _ in read if new[place : place + 1] == letter}
            read = found | {(place, True) for place, must in read if not must}
        assert (len(new), False) in read


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_zero_width_characters_taken_out_give_the_message(text, share, seed):
    text = without(attacks.ZERO_WIDTH, text)
    assert without(attacks.ZERO_WIDTH, one(text, "zero-width", share, seed)) == text


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_punctuation_between_letters_taken_out_gives_the_message(text, share, seed):
    text = without(attacks.PUNCTUATION, text)
    assert re.sub(r"(?<=[^\W\d_])[.\-_*](?=[^\W\d_])", "", one(text, "punctuation", share, seed)) == text


@given(ANY_TEXT, ANY_SHARE, SEEDS)
def test_emoji_behind_words_taken_out_give_the_message(text, share, seed):
    text = without("".join(attacks.EMOJI).replace(" ", ""), text)
    result = one(text, "emoji", share, seed)
    assert re.sub(r"(?<=\S) [😀😂😊😍😘😉👍🙏🎉🔥](?!\S)", "", result) == text


@given(st.lists(NUMBERS | LINKS | st.sampled_from("Win £ Txt (call) or 4u 150p".split())).map(" ".join), ANY_SHARE, SEEDS)
def test_numbers_and_links_read_aloud_give_the_message(text, share, seed):
    def read(text):
        for number, word in enumerate(attacks.DIGITS):
            text = re.sub(rf"\b{word}\b", str(number), text)
        text = re.sub(r" dot |\(\.\)|\[\.\]", ".", text).lower().replace("hxxp", "http").replace("o", "0")
        return without(" ()-", text)

    assert read(one(text, "numbers and links", share, seed)) == read(text)


@pytest.mark.parametrize(
    "text, forms",
    [
        ("4", {"four"}),
        ("10p", {"1 0p", "1Op"}),
        ("£1.50", {"£1 . 5 0", "£1.5O"}),
        ("£1000", {"£1OOO", "£1 000", "£1 0 0 0"}),
        ("09061", {"O9O61", "0 9 0 6 1", "(0)9061", "09 061", "0906-1"}),
        ("a.co.uk.", {"a dot co dot uk.", "a(.)co(.)uk.", "a[.]co[.]uk."}),
        ("at Http://x.tv/1?", {"at hxxp://x.tv/1?", "at Http://x dot tv/1?", "at Http://x(.)tv/1?", "at Http://x[.]tv/1?"}),
        ("a.tv/b-c).", {"a dot tv/b-c).", "a(.)tv/b-c).", "a[.]tv/b-c)."}),
        ("me@x.com", {"me@x dot com", "me@x(.)com", "me@x[.]com"}),
    ],
)
def test_every_way_to_write_a_number_or_a_link(text, forms):
    assert {one(text, "numbers and links", 1, seed) for seed in range(100)} == forms


@given(ANY_TEXT.filter(bool), ANY_SHARE.filter(bool), SEEDS)
def test_padding_leaves_the_message_whole(text, share, seed):
    result = one(text, "padding", share, seed)
    assert result.startswith(f"{text} ") or result.endswith(f" {text}")
    padding = result.removeprefix(f"{text} ") if result.startswith(f"{text} ") else result.removesuffix(f" {text}")
    assert set(padding.split(" ")) <= set(HAM)


def test_padding_comes_before_some_messages_and_behind_others():
    assert {one("Win now", "padding", seed=seed).startswith("Win now") for seed in range(20)} == {True, False}


@given(ANY_TEXT, ANY_SHARE.filter(bool), SEEDS)
def test_splitting_cuts_between_words_nearest_to_the_middle(text, share, seed):
    (parts,) = attack([text], "splitting", share, seed)
    distances = {
        (text[: gap.start()], text[gap.end() :]): abs(gap.start() + gap.end() - len(text))
        for gap in re.finditer(r"(?<=\S)\s+(?=\S)", text)
    }
    if distances:
        assert distances[parts] == min(distances.values())
    else:
        assert parts == (text,)


def test_the_middle_of_a_message_may_be_white_space():
    assert attack(["a         b c", "a b         c"], "splitting", 0.1, 1) == [("a", "b c"), ("a b", "c")]
