"""Text files, patterns and standard input, and what an excluded file takes out: worked by hand."""

import gzip
import hashlib
import io
import string
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.bilm.reading import Text, read_text, without
from spamcli.errors import DataError, NotFoundError

BOM = b"\xef\xbb\xbf"


def write(folder, **contents: bytes) -> list:
    """Files by their stem; `.txt`, or `.txt.gz` where the content is compressed."""
    paths = []
    for stem, content in contents.items():
        paths.append(folder / f"{stem}.txt{'.gz' if content.startswith(bytes([31, 139])) else ''}")
        paths[-1].write_bytes(content)
    return paths


def text_of(*lines: str) -> Text:
    return Text(Counter(lines), dict.fromkeys(lines, 1), {"a.txt": "hash"})


def test_lines_are_distinct_stripped_and_in_order(tmp_path):
    paths = write(tmp_path, a="one\n\n  two £ \r\none\n \t \nthree".encode(), b=gzip.compress(b"two\nfour\n"))
    assert paths[1].name == "b.txt.gz"
    assert list(read_text(paths).times.items()) == [("one", 1), ("two £", 1), ("three", 1), ("two", 1), ("four", 1)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\r"])
def test_every_line_end_ends_a_line(tmp_path, end):
    paths = write(tmp_path, a=end.join([b"one two", b"", b"three"]) + end)
    assert list(read_text(paths).times) == ["one two", "three"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_byte_order_mark_is_no_part_of_the_first_word(tmp_path, pack):
    """Nor is one of its own removed inside the text, where it is a character like others."""
    paths = write(tmp_path, a=pack(BOM + b"one\n" + BOM + b"two\n"), b=pack(BOM + b"\none\n"))
    assert read_text(paths).times == {"one": 2, "\ufefftwo": 1}


def test_file_named_twice_counts_twice(tmp_path):
    a, b = write(tmp_path, a=b"one\ntwo\none\n", b=b"two\nthree\n")
    text = read_text([a, b, a])
    assert list(text.times.items()) == [("one", 2), ("two", 3), ("three", 1)]
    assert text.sources == {"one": 0b01, "two": 0b11, "three": 0b10}  # of distinct files, all the same


def test_a_copy_counts_twice_but_is_no_second_source(tmp_path, monkeypatch):
    """By another path, under another name, in another folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    write(tmp_path, a=b"one\n", b=b"one\n", c=b"one\ntwo\n")
    write(tmp_path / "other", a=b"three\n")
    text = read_text(["a.txt", "./a.txt", "b.txt", "c.txt", "other/a.txt"])
    assert text.times == {"one": 4, "two": 1, "three": 1}
    assert text.sources == {"one": 0b011, "two": 0b010, "three": 0b100}
    assert list(text.files) == ["a.txt", "./a.txt", "b.txt", "c.txt", "other/a.txt"]


def test_hash_is_that_of_the_stored_file(tmp_path):
    paths = write(tmp_path, a=b"one\n", b=gzip.compress(b"one\n"))
    assert read_text(paths).files == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_pattern_names_files_in_order_and_no_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.txt").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path, c=b"three\n", a=b"one\n", b=gzip.compress(b"two\n"))
    write(tmp_path / "deep" / "er", e=b"five\n")
    assert list(read_text(["*.txt"]).times) == ["one", "three"]
    assert list(read_text(["[ab].txt*"]).times) == ["one", "two"]
    assert list(read_text(["**/*.txt"]).times) == ["one", "three", "five"]
    assert read_text(["a.txt", "?.txt"]).times == {"one": 2, "three": 1}  # a pattern may name a file again


def test_an_existing_file_is_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[b].txt").write_bytes(b"brackets\n")
    (tmp_path / "ab.txt").write_bytes(b"no brackets\n")
    assert list(read_text(["a[b].txt"]).times) == ["brackets"]
    (tmp_path / "a[b].txt").unlink()
    assert list(read_text(["a[b].txt"]).times) == ["no brackets"]


@pytest.mark.parametrize("pattern", ["*.txt", "nowhere/*", "a[b].txt", "folder*"])
def test_pattern_without_a_file_is_not_found(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFoundError, match=r"no file matches; name text files") as raised:
        read_text([pattern])
    assert str(raised.value).startswith(f"{pattern}: ")


@pytest.fixture
def standard_input(monkeypatch):
    """Put bytes on standard input, as click's CliRunner does."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_is_a_file_like_others(tmp_path, standard_input):
    standard_input(BOM + b"one\r\ntwo\n")
    paths = write(tmp_path, a=b"two\nthree\n")
    text = read_text(["-", paths[0], "-"])  # named twice, it counts twice, though it can be read once
    assert text.times == {"one": 2, "two": 3, "three": 1}
    assert text.files["-"] == hashlib.sha256(BOM + b"one\r\ntwo\n").hexdigest()
    assert text.sources == {"one": 0b01, "two": 0b11, "three": 0b10}


def test_bad_bytes_on_standard_input_name_their_line(standard_input):
    standard_input(b"one\ncaf\xe9\n")
    with pytest.raises(DataError, match="^-, line 2: not UTF-8"):
        read_text(["-"])


def test_closed_standard_input_holds_no_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after `<&-`
    with pytest.raises(DataError, match="no text in the corpus"):
        read_text(["-"])


@pytest.mark.parametrize(
    "name, content, error, message",
    [
        ("missing.txt", None, NotFoundError, "missing.txt: no such file; name text files with one sentence"),
        ("m" * 300, None, NotFoundError, "mmm: cannot be read .File name too long."),
        ("latin.txt", b"caf\xe9 au lait\n", DataError, "latin.txt, line 1: not UTF-8 .*; convert the file first"),
        ("late.txt", b"fine\n" * 10_000 + b"\xff\n", DataError, "late.txt, line 10001: not UTF-8"),
        ("first.txt", b"fine\n\xc3\n\xff\n", DataError, "first.txt, line 2: not UTF-8"),
        ("utf16.txt", "one\n".encode("utf-16"), DataError, "utf16.txt, line 1: not UTF-8"),
        ("latin.txt.gz", gzip.compress(b"cafe\ncaf\xe9\n", mtime=0), DataError, "latin.txt.gz, line 2: not UTF-8"),
        ("plain.gz", b"not compressed", DataError, "plain.gz: damaged gzip file .*; fetch it again"),
        ("cut.gz", gzip.compress(b"one\ntwo\n", mtime=0)[:-4], DataError, "cut.gz: damaged gzip file"),
        ("head.gz", gzip.compress(b"one\ntwo\n", mtime=0)[:5], DataError, "head.gz: damaged gzip file"),
        ("sum.gz", gzip.compress(b"one\ntwo\n", mtime=0)[:-8] + bytes(8), DataError, "sum.gz: damaged gzip file"),
        ("bits.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, DataError, "bits.gz: damaged gzip file"),
        ("empty.txt", b"", DataError, "no text in the corpus"),
        ("mark.txt", BOM, DataError, "no text in the corpus"),
        ("blank.txt", b" \n\t\n\r\r\n", DataError, "no text in the corpus"),
        ("empty.txt.gz", gzip.compress(b"", mtime=0), DataError, "no text in the corpus"),
    ],
)
def test_unreadable_text_is_an_error_in_one_line(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        read_text([tmp_path / name])
    assert "\n" not in str(raised.value)


def test_directory_is_no_text(tmp_path):
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_text([tmp_path])


def test_one_empty_file_among_others_is_fine(tmp_path):
    paths = write(tmp_path, b=b"", a=b"one\n")
    assert read_text(paths).times == {"one": 1}


def test_what_is_excluded_differs_in_case_punctuation_and_spaces_alone():
    text = text_of("WIN £100, now!!", "see you", "Win 100 then", "win100 now", "win 100")
    assert list(without(text, ["Win 100 now"]).times) == ["see you", "Win 100 then", "win 100"]


def test_lines_without_letters_are_excluded_only_by_themselves():
    """They are all alike once only letters and digits count."""
    text = text_of(":-)", "!!!", "ok", "?")
    assert list(without(text, [" !!! "]).times) == [":-)", "ok", "?"]
    assert list(without(text, ["", "ok."]).times) == [":-)", "!!!", "?"]


WORDS = list(string.ascii_lowercase)


def spoken(*words: str) -> str:
    return " ".join(words)


@pytest.mark.parametrize(
    "shared, excluded",  # of ten 4-grams, those that the message's first words give
    [(3, False), (4, False), (5, False), (6, False), (7, True), (13, True)],
)
def test_a_line_is_excluded_if_more_than_three_tenths_of_its_4_grams_are(shared, excluded):
    """13 words have ten 4-grams; six words in common, three of them, which is 30 % and not more."""
    line, message = spoken(*WORDS[:13]), spoken(*WORDS[:shared], "elsewhere", "entirely")
    kept = without(text_of(line, "another line"), [message])
    assert (line not in kept.times) == excluded


def test_4_grams_are_of_words_in_any_case_between_any_punctuation():
    line = spoken(*WORDS[:8])  # five 4-grams, two of which are too many
    for message in ("x A, b... C-d (E) y", "x\ta b: c\nd e"):
        assert list(without(text_of(line, "ok"), [message]).times) == ["ok"]
    kept = without(text_of(line, "ok"), ["a b c d", "x a b c", "f g h x", "ab cd ef g", "d c b a h g f e"])
    assert line in kept.times  # one of five; and other orders and parts of words are others


def test_one_4_gram_of_three_is_more_than_three_tenths():
    line = spoken(*WORDS[:6])
    assert list(without(text_of(line, "ok"), ["a b c d elsewhere"]).times) == ["ok"]


def test_4_grams_of_several_messages_add_up_but_none_spans_two():
    line = spoken(*WORDS[:8])
    assert line not in without(text_of(line, "ok"), ["a b c d", "e f g h"]).times
    assert line in without(text_of(line, "ok"), ["a b c", "d e f", "g h"]).times


def test_short_lines_are_excluded_only_if_equal():
    """Three words have no 4-gram, and stand in many a message."""
    text = text_of("see you soon", "See you, soon", "call me", "see you soon then")
    assert list(without(text, ["I will see you soon then, call me"]).times) == ["see you soon", "See you, soon", "call me"]
    assert list(without(text, ["SEE YOU SOON"]).times) == ["call me", "see you soon then"]


def test_what_is_kept_is_as_it_was():
    text = Text(Counter({"one": 2, "two": 3, "three": 1}), {"one": 1, "two": 3, "three": 2}, {"a": "x", "b": "y"})
    kept = without(text, ["Three"])
    assert list(kept.times.items()) == [("one", 2), ("two", 3)]
    assert kept.files == text.files and kept.sources["two"] == 3
    assert text.times["three"] == 1  # and what was given is not touched
    assert without(text, []) == text


def test_nothing_left_is_an_error():
    with pytest.raises(DataError, match="every line of the corpus occurs in the excluded file; name other text"):
        without(text_of("one", "One!"), ["one"])


@given(st.lists(st.text(min_size=1, max_size=30).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_no_message_is_kept_whatever_it_is(messages):
    text = text_of("something else that nobody wrote so far", *messages)
    assert not set(without(text_of("\x00kept\x00", *messages), messages).times) & set(messages)
    assert set(without(text, messages).times) <= set(text.times)
