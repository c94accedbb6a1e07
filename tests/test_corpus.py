"""Reading text, counting its words, cutting, batching and holding out: worked by hand, and true of any lengths."""

import gzip
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.bilm.corpus import BEGIN, END, UNKNOWN, Corpus, batches, build, hold_out, read_lines, softmax_word
from spamcli.characters import encode_tokens
from spamcli.errors import DataError, NotFoundError

LINES = Counter({"Win 100 pounds": 1, "win, WIN 999 times": 1, "see you at 5 at the pub": 1, "\x00\x01": 1})
LENGTHS = st.lists(st.integers(1, 40), max_size=60).map(np.array)


def words_of(corpus: Corpus) -> list[list[int]]:
    """Softmax words of each message."""
    return [corpus.words[corpus.tokens[a:b]].tolist() for a, b in zip(corpus.offsets, corpus.offsets[1:])]


@pytest.fixture
def corpus() -> Corpus:
    return build(LINES, "punctuation", max_characters=8, max_tokens=4, vocabulary=9)


def test_read_lines_plain_and_compressed(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\n\n  two £ \r\none\n \t \nthree".encode())
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two\nfour\n"))
    assert list(read_lines([tmp_path / "a.txt", tmp_path / "b.txt.gz"]).items()) == [
        ("one", 1), ("two £", 1), ("three", 1), ("two", 1), ("four", 1)
    ]  # fmt: skip


def test_file_named_twice_counts_twice(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\none\n")
    (tmp_path / "b.txt").write_text("two\nthree\n")
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "a.txt")]
    assert list(read_lines(paths).items()) == [("one", 2), ("two", 3), ("three", 1)]


@pytest.mark.parametrize(
    "name, content, error, message",
    [
        ("missing.txt", None, NotFoundError, "missing.txt: no such file"),
        ("latin.txt", b"caf\xe9 au lait\n", DataError, "latin.txt: not UTF-8"),
        ("late.txt", b"fine\n" * 10_000 + b"\xff\n", DataError, "late.txt: not UTF-8"),
        ("latin.txt.gz", gzip.compress(b"caf\xe9\n"), DataError, "latin.txt.gz: not UTF-8"),
        ("plain.gz", b"not compressed", DataError, "plain.gz: damaged gzip file"),
        ("cut.gz", gzip.compress(b"one\ntwo\n")[:-4], DataError, "cut.gz: damaged gzip file"),
        ("sum.gz", gzip.compress(b"one\ntwo\n")[:-8] + bytes(8), DataError, "sum.gz: damaged gzip file"),
        ("bits.gz", gzip.compress(b"")[:10] + b"\xff" * 20, DataError, "bits.gz: damaged gzip file"),
        ("empty.txt", b"", DataError, "no text in the corpus"),
        ("blank.txt", b" \n\t\n\n", DataError, "no text in the corpus"),
        ("empty.txt.gz", gzip.compress(b""), DataError, "no text in the corpus"),
    ],
)
def test_unreadable_text_is_an_error_in_one_line(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        read_lines([tmp_path / name])
    assert "\n" not in str(raised.value)


def test_directory_is_no_text(tmp_path):
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_lines([tmp_path])


def test_one_empty_file_among_others_is_fine(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("")
    assert read_lines([tmp_path / "b.txt", tmp_path / "a.txt"]) == {"one": 1}


@pytest.mark.parametrize("token, word", [("WIN", "win"), ("870", "000"), ("B2b", "b0b"), ("£", "£"), ("ÄÖ٣", "äö0")])
def test_softmax_word_by_hand(token, word):
    assert softmax_word(token) == word


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
    np.testing.assert_array_equal(corpus.char_ids, encode_tokens(distinct, 8))
    assert corpus.tokens[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (corpus.char_ids.dtype, corpus.words.dtype, corpus.tokens.dtype) == (np.uint16, np.int32, np.int32)


def test_large_vocabulary_knows_every_word():
    corpus = build(LINES, "space", max_characters=8, max_tokens=100, vocabulary=1000)
    assert UNKNOWN not in corpus.words
    assert len(corpus.counts) == 3 + len({softmax_word(token) for line in LINES for token in line.split(" ")})
    assert (np.diff(corpus.counts[3:]) <= 0).all()
    assert corpus.counts[[UNKNOWN, BEGIN, END]].tolist() == [0, 4, 4]


def test_line_counted_twice_is_read_twice():
    once = build(Counter({"a b c": 1, "d e": 1}), "space", 8, 2, 100)
    twice = build(Counter({"a b c": 2, "d e": 1}), "space", 8, 2, 100)
    assert words_of(once) == [[3, 4], [5], [6, 7]]
    assert words_of(twice) == [[3, 4], [5], [3, 4], [5], [6, 7]]
    assert twice.lines.tolist() == [0, 0, 0, 0, 1]
    assert twice.counts.tolist() == [0, 5, 5, 2, 2, 2, 1, 1]


def test_text_without_tokens_is_an_error():
    with pytest.raises(DataError, match="no tokens in the corpus"):
        build(Counter({"\x00\x01": 1}), "punctuation", 8, 4, 9)


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
    return build(Counter(lines), "space", 8, 2, 1000)


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
    few = build(LINES, "space", 8, 100, 100)
    for corpus, num_lines in [(few, 1000), (large_corpus, 0)]:
        to_read, held_out = hold_out(corpus, num_lines, seed=1)
        assert words_of(to_read) == words_of(corpus)
        assert words_of(held_out) == []


def test_hold_out_is_drawn_by_the_seed(large_corpus):
    chosen = [hold_out(large_corpus, 7, seed)[1].lines.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] != list(range(7))
