"""Tokens and char ids, worked by hand and on any Unicode. Their copies in the graph are compared in test_export.py."""

import time
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli import characters
from spamcli.attacks import TACTICS, attack
from spamcli.characters import (
    MAX_TOKENS,
    TOKENIZERS,
    as_seen,
    encode_tokens,
    first_tokens,
    in_another_script,
    replace_surrogates,
    sentence_marks,
)
from spamcli.invented import MEASURING
from spamcli.messages import read_messages

# Any code point, surrogates and NUL too, and often the ones that the tokenizers treat in a way of their own.
SPECIAL = "aZ9é'’.!?-_#£€@\t\n\r \x00\x85\xa0\u3000😀\ud83d\ude00"
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from(SPECIAL))


def is_separator(character: str) -> bool:
    """White space or a control character, by Unicode's own account."""
    return unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp")


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("", []),
        (" \t\r\n\x00\u3000", []),
        ("Free entry", ["Free", "entry"]),
        ("WIN £1000!!! Call 09061701461.", ["WIN", "£", "1000", "!!!", "Call", "09061701461", "."]),
        ("don't can’t rock'n'roll", ["don't", "can’t", "rock'n'roll"]),
        ("'tis the boys' l'été", ["'", "tis", "the", "boys", "'", "l", "'", "été"]),
        ("wait... what?! -- ok", ["wait", "...", "what", "?", "!", "--", "ok"]),
        ("<#> &lt; a@b.co", ["<", "#", ">", "&", "lt", ";", "a", "@", "b", ".", "co"]),
        ("((x)) $$ ##__~~**==", ["(", "(", "x", ")", ")", "$", "$", "##", "__", "~~", "**", "=="]),
        ("ok😀😀 ☎now 5€", ["ok", "😀", "😀", "☎", "now", "5", "€"]),
        ("naïve Привет 日本 क्या", ["naïve", "Привет", "日本", "क्या"]),
        ("a\tb\nc\xa0d\x00e\x85f\u2028g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("bad\ud83d pair\ud83d\ude00", ["bad\ufffd", "pair", "😀"]),
    ],
)
def test_punctuation_by_hand(text, tokens):
    assert TOKENIZERS["punctuation"](text) == tokens


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("", []),
        ("   ", []),
        (" two  spaces ", ["two", "spaces"]),
        ("don't stop!!!", ["don't", "stop!!!"]),
        ("tab\tand\nline and\xa0space", ["tab\tand\nline", "and\xa0space"]),
        ("\x00 \t", ["\x00", "\t"]),
        ("bad\ud83d", ["bad\ufffd"]),
    ],
)
def test_space_by_hand(text, tokens):
    assert TOKENIZERS["space"](text) == tokens


@pytest.mark.parametrize(
    "text, valid",
    [
        ("plain £ 😀", "plain £ 😀"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d", "\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83dx\ude00", "\ufffdx\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
    ],
)
def test_lone_surrogates_cost_nothing_but_themselves(text, valid):
    assert replace_surrogates(text) == valid


def test_separators_are_white_space_and_control_characters():
    separators = [c for c in map(chr, range(0x110000)) if not characters.split_punctuation(c)]
    assert separators == [c for c in map(chr, range(0x110000)) if is_separator(c)]


@given(ANY_TEXT)
def test_punctuation_drops_separators_and_nothing_else(text):
    tokens = TOKENIZERS["punctuation"](text)
    assert all(tokens)
    assert "".join(tokens) == "".join(c for c in replace_surrogates(text) if not is_separator(c))


@given(ANY_TEXT)
def test_punctuation_never_joins_what_a_separator_parts(text):
    parts = "".join(" " if is_separator(c) else c for c in replace_surrogates(text)).split(" ")
    assert TOKENIZERS["punctuation"](text) == [token for part in parts for token in TOKENIZERS["punctuation"](part)]


@given(ANY_TEXT)
def test_space_drops_spaces_and_nothing_else(text):
    tokens = TOKENIZERS["space"](text)
    assert all(tokens)
    assert " ".join(tokens) == " ".join(part for part in replace_surrogates(text).split(" ") if part)


def test_char_ids_by_hand():
    begin, end, pad = 259, 260, 261
    expected = [
        [begin, 97 + 1, 98 + 1, end, pad, pad],
        [begin, 0xC2 + 1, 0xA3 + 1, end, pad, pad],
        [begin, end, pad, pad, pad, pad],
        [begin, 0 + 1, end, pad, pad, pad],
        [begin, 97 + 1, 98 + 1, 99 + 1, 100 + 1, end],
        [begin, 97 + 1, 98 + 1, 99 + 1, 0xC2 + 1, end],  # cut in the middle of a character
    ]
    ids = encode_tokens(["ab", "£", "", "\x00", "abcdefg", "abc£"], max_characters=6)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, expected)


