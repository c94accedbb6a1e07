"""Counting and masking words, cutting lines, batching and holding out: worked by hand, and true of any lengths."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.bilm.corpus import BEGIN, END, UNKNOWN, Corpus, batches, build, hold_out, softmax_words
from spamcli.bilm.reading import Text
from spamcli.characters import TOKENIZERS, encode_tokens
from spamcli.errors import DataError

LINES = {"Win 100 pounds": 1, "win, WIN 999 times": 1, "see you at 5 at the pub": 1, "\x00\x01": 1}
LENGTHS = st.lists(st.integers(1, 40), max_size=60).map(np.array)


def text_of(lines: dict[str, int]) -> Text:
    """Lines of one file, each with how often an epoch reads it."""
    return Text(Counter(lines), dict.fromkeys(lines, 1), {"a.txt": "hash"})


def words_of(corpus: Corpus) -> list[list[int]]:
    """Softmax words of each message."""
    return [corpus.words[corpus.tokens[a:b]].tolist() for a, b in zip(corpus.offsets, corpus.offsets[1:])]


@pytest.fixture
def corpus() -> Corpus:
    return build(text_of(LINES), "punctuation", max_characters=8, max_tokens=4, vocabulary=9)


LINK, NAME = ["<link>"], ["<name>"]


@pytest.mark.parametrize(
    "line, by_punctuation, by_space",
    [
        ("WIN 870 B2b £5 ÄÖ٣", "win 000 b0b £ 0 äö0".split(), "win 000 b0b £0 äö0".split()),
        ("hi @Bob, ok", ["hi", "@", *NAME, ",", "ok"], ["hi", *NAME, "ok"]),
        ("@bob_99: yes", ["@", *NAME * 3, ":", "yes"], [*NAME, "yes"]),  # "bob", "_", "99"
        ("RT @a@b c", ["rt", "@", *NAME, "@", *NAME, "c"], ["rt", *NAME, "c"]),
        ("see you @ 5", ["see", "you", "@", "0"], ["see", "you", "@", "0"]),
        ("bob bob@home", ["bob", "bob", "@", *NAME], ["bob", *NAME]),
        ("go to http://x.y/Z?q=1 now", ["go", "to", *LINK * 13, "now"], ["go", "to", *LINK, "now"]),
        ("HTTPS://t.co", LINK * 7, LINK),  # a colon and two slashes are tokens, too
        ("www.win4u now", [*LINK * 3, "now"], [*LINK, "now"]),
        ("(Win4u.co.uk/x) ok", ["(", *LINK * 8, "ok"], [*LINK, "ok"]),
        ("win4u.com.", LINK * 4, LINK),
        ("Mail me.Too+x@ab-c.de, ok", ["mail", *LINK * 11, ",", "ok"], ["mail", *LINK, "ok"]),
        ("one.Two e.g. 3.5 co.uk", "one . two e . g . 0 . 0".split() + LINK * 3, ["one.two", "e.g.", "0.0", *LINK]),
        ("the the @the the", ["the", "the", "@", *NAME, "the"], ["the", "the", *NAME, "the"]),
        ("", [], []),
    ],
)
def test_words_of_the_softmax_by_hand(line, by_punctuation, by_space):
    """Lower case, digits as 0; user names and links stand for all of their kind, whole or in the pieces they come in."""
    assert softmax_words(line, TOKENIZERS["punctuation"](line)) == by_punctuation
    assert softmax_words(line, TOKENIZERS["space"](line)) == by_space


@pytest.mark.parametrize("run", ["a", "a-", "a.", "a@", "+a", ".com", "www.a.com ", "@a "])
def test_a_line_of_a_hundred_thousand_characters_takes_no_time(run):
    """Milliseconds to a second each; minutes, if the time grew with the square."""
    line, start = run * (100_000 // len(run)), time.monotonic()
    words = softmax_words(line, line.split())
    assert len(words) == len(line.split()) and time.monotonic() - start < 10


def test_a_masked_token_is_read_as_it_is_and_is_a_token_of_its_own():
    """The char-CNN sees `bob` in both places; what is to be predicted differs."""
    corpus = build(text_of({"bob said @bob www": 1}), "punctuation", 8, 64, 100)
    first, _, _, second, _ = corpus.tokens.tolist()
    assert first != second and corpus.texts == ["bob", "said", "@", "bob", "www"]
    np.testing.assert_array_equal(corpus.char_ids[first], corpus.char_ids[second])
    np.testing.assert_array_equal(corpus.char_ids[second], encode_tokens(["bob"], 8)[0])
    assert corpus.words[first] != corpus.words[second] and UNKNOWN not in corpus.words


def test_all_names_and_all_links_are_one_word_each():
    corpus = build(text_of({"@ann www.a.com": 1, "@bob http://b": 1}), "space", 8, 64, 100)
    assert len(set(corpus.tokens.tolist())) == 4
    assert words_of(corpus) == [words_of(corpus)[0]] * 2
    assert corpus.counts.tolist() == [0, 2, 2, 2, 2]


def known_words(sources: dict[str, int], num_files: int, min_sources: int, times: int = 1) -> set[str]:
    """Which lines, of one word each, are words of the softmax."""
    text = Text(Counter(dict.fromkeys(sources, times)), sources, {f"{k}.txt": f"hash {k}" for k in range(num_files)})
    corpus = build(text, "space", 8, 64, 100, min_sources)
    return {word for word, number in zip(corpus.texts, corpus.words) if number != UNKNOWN}


def test_only_words_of_several_files_are_predicted():
    sources = {"one": 0b0001, "two": 0b1010, "three": 0b0111, "four": 0b1111}
    assert known_words(sources, num_files=4, min_sources=3) == {"three", "four"}
    assert known_words(sources, num_files=4, min_sources=1) == set(sources)
    assert known_words(sources, num_files=4, min_sources=3, times=5) == {"three", "four"}  # however often they are read
    assert known_words(sources, num_files=4, min_sources=100) == {"four"}


def test_of_fewer_files_all_must_hold_a_word():
    assert known_words({"one": 0b01, "both": 0b11}, num_files=2, min_sources=3) == {"both"}
    assert known_words({"one": 0b1, "two": 0b1}, num_files=1, min_sources=3) == {"one", "two"}
    copies = Text(Counter(["one"]), {"one": 0b1}, {"a": "x", "b": "x", "c": "x"})  # no further files
    assert UNKNOWN not in build(copies, "space", 8, 64, 100, min_sources=3).words


def test_sources_are_those_of_the_word_and_not_of_a_line():
    """`Anna` is in three files in three lines, and in two spellings; the copy of a file is no further file."""
    lines = {"Anna and": 0b001, "anna or": 0b010, "or ANNA": 0b100, "or": 0b001}
    text = Text(Counter(lines.keys()), lines, {"a": "x", "b": "y", "c": "z", "copy of c": "z", "again": "z"})
    corpus = build(text, "space", 8, 64, 100, min_sources=3)
    assert words_of(corpus) == [[3, UNKNOWN], [3, 4], [4, 3], [4]]


def test_words_of_few_files_are_counted_as_unknown_and_leave_their_place_to_others():
    text = Text(Counter(["a a a b", "b c"]), {"a a a b": 0b01, "b c": 0b10}, {"1": "x", "2": "y"})
    corpus = build(text, "space", 8, 64, vocabulary=4, min_sources=2)
    assert words_of(corpus) == [[0, 0, 0, 3], [3, 0]]
    assert corpus.counts.tolist() == [4, 2, 2, 2]
    np.testing.assert_array_equal(corpus.char_ids, encode_tokens(["a", "b", "c"], 8))  # read they are all the same


def test_messages_are_cut_and_words_counted_by_hand(corpus):
    """win 3 times, 000 and at 2, and of the words read once the first two; the message of controls has no tokens."""
    win, digits, at, pounds, comma = range(3, 8)
    assert words_of(corpus) == [
        [win, digits, pounds],
        [win, comma, win, digits],
        [8],  # times, cut off
        [UNKNOWN, UNKNOWN, at, UNKNOWN],  # see you at 5
        [at, UNKNOWN, UNKNOWN],  # at the pub
    ]
    assert corpus.lines.tolist() == [0, 1, 1, 2, 2]
    assert corpus.lengths.tolist() == [3, 4, 1, 4, 3]
    assert corpus.counts.tolist() == [5, 5, 5, 3, 2, 2, 1, 1, 1]  # unknown; each piece begins and ends


def test_tokens_keep_their_case_and_digits(corpus):
    """What the char-CNN reads is the token, not the softmax's word."""
    distinct = ["Win", "100", "pounds", "win", ",", "WIN", "999", "times", "see", "you", "at", "5", "the", "pub"]
    assert corpus.texts == distinct
    np.testing.assert_array_equal(corpus.char_ids, encode_tokens(distinct, 8))
    assert corpus.tokens[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (corpus.char_ids.dtype, corpus.words.dtype, corpus.tokens.dtype) == (np.uint16, np.int32, np.int32)


def test_large_vocabulary_knows_every_word():
    corpus = build(text_of(LINES), "space", max_characters=8, max_tokens=100, vocabulary=1000)
    assert UNKNOWN not in corpus.words
    assert len(corpus.counts) == 3 + len({word for line in LINES for word in softmax_words(line, line.split(" "))})
    assert (np.diff(corpus.counts[3:]) <= 0).all()
    assert corpus.counts[[UNKNOWN, BEGIN, END]].tolist() == [0, 4, 4]


def test_line_counted_twice_is_read_twice():
    once = build(text_of({"a b c": 1, "d e": 1}), "space", 8, 2, 100)
    twice = build(text_of({"a b c": 2, "d e": 1}), "space", 8, 2, 100)
    assert words_of(once) == [[3, 4], [5], [6, 7]]
    assert words_of(twice) == [[3, 4], [5], [3, 4], [5], [6, 7]]
    assert twice.lines.tolist() == [0, 0, 0, 0, 1]
    assert twice.counts.tolist() == [0, 5, 5, 2, 2, 2, 1, 1]


def test_text_without_tokens_is_an_error():
    with pytest.raises(DataError, match="no tokens in the corpus"):
        build(text_of({"\x00\x01": 1}), "punctuation", 8, 4, 9)


def test_take_keeps_what_it_is_told_and_the_vocabulary(corpus):
    part = corpus.take(np.array([4, 0]))
    assert words_of(part) == [words_of(corpus)[4], words_of(corpus)[0]]
    assert part.lines.tolist() == [2, 0]
    assert part.counts is corpus.counts and part.char_ids is corpus.char_ids
    assert words_of(corpus.take(np.array([], np.int64))) == []


def test_batch_is_the_messages(corpus):
    rows = np.array([4, 1, 2])
    batch = corpus.batch(rows)
    assert batch.lengths.tolist() == [3, 4, 1]
    assert batch.indices.shape == batch.words.shape == (3, 4)
    assert len(np.unique(batch.char_ids, axis=0)) == len(batch.char_ids)  # each distinct token once
    for row, indices, words, length in zip(rows, batch.indices, batch.words, batch.lengths):
        tokens = corpus.tokens[corpus.offsets[row] : corpus.offsets[row + 1]]
        np.testing.assert_array_equal(batch.char_ids[indices[:length] - 2], corpus.char_ids[tokens])
        np.testing.assert_array_equal(words[:length], corpus.words[tokens])
    assert batch.indices.min() >= 2 and batch.indices.max() < 2 + len(batch.char_ids)  # padded places too
    assert {array.dtype for array in vars(batch).values()} == {np.dtype(np.int32)}


def char_ids_of(batch) -> list[np.ndarray]:
    """What the char-CNN reads of each message: int32 [its tokens, chars]."""
    return [batch.char_ids[indices[:length] - 2] for indices, length in zip(batch.indices, batch.lengths)]


@pytest.fixture(scope="module")
def wordy() -> Corpus:
    """400 lines of 25 words of seven letters, in four different lengths."""
    random = np.random.default_rng(0)
    words = ["".join(chr(97 + letter) for letter in random.permutation(26)[:7]) for _ in range(300)]
    lines = {" ".join(random.choice(words, 10 + 10 * (number % 4))): 1 for number in range(400)}
    return build(text_of(lines), "punctuation", 12, 64, 1000)


def test_misspelt_words_are_read_wrong_and_predicted_right(wordy):
    rows = np.arange(400)
    plain, batch = wordy.batch(rows), wordy.batch(rows, 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(batch.words, plain.words)
    np.testing.assert_array_equal(batch.lengths, plain.lengths)
    assert batch.indices.shape == plain.indices.shape
    assert batch.indices.min() >= 2 and batch.indices.max() < 2 + len(batch.char_ids)
    assert {array.dtype for array in vars(batch).values()} == {np.dtype(np.int32)}
    pairs = list(zip(char_ids_of(batch), char_ids_of(plain)))
    wrong = np.concatenate([(ours != theirs).any(axis=1) for ours, theirs in pairs])
    assert len(wrong) == 10_000
    assert 0.27 < wrong.mean() < 0.31  # a few slips show nothing: a wrong letter that is right, no look-alike
    for length in (10, 20, 30, 40):  # as often in messages of any length
        of_length = [(ours != theirs).any(axis=1).mean() for ours, theirs in pairs if len(ours) == length]
        assert len(of_length) == 100 and 0.24 < np.mean(of_length) < 0.34
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])  # it still begins like a word
        assert ((ours == 260).sum(axis=1) == 1).all()  # and has one end


