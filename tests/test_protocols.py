"""How messages are split: sizes on the real collection, and near copies against a plain reference by Python's sets."""

import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcli.errors import DataError
from spamcli.messages import Messages, read_messages
from spamcli.protocols import (
    NEAR_COPY,
    default_protocol,
    distinct,
    near_copy_groups,
    normalise,
    split,
    validation_split,
)

WORDS = ["a", "b", "c", "ab", "12", "34", "hello", "hallo", "prize", "PRIZE", "prizes", "0800123", "ü", "!"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), min_size=1, max_size=12)


def grams(text: str) -> set[str]:
    """What `char_wb` makes: each word between two spaces, cut into four; a shorter word is one piece."""
    masked = "".join("0" if character.isdigit() else character for character in text.lower())
    words = [f" {word} " for word in masked.split()]
    return {word[start : start + 4] for word in words for start in range(max(1, len(word) - 3))}


def near(first: set[str], second: set[str]) -> bool:
    return bool(first and second) and len(first & second) / len(first | second) >= 0.6


def same_group(groups) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]}


def plain_groups(texts: list[str]) -> list[int]:
    """Near copies joined by hand: each pair gives the later one's whole group the earlier one's number."""
    pieces, groups = [grams(text) for text in texts], list(range(len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        equal = normalise(texts[i]) == normalise(texts[j]) != ""
        if equal or near(pieces[i], pieces[j]):
            groups = [groups[i] if group == groups[j] else group for group in groups]
    return groups


def word(n: int) -> str:
    """aaa, aab and so on: no two of them share a 4-gram."""
    return "".join(chr(ord("a") + n // 26**place % 26) for place in (2, 1, 0))


def invented(spam: int = 12, ham: int = 48, form: str = "csv") -> Messages:
    """Messages without near copies; every fourth is there twice, but for capitals and punctuation."""
    texts, labels = [word(n) for n in range(spam + ham)], [1] * spam + [0] * ham
    texts, labels = texts + [f"{text.title()}!" for text in texts[::4]], labels + labels[::4]
    return as_messages(list(zip(range(len(texts)), labels, texts)), form)


def as_messages(records, form: str) -> Messages:
    frame = pd.DataFrame(records, columns=["row", "label", "text"]).astype({"label": "int8"})
    return Messages(frame, Path("invented.csv"), form, {"raw": False}, "")


@pytest.fixture(scope="module")
def real(spam_csv) -> Messages:
    return read_messages(spam_csv)


@pytest.fixture(scope="module")
def tutorial(real):
    return split(real, "tutorial", seed=1)


@pytest.fixture(scope="module")
def grouped(real):
    return split(real, "grouped", seed=1)


def test_default_protocol(real, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("label,text\nham,a\nspam,b\n")
    assert default_protocol(real) == "tutorial"
    assert default_protocol(read_messages(path)) == "grouped"


def test_tutorial_is_the_first_4457_rows_and_the_last_1115(real, tutorial):
    assert tutorial.protocol == "tutorial"
    assert list(tutorial.train["row"].unique()) == list(range(4457))
    assert list(tutorial.test["row"]) == list(range(4457, 5572))
    assert len(tutorial.train) == 4458  # data row 2,791 swallowed its neighbour
    assert tutorial.test["label"].sum() == 145
    assert list(tutorial.train["text"]) + list(tutorial.test["text"]) == list(real.frame["text"])


def test_tutorial_on_the_raw_rows(spam_csv):
    raw = split(read_messages(spam_csv, raw=True), "tutorial", seed=1)
    assert (len(raw.train), len(raw.test), raw.test["label"].sum()) == (4457, 1115, 145)


def test_tutorial_unseen_is_what_no_chain_of_near_copies_leads_to(tutorial):
    pieces = [grams(text) for text in tutorial.train["text"]]
    rng = np.random.default_rng(5)
    for n in rng.choice(len(tutorial.test), 60, replace=False):
        message = grams(tutorial.test["text"][n])
        if any(near(message, piece) for piece in pieces):
            assert not tutorial.test["unseen"][n]
    assert tutorial.test["unseen"].sum() == 932
    unseen = tutorial.test["text"][tutorial.test["unseen"]]
    assert set(unseen.map(normalise)) & set(tutorial.train["text"].map(normalise)) <= {""}  # marks alone are no copies


def test_unseen_by_hand():
    """The test rows' first is training's but for its digits; the second has a near copy in test only; the third
    leads to training by way of the fourth."""
    train = [(0, 0, "are you home"), (1, 1, "call 0800 123 now"), (4456, 0, "a b f e")]
    test = [(4457, 1, "CALL 0900 456 now"), (4458, 0, "milk please"), (4459, 0, "a b c d"), (4460, 0, "a b c e")]
    result = split(as_messages([*train, *test, (4461, 0, "milk, please!")], "spam.csv"), "tutorial", seed=1)
    assert list(result.train["row"]) == [0, 1, 4456]
    assert list(result.test["unseen"]) == [False, True, False, False, True]


def test_almeida2011_is_the_last_3900_messages(real):
    result = split(real, "almeida2011", seed=1)
    assert (len(result.train), len(result.test)) == (1673, 3900)
    assert result.test["label"].sum() == 509
    assert list(result.train["text"]) + list(result.test["text"]) == list(real.frame["text"])


def test_almeida2011_on_the_uci_form_trains_on_1674():
    records = [(n, n % 2, word(n)) for n in range(5574)]
    result = split(as_messages(records, "uci"), "almeida2011", seed=1)
    assert list(result.train["row"]) == list(range(1674))
    assert list(result.test["row"]) == list(range(1674, 5574))


@pytest.mark.parametrize(
    "protocol, form, raw",
    [
        ("tutorial", "csv", False),
        ("tutorial", "uci", False),
        ("almeida2011", "csv", False),
        ("almeida2011", "tsv", False),
        ("almeida2011", "spam.csv", True),
    ],
)
def test_protocols_of_the_collection_refuse_anything_else(protocol, form, raw):
    messages = invented(form=form)
    messages.reading["raw"] = raw
    with pytest.raises(DataError, match=f"invented.csv: protocol {protocol} .* use --protocol grouped$") as caught:
        split(messages, protocol, seed=1)
    assert caught.value.exit_code == 65
    assert len(str(caught.value).splitlines()) == 1


def test_grouped_holds_each_distinct_message_once(real, grouped):
    once = distinct(real.frame)
    assert (len(once), once["label"].sum()) == (5126, 626)
    both = pd.concat([grouped.train, grouped.test])
    assert sorted(both["text"]) == sorted(once["text"])
    assert both["text"].map(normalise).nunique() == len(both)
    assert not set(grouped.train["text"].map(normalise)) & set(grouped.test["text"].map(normalise))


def test_grouped_is_a_stratified_fifth(grouped):
    share = len(grouped.test) / (len(grouped.train) + len(grouped.test))
    assert share == pytest.approx(0.2, abs=0.01)
    assert grouped.test["label"].mean() == pytest.approx(grouped.train["label"].mean(), abs=0.01)


def test_grouped_test_messages_have_no_near_copy_in_training(grouped):
    pieces = [grams(text) for text in grouped.train["text"]]
    spam, ham = grouped.test[grouped.test["label"] == 1], grouped.test[grouped.test["label"] == 0]
    for text in [*spam["text"].sample(70, random_state=1), *ham["text"].sample(70, random_state=1)]:
        message = grams(text)
        assert not any(near(message, piece) for piece in pieces), text
    assert grouped.test["unseen"].all()


def test_near_copies_of_the_collection(real):
    """About 4,880 groups; block by block or all at once."""
    groups = near_copy_groups(distinct(real.frame)["text"])
    assert len(set(groups)) == 4875
    np.testing.assert_array_equal(near_copy_groups(distinct(real.frame)["text"], pairs=10**6), groups)


def test_many_near_copies_of_one_message_do_not_fill_the_memory():
    """8,000 of them are 64 million pairs."""
    tracemalloc.start()
    assert len(set(near_copy_groups([f"message number {i} about the number {i}" for i in range(8000)]))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600e6


def test_the_seed_alone_moves_grouped():
    first, again, other = (split(invented(), "grouped", seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.train, again.train)
    pd.testing.assert_frame_equal(first.test, again.test)
    assert set(first.test["row"]) != set(other.test["row"])
    assert (first.seed, other.seed) == (1, 2)


def test_a_seed_does_not_move_the_collections_own_protocols(real, tutorial):
    pd.testing.assert_frame_equal(split(real, "tutorial", seed=2).test, tutorial.test)


@settings(max_examples=25, deadline=None)
@given(st.integers(10, 15), st.integers(10, 40), st.integers(0, 2**31))
def test_grouped_loses_and_doubles_nothing(spam, ham, seed):
    messages = invented(spam, ham)
    result = split(messages, "grouped", seed)
    assert sorted([*result.train["row"], *result.test["row"]]) == list(range(spam + ham))  # the copies come after
    for part in (result.train, result.test):
        assert part["row"].is_monotonic_increasing
        assert set(part["label"]) == {0, 1}
        assert list(part.index) == list(range(len(part)))
        for _, row in part.iterrows():
            assert tuple(messages.frame.loc[row["row"], ["label", "text"]]) == (row["label"], row["text"])


@pytest.mark.parametrize("spam, ham", [(9, 40), (40, 9), (0, 40)])
def test_grouped_needs_ten_of_each_class(spam, ham):
    with pytest.raises(DataError, match=f"{ham} ham and {spam} spam once .* at least 10 of each") as caught:
        split(invented(spam, ham), "grouped", seed=1)
    assert caught.value.exit_code == 65
    assert len(str(caught.value).splitlines()) == 1


def test_near_copies_count_once_towards_the_ten():
    spam = [(n, 1, f"you won prize number {n}") for n in range(10)]
    ham = [(10 + n, 0, letter * 6) for n, letter in enumerate("abcdef")]
    with pytest.raises(DataError, match="6 ham and 1 spam once"):
        split(as_messages(spam + ham, "csv"), "grouped", seed=1)


def test_validation_split_keeps_groups_whole():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 60, 300)
    labels = (groups % 5 == 0).astype(int)
    fit, validate = validation_split(labels, groups, seed=3)
    assert sorted([*fit, *validate]) == list(range(300))
    assert not set(groups[fit]) & set(groups[validate])
    assert labels[validate].mean() == pytest.approx(labels.mean(), abs=0.05)
    assert len(validate) == pytest.approx(60, abs=6)
    assert list(validation_split(labels, groups, seed=3)[1]) == list(validate)
    assert list(validation_split(labels, groups, seed=4)[1]) != list(validate)


@pytest.mark.parametrize(
    "text, same",
    [
        ("Free ENTRY!", "freeentry"),
        ("Ok... c u @ 8", "okcu8"),
        ("ÜBER-£5 naïve", "über5naïve"),
        ("Привет, мир", "приветмир"),
        ("\t:-)\n", ""),
        ("", ""),
    ],
)
def test_normalise_keeps_letters_and_digits(text, same):
    assert normalise(text) == same


def test_distinct_keeps_the_first():
    frame = pd.DataFrame({"text": ["Win!", "ok", "WIN", "ok 1", "w.i.n"], "label": [1, 0, 0, 0, 1], "row": range(5)})
    once = distinct(frame)
    assert list(once["row"]) == [0, 1, 3]
    assert list(once["label"]) == [1, 0, 0]
    assert list(once.index) == [0, 1, 2]


@pytest.mark.parametrize(
    "texts, together",
    [
        (["call 0800 123 now", "CALL 0900 456 now", "see you"], {(0, 1)}),
        (["1 May", "12 May"], set()),  # as many zeros as digits: " 0 " and " 00 ", so 2 of 4
        (["ha ha ha", "ha"], {(0, 1)}),  # sets: how often does not matter
        (["b a", "a  \n b"], {(0, 1)}),  # nor in which order
        (["a b c d", "a b c e"], {(0, 1)}),  # 3 of 5 is .6
        (["a b c d e f g", "a b c d e x y"], set()),  # 5 of 9
        (["a b c d", "a b c e", "a b f e"], {(0, 1), (1, 2), (0, 2)}),  # the outer two, 2 of 6, by way of the middle
        (["hello", "hell"], set()),  # " hel", "hell", "ello", "llo " against " hel", "hell", "ell ": 2 of 5
        (["a", "a !"], {(0, 1)}),  # equal but for punctuation, though of their 4-grams " a " and " ! " only one is shared
        (["a", "", "a", " ", ""], {(0, 2)}),  # texts without a word have nothing in common
        (["", " ", "\n\t"], set()),
        ([], set()),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 1024])
def test_near_copy_groups_by_hand(texts, together, block):
    assert NEAR_COPY == 0.6
    groups = near_copy_groups(texts, block * len(texts))
    assert len(groups) == len(texts)
    assert same_group(groups) == together


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 13))
def test_near_copy_groups_are_the_plain_references(texts, block):
    assert same_group(near_copy_groups(texts, block * len(texts))) == same_group(plain_groups(texts))