def test_no_tokens_have_no_char_ids():
    assert encode_tokens([], 50).shape == (0, 50)


@given(st.lists(ANY_TEXT.map(replace_surrogates), max_size=5), st.integers(3, 24))
def test_char_ids_hold_the_bytes_between_two_marks(tokens, max_characters):
    for token, row in zip(tokens, encode_tokens(tokens, max_characters).tolist()):
        data = token.encode()[: max_characters - 2]
        assert characters.MASK not in row
        assert row[0] == characters.BEGIN_WORD
        assert bytes(i - 1 for i in row[1 : 1 + len(data)]) == data
        assert row[1 + len(data) :] == [characters.END_WORD] + [characters.PAD_CHAR] * (max_characters - 2 - len(data))


def test_sentence_marks_by_hand():
    np.testing.assert_array_equal(sentence_marks(5), [[259, 257, 260, 261, 261], [259, 258, 260, 261, 261]])


def test_no_token_is_a_sentence_mark():
    marks = sentence_marks(4)
    assert marks.max() < characters.NUM_CHAR_IDS
    assert not set(marks[:, 1]) & set(range(characters.FIRST_BYTE, characters.FIRST_BYTE + 256))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_first_tokens_are_read_and_a_warning_says_so(tokenizer, recwarn):
    """At the cap nothing is cut; one token more is. Other messages keep theirs."""
    at_the_cap, beyond = "win " * MAX_TOKENS, "win " * MAX_TOKENS + "prize"
    assert first_tokens([at_the_cap, "", "a b"], tokenizer) == {at_the_cap: ["win"] * MAX_TOKENS, "": [], "a b": ["a", "b"]}
    assert not recwarn
    assert first_tokens([beyond, "a b"], tokenizer) == {beyond: ["win"] * MAX_TOKENS, "a b": ["a", "b"]}
    first_tokens([beyond] * 3, tokenizer)
    assert len({str(warning.message) for warning in recwarn}) == 1 and len(recwarn) == 2  # one a call, in the same words
    assert "first 2,048" in str(recwarn[0].message)


@given(st.lists(ANY_TEXT, max_size=4), st.sampled_from(list(TOKENIZERS)), st.integers(0, 5))
def test_first_tokens_are_the_tokenizers(texts, tokenizer, cap):
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        patch.setattr(characters, "MAX_TOKENS", cap)
        first = first_tokens(texts, tokenizer)
    assert first == {text: TOKENIZERS[tokenizer](as_seen(text))[:cap] for text in texts}
    assert bool(seen) == any(len(TOKENIZERS[tokenizer](as_seen(text))) > cap for text in texts)


