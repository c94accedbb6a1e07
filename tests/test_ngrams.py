"""The conventional features: n-grams are what they should be, and a message's numbers are its own."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from spamcli.characters import TOKENIZERS, as_seen
from spamcli.errors import DataError
from spamcli.invented import MEASURING, TRAINING
from spamcli.messages import read_messages
from spamcli.ngrams import BITS, RARE, Entries, Linear, Presence, TfIdf, Wide, columns_of, count

TEXTS = ["Free entry, claim your prize now", "free FREE free prize", "see you there then", "okay then see you there then"]
SPLIT = TOKENIZERS["punctuation"]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


def plain(text: str) -> tuple[Counter, Counter]:
    """Character and word n-grams with loops."""
    lowered = as_seen(text).lower()
    words, padded = SPLIT(lowered), [f" {word} " for word in lowered.split()]
    characters = Counter(word[i : i + n] for word in padded for n in (2, 3, 4, 5) for i in range(len(word) - n + 1))
    return characters, Counter(words) + Counter(zip(words, words[1:]))


def of_message(entries: Entries, message: int) -> tuple[list[float], list[float]]:
    """The values of one message, sorted: of characters, of words."""
    inside = entries.messages == message
    words = entries.columns[inside] >= 1 << BITS
    values = entries.values[inside]
    return sorted(values[~words]), sorted(values[words])


@given(st.lists(ANY_TEXT, max_size=4))
def test_every_ngram_is_counted(texts):
    counted = count(texts)
    for message, text in enumerate(texts):
        for ours, theirs in zip(of_message(counted, message), plain(text)):
            assert ours == sorted(theirs.values())


def test_one_ngram_has_one_column_and_others_have_others():
    """Wherever it stands, and however long its word."""
    columns = {}
    for text in ("prize", "prizes now", "a prize", "riz"):
        counted = count([text])
        columns[text] = set(counted.columns)
        assert len(columns[text]) == sum(map(len, plain(text)))
    shared = {pair: len(columns[pair[0]] & columns[pair[1]]) for pair in (("prize", "prizes now"), ("prize", "a prize"))}
    for (left, right), number in shared.items():
        assert number == sum(len(a & b) for a, b in zip(plain(left), plain(right)))
    assert len(columns["prize"] & columns["riz"]) == 3  # ri, iz, riz


def test_weights_are_scikit_learns():
    """Where words have at least three letters, with which its definition of n-grams is ours."""
    entries = count(TEXTS)
    weighed = TfIdf.of(entries, len(TEXTS)).weigh(entries)
    known = TfIdf.of(entries, len(TEXTS)).columns
    values = Entries(weighed.messages, known[weighed.columns], weighed.values)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True).fit_transform(TEXTS)
    words = TfidfVectorizer(tokenizer=SPLIT, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True).fit_transform(TEXTS)
    for message in range(len(TEXTS)):
        for ours, theirs in zip(of_message(values, message), (characters[message].data, words[message].data)):
            np.testing.assert_allclose(ours, np.sort(theirs), rtol=1e-6)


@given(st.lists(ANY_TEXT, min_size=1, max_size=5), st.data())
def test_a_messages_entries_are_its_own_in_any_company(texts, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=6)), int)
    chosen, alone = count(texts).of(rows), count([texts[row] for row in rows])
    for ours, theirs in zip((chosen.messages, chosen.columns, chosen.values), (alone.messages, alone.columns, alone.values)):
        np.testing.assert_array_equal(ours, theirs)


def wide() -> Wide:
    """Both parts that stand beside the heads, with random weights."""
    entries, random = count(TEXTS), np.random.default_rng(0)
    tf_idf = TfIdf.of(entries, len(TEXTS))
    weightings = tf_idf, Presence(tf_idf.columns[tf_idf.columns >> BITS > 0])
    return Wide(tuple(Linear(each, random.normal(size=len(each.columns)).astype(np.float32)) for each in weightings))


def test_scores_by_hand():
    counted, score = count(TEXTS), wide()
    for part, totals in zip(score.parts, score.read(counted, len(TEXTS))[0].T):
        weighed = part.weighting.weigh(counted)
        for message, total in enumerate(totals):
            mine = weighed.messages == message
            assert total == pytest.approx(sum(weighed.values[mine] * part.weights[weighed.columns[mine]]))


def test_presence_is_divided_by_the_root_of_the_number_of_different_word_ngrams():
    """Of all of them, also of those that training has not shown; what is said again changes nothing."""
    column = columns_of(["prize"])
    weighed = Presence(column).weigh(count(["A PRIZE, a prize", "no", "prize"]))
    assert weighed.messages.tolist() == [0, 2] and weighed.columns.tolist() == [0, 0]
    assert weighed.values == pytest.approx([1 / np.sqrt(3 + 3), 1.0])  # a, prize, ","; a prize, "prize ,", ", a"


def test_what_is_invisible_changes_nothing():
    seen, hidden = (
        count([text]) for text in ("claim your PRIZE \u2764", "cl\u200baim yo\u00adur \ufeffPRI\u2060ZE \u2764\ufe0f\u202e")
    )
    np.testing.assert_array_equal(seen.columns, hidden.columns)
    np.testing.assert_array_equal(seen.values, hidden.values)


def test_what_training_never_showed_has_no_say():
    score = wide()
    known, padded, unknown = score.read(count(["see you", "see you 日本語", "日本語"]), 3)[0]
    assert unknown.tolist() == [0, 0] and known.all()
    assert score.read(count(["", " \t "]), 2)[0].tolist() == [[0, 0], [0, 0]]
    assert np.sign(padded).tolist() == np.sign(known).tolist()  # but for n-grams with the space between


def test_nothing_known_at_all():
    nothing = Wide((Linear(TfIdf.of(count([""]), 1), np.zeros(0, np.float32)),))
    assert [part.tolist() for part in nothing.read(count(["any text"]), 1)] == [[[0]], [False]]


IN_OTHER_SCRIPTS = (
    "엄마 나 오늘 늦어요 저녁 먼저 드세요",
    "พรุ่งนี้นัดหมอฟันเวลา 15.00 น. กรุณามาก่อนเวลา",
    "明日の15時に歯科の予約があります。変更はお電話ください。",
    "明天下午三点牙科预约，如需更改请致电诊所。",
    "Подтвердите, пожалуйста, явку к зубному щелчком ниже",
    "تذكير: لديك موعد غدا الساعة 3 عند طبيب الأسنان",
    "कल दोपहर 3 बजे दंत चिकित्सक से मिलने का समय है",
    "Υπενθύμιση: αύριο στις 15:00 έχετε ραντεβού στον οδοντίατρο",
    "קוד האימות שלך הוא 482913. אל תמסור אותו לאיש.",
)


def unfamiliar(learned: list[str], texts: list[str]) -> list[bool]:
    """To TF-IDF of some messages."""
    tf_idf, counted = TfIdf.of(count(learned), len(learned)), count(texts)
    return tf_idf.unfamiliar(counted, tf_idf.weigh(counted), len(texts)).tolist()


def test_other_scripts_are_unfamiliar_and_other_messages_are_not():
    learned = read_messages(TRAINING).frame["text"].tolist()
    assert unfamiliar(learned, list(IN_OTHER_SCRIPTS)) == [True] * len(IN_OTHER_SCRIPTS)
    assert not any(unfamiliar(learned, read_messages(MEASURING).frame["text"].tolist()))
    assert unfamiliar(learned, ["", "482913", "$$$", *TEXTS]) == [False] * 7


def test_a_hundred_messages_make_most_others_of_their_language_familiar():
    learned = read_messages(TRAINING).frame["text"].sample(100, random_state=1).tolist()
    assert np.mean(unfamiliar(learned, read_messages(MEASURING).frame["text"].tolist())) < 0.01


def test_unfamiliar_by_hand():
    """On either side of both limits. A word of two letters has six n-grams, which it shares with no other here."""
    largest, least = np.log(52 / 2) + 1, np.log(52 / 51) + 1  # idf of "xy" and "zw", and of "ab"
    learned, five, eight = ["ab"] * 50 + ["xy zw"], "cc dd ee ff gg", "cc dd ee ff gg hh ii jj"
    assert unfamiliar(learned, ["cc xy", "cc xy zw"]) == [True, False]  # unknown: a half, no more than a third
    rarity = [(n * largest + least) / (n + 1) / largest for n in (5, 8)]
    assert rarity[0] < RARE < rarity[1] and unfamiliar(learned, [f"{five} ab", f"{eight} ab"]) == [False, True]


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_what_training_has_is_never_unfamiliar(texts):
    assert not any(unfamiliar(texts, texts))


def test_read_back_it_gives_the_same_scores(tmp_path):
    wide().save(tmp_path / "wide.npz")
    back = Wide.load(tmp_path / "wide.npz", 2)
    np.testing.assert_array_equal(back.read(count(TEXTS), 4)[0], wide().read(count(TEXTS), 4)[0])
    content = (tmp_path / "wide.npz").read_bytes()
    assert b"prize" not in content


def test_a_damaged_file_is_said_to_be_one(tmp_path):
    path = tmp_path / "wide.npz"
    wide().save(path)
    with pytest.raises(DataError, match="damaged"):
        Wide.load(path, 1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="damaged"):
        Wide.load(path, 2)
    columns, numbers = np.arange(3, dtype=np.int32), np.ones(3, np.float32)
    sound = {"tf_idf.columns": columns, "tf_idf.idf": numbers, "tf_idf.weights": numbers}
    np.savez(path, **sound)
    Wide.load(path, 1)
    for wrong in (
        {**sound, "tf_idf.idf": numbers[:2]},
        {**sound, "tf_idf.idf": numbers - 1},
        {**sound, "tf_idf.idf": numbers.astype(str)},
        {**sound, "tf_idf.columns": columns[::-1]},
        {**sound, "tf_idf.weights": numbers * np.float32("nan")},
        {"tf_idf.columns": columns, "tf_idf.weights": numbers},
        {"presence.columns": columns, "presence.weights": numbers},  # which are of characters
        {"presence.columns": columns + (1 << BITS), "presence.weights": numbers, "presence.surprise": numbers},
        {"other.columns": columns, "other.weights": numbers},
        {"columns": columns},
    ):
        np.savez(path, **wrong)
        with pytest.raises(DataError, match="damaged"):
            Wide.load(path, 1)