def test_each_place_has_a_slip_of_its_own(wordy):
    """One token is read right in one place and wrong in others, in several ways."""
    batch = wordy.batch(np.arange(400), 0.5, np.random.default_rng(1))
    token = wordy.tokens[0]
    readings = {
        ids.tobytes()
        for row, char_ids in enumerate(char_ids_of(batch))
        for ids in char_ids[wordy.tokens[wordy.offsets[row] : wordy.offsets[row + 1]] == token]
    }
    assert wordy.char_ids[token].astype(np.int32).tobytes() in readings and len(readings) > 5


def test_slips_are_drawn_by_the_generator(wordy):
    drawn = [wordy.batch(np.arange(50), 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for ours, same in zip(vars(drawn[0]).values(), vars(drawn[1]).values()):
        np.testing.assert_array_equal(ours, same)
    assert any(not np.array_equal(a, b) for a, b in zip(char_ids_of(drawn[0]), char_ids_of(drawn[2])))


def test_nothing_misspelt_is_the_plain_batch(wordy):
    rows = np.arange(50)
    for batch in (wordy.batch(rows, 0.0, np.random.default_rng(1)), wordy.batch(rows, 1e-12, np.random.default_rng(1))):
        for ours, plain in zip(vars(batch).values(), vars(wordy.batch(rows)).values()):
            np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"b a": 1, "a b": 1, "c": 2},  # other lines first
        {"a b": 1, "b a": 1, "c": 1},
        {"a b": 1, "a a": 1, "c": 2},
        {"A b": 1, "b a": 1, "c": 2},
        {"a b c": 1, "b a": 1, "c": 1},
    ],
    ids=str,
)
def test_hash_tells_one_corpus_from_another(change):
    """Also where the words are as frequent as before."""
    lines = {"a b": 1, "b a": 1, "c": 2}
    first, second = (build(text_of(these), "space", 8, 64, 100) for these in (lines, change or lines))
    assert (first.sha256 == second.sha256) == (not change)
    assert replace(first, words=first.words[::-1]).sha256 != first.sha256


