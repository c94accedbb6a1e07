"""The messages of our own invention keep the rules that their card states."""

import re
from random import Random

import pandas as pd
import pytest

from spamcli.messages import read_messages
from spamcli.protocols import distinct, near_copy_groups

from conftest import ROOT  # isort: skip

ASSETS = ROOT / "spamcli" / "assets" / "messages"
PARTS = ("training", "measuring")
RESERVED = re.compile(r"(?:\.|^)(?:example\.(?:com|net|org)|[^.]+\.(?:example|test|invalid)|example|test|invalid)$")
LINK = re.compile(r"(?:h(?:tt|xx)ps?://|www\.)?((?:[\w-]+\.)+[a-z]{2,})(?=[/\s,;:!?)\"'\u2026]|\.?$|\.\s)", re.IGNORECASE)
FICTION = re.compile(
    r"(?:0|\+44)7700900\d{3}|(?:0|\+44)2079460\d{3}|(?:0|\+44)1632960\d{3}|08081570\d{3}|(?:1|\+1)?\d{3}55501\d{2}|(?:0|\+61)491570\d{3}"
)


@pytest.fixture(scope="module")
def parts() -> dict[str, pd.DataFrame]:
    return {part: pd.read_csv(ASSETS / f"{part}.csv", keep_default_na=False) for part in PARTS}


@pytest.fixture(scope="module")
def every(parts) -> pd.DataFrame:
    return pd.concat(parts.values(), ignore_index=True)


def test_each_scenario_has_as_much_ham_as_spam_and_is_in_one_part(parts):
    scenarios = {part: sorted(set(frame["scenario"])) for part, frame in parts.items()}
    assert [len(names) for names in scenarios.values()] == [13 + 97, 7]
    first = parts["training"]["scenario"].drop_duplicates()[:13].tolist()  # what was written later stands behind
    assert scenarios["measuring"] == sorted(Random("spamcli").sample(sorted(first + scenarios["measuring"]), 7))
    for frame in parts.values():
        assert set(frame.groupby(["scenario", "label"]).size()) == {64}


def test_both_parts_are_read_as_any_labelled_file(parts):
    for part, frame in parts.items():
        read = read_messages(ASSETS / f"{part}.csv")
        assert read.frame["text"].tolist() == frame["text"].tolist() and read.frame["label"].mean() == 0.5


def test_no_message_is_a_near_copy_of_another(every):
    assert len(distinct(every.assign(row=0))) == len(every)
    assert len(set(near_copy_groups(every["text"].tolist()))) == len(every)


def test_no_message_is_the_collections(every, spam_csv):
    collection = read_messages(spam_csv).frame["text"].tolist()
    groups = near_copy_groups([*collection, *every["text"]])
    assert not set(groups[: len(collection)]) & set(groups[len(collection) :])


def test_links_lead_nowhere(every):
    """Every name of a link ends in a name that is reserved for examples; obfuscated dots are read as dots."""
    for text in every["text"]:
        plain = re.sub(r"\s*[\[(]\s*(?:\.|dot)\s*[\])]\s*", ".", text)
        for name in LINK.findall(plain):
            looks_like_a_link = re.search(re.escape(name) + "/|" + "(?:://|www\\.|@)" + re.escape(name), plain)
            assert RESERVED.search(name.lower()) or not looks_like_a_link, text


def test_phone_numbers_are_fiction(every):
    for text in every["text"]:
        for number in re.findall(r"(?<![\w£$€₹.,/#-])\+?\(?\d[\d ()-]{8,}\d(?![\w-])", text):
            digits = re.sub(r"[^\d+]", "", number)
            if digits.startswith(("07", "+", "020", "0808", "04")) or re.search(r"\d{3}-\d{3}-\d{4}$", number):
                assert FICTION.fullmatch(digits), text


def test_links_and_digits_tell_little_of_the_class(every):
    """Neither is half again as common on one side as on the other."""
    for pattern in r"\d", r"\w\.(?:example|test|invalid)|example\.(?:com|org|net)":
        shares = every["text"].str.contains(pattern).groupby(every["label"]).mean()
        assert max(shares) < 1.25 * min(shares), (pattern, dict(shares))