def test_as_seen():
    """Family, flag and heart lose the joiners and selectors that no one sees; accents stay, and letters of any script."""
    assert as_seen("f\x01re\x7fe\u3164pri\ufffaze\u2800now \u202edrawkcab\u202c!") == "free prize now backward!"
    assert as_seen("a \u202ecb\nd") == "a bc\nd"
    assert as_seen("fr\u200bee \ufeffpri\u00adze\u2060\u202e!") == "free prize!"
    assert (
        as_seen("\U0001f468\u200d\U0001f469 \u2764\ufe0f \U0001f3f4\U000e0067\U000e007f")
        == "\U0001f468\U0001f469 \u2764 \U0001f3f4"
    )
    for text in ("plain \t\r\n\x0b\x85", "café cafe\u0301", "привет 你好 שלום", "£5 \u20ac \u2026", ""):
        assert as_seen(text) == text
    assert as_seen("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"


def test_of_all_characters_no_letter_or_mark_that_is_seen_is_left_out():
    """Of Unicode's formatting characters those stay that Arabic, Syriac, Kaithi and Egyptian writing and annotations show."""
    everything = {chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000}
    left = set(as_seen("".join(sorted(everything))))
    gone = {character: unicodedata.category(character) for character in everything - left}
    assert {character for character, kind in gone.items() if kind in ("Lo", "So")} == set("\u115f\u1160\u2800\u3164\uffa0")
    kinds = list(gone.values())
    assert set(kinds) <= {"Cc", "Cf", "Mn", "Cn", "Lo", "So"} and kinds.count("Mn") < 300 and kinds.count("Cc") == 24
    formatting = {ord(character) for character in left if unicodedata.category(character) == "Cf"}
    shown = {
        0x6DD,
        0x70F,
        0x890,
        0x891,
        0x8E2,
        0x110BD,
        0x110CD,
        *range(0x600, 0x606),
        *range(0xFFF9, 0xFFFC),
        *range(0x13430, 0x13460),
    }
    assert formatting <= shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("엄마 나 오늘 늦어요", True),
        ("您的OTP是482913，请勿告诉他人", True),
        ("今日カラオケ行こう OK?", True),
        ("Код 482913. Никому его не сообщайте", True),
        ("Γεια σου, πού είσαι;", True),
        ("कल मिलते हैं", True),
        ("", False),
        ("482913 !!! 😀", False),
        ("Your code is 482913. 감사합니다", False),
        ("Über die Straße, s'il vous plaît, Łódź", False),
        ("Yоu hаvе wоn а рrizе", False),  # Cyrillic letters among Latin ones
        ("ωιηηєя", False),  # Greek ones and Cyrillic
        ("𝗙𝗥𝗘𝗘 ｆｒｅｅ ᴀʙᴄ ⓕⓡⓔⓔ", False),
        ("卂乃匚ᗪ乇千Ꮆ卄 ค๒ς๔єŦﻮђ ᖴᖇEE", False),  # drawn letters of several scripts
        ("yօu hаve wոn", False),  # Armenian ones among Latin ones
        ("hello" + "\u3164" * 9, False),  # fillers are blank
        ("hello friends \ufdfa", False),  # one letter, though it stands for fifteen
        ("\ud840\udc00" * 3, True),
    ],
)
def test_what_is_in_another_script(text, expected):
    assert in_another_script(text) == expected


@pytest.mark.parametrize("tactic", [tactic for tactic in TACTICS if tactic != "padding"])
def test_what_only_looks_like_another_script_is_not(tactic):
    """Or whoever rewrites much of a scam would have it held for a foreign message. (Whole words of look-alikes would pass.)"""
    frame = read_messages(MEASURING).frame
    spam = frame["text"][frame["label"] == 1].tolist()
    for share in (0.2, 0.5, 0.8, 1.0):
        rewritten = [part for parts in attack(spam, tactic, share, seed=1) for part in parts]
        assert np.mean([in_another_script(text) for text in rewritten]) < 0.005


@given(st.text())
def test_a_script_is_that_of_what_is_seen(text):
    assert in_another_script(text) == in_another_script(as_seen(text))


@pytest.mark.parametrize("text", ["가" + "\u0301\u0323" * 200_000, "\ufdfa" * 400_000, "я" * 400_000, "я a " * 100_000])
def test_the_script_of_a_long_text_takes_no_long(text):
    start = time.perf_counter()
    in_another_script(text)
    assert time.perf_counter() - start < 3