@given(LENGTHS, st.integers(1, 100), st.integers(0, 5))
def test_batches_read_every_row_once_within_the_budget(lengths, budget, seed):
    groups = list(batches(lengths, budget, [seed]))
    assert sorted(np.concatenate([[], *groups]).tolist()) == list(range(len(lengths)))
    for group in groups:
        assert len(group) * lengths[group].max() <= budget or len(group) == 1


def test_batches_are_full_and_of_similar_length():
    lengths = np.random.default_rng(0).integers(1, 41, 1000)
    groups = list(batches(lengths, 400, [1]))
    padded = sum(len(group) * lengths[group].max() for group in groups)
    assert padded < 1.05 * lengths.sum()
    assert len(groups) < 1.1 * lengths.sum() / 400


def test_batches_are_random_and_repeatable():
    lengths = np.random.default_rng(0).integers(1, 41, 200)

    def drawn(seed):
        return [group.tolist() for group in batches(lengths, 100, seed)]

    first = drawn([1, 1, 0])
    assert drawn([1, 1, 0]) == first
    for other in (drawn([1, 1, 1]), drawn([2, 1, 0])):
        assert other != first
        assert {frozenset(group) for group in other} != {frozenset(group) for group in first}  # also other mates
    longest = [lengths[group].max() for group in first]
    assert longest != sorted(longest)  # not from short to long


@pytest.fixture
def large_corpus() -> Corpus:
    """100 lines of 1 to 5 pieces, every third one named twice."""
    lines = {" ".join(f"w{number}x{k}" for k in range(1 + number % 10)): 1 + (number % 3 == 0) for number in range(100)}
    return build(text_of(lines), "space", 8, 2, 1000)


def test_held_out_lines_are_not_read(large_corpus):
    to_read, held_out = hold_out(large_corpus, num_lines=7, seed=1)
    assert len(held_out.lines) == len(set(held_out.lines.tolist())) == 7
    assert set(to_read.lines) | set(held_out.lines) == set(range(100))
    assert not set(to_read.lines) & set(held_out.lines)
    assert not set(to_read.tokens) & set(held_out.tokens)  # no two lines share a word here


def test_what_is_read_is_read_as_often_as_before(large_corpus):
    to_read, held_out = hold_out(large_corpus, num_lines=7, seed=1)
    kept = ~np.isin(large_corpus.lines, held_out.lines)
    np.testing.assert_array_equal(to_read.lines, large_corpus.lines[kept])
    assert words_of(to_read) == [words for words, keep in zip(words_of(large_corpus), kept) if keep]
    firsts = [words_of(large_corpus)[large_corpus.lines.tolist().index(line)] for line in held_out.lines]
    assert words_of(held_out) == firsts  # of a line in pieces, the first


def test_hold_out_takes_a_tenth_at_most_and_may_take_nothing(large_corpus):
    assert len(hold_out(large_corpus, num_lines=1000, seed=1)[1].lines) == 10
    few = build(text_of(LINES), "space", 8, 100, 100)
    for corpus, num_lines in [(few, 1000), (large_corpus, 0)]:
        to_read, held_out = hold_out(corpus, num_lines, seed=1)
        assert words_of(to_read) == words_of(corpus)
        assert words_of(held_out) == []


def test_hold_out_is_drawn_by_the_seed(large_corpus):
    chosen = [hold_out(large_corpus, 7, seed)[1].lines.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] != list(range(7))
