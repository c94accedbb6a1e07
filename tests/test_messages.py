"""Labelled files of every form, read back, and one plain line for every way in which a file can be wrong."""

import csv
import hashlib
import io
import json
import shutil
import time

import pytest
from conftest import TINY_MESSAGES
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcli.errors import DataError, NotFoundError
from spamcli.messages import read_bytes, read_messages
from spamcli.rows import find_column

HAM_THEN_SPAM = [(0, "see you, at six"), (1, 'win "£5" now')]
AS_TABLE = 'label,text\nham,"see you, at six"\nspam,"win ""£5"" now"\n'
AS_JSONL = '{"label": "ham", "text": "see you, at six"}\n{"label": "spam", "text": "win \\"£5\\" now"}\n'
AS_UCI = 'ham\tsee you, at six\nspam\twin "£5" now\n'

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"',\t\r\n\\{} £\ufeff\x85\u2028\0"))
LABELLED = st.lists(st.tuples(st.sampled_from([0, 1]), ANY_TEXT), max_size=8).map(
    lambda messages: [(0, "first"), (1, "second"), *messages]
)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def labelled(messages) -> list[tuple[int, str]]:
    return list(zip(messages.frame["label"], messages.frame["text"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("messages")


@pytest.mark.parametrize(
    "name, form, content",
    [
        ("a.csv", "csv", AS_TABLE),
        ("a.txt", "csv", AS_TABLE),
        ("a", "csv", AS_TABLE),
        ("a.tsv", "tsv", 'label\ttext\nham\tsee you, at six\nspam\t"win ""£5"" now"\n'),
        ("a.TAB", "tsv", 'label\ttext\nham\tsee you, at six\nspam\t"win ""£5"" now"\n'),
        ("a.jsonl", "jsonl", AS_JSONL),
        ("a.ndjson", "jsonl", AS_JSONL),
        ("a.json", "jsonl", "\n" + AS_JSONL.replace("\n", "\n\n")),
        ("looks-like.csv", "jsonl", AS_JSONL),
        ("SMSSpamCollection", "tsv", AS_UCI),
        ("looks-like.jsonl", "tsv", AS_UCI),
        ("capitals.csv", "tsv", AS_UCI.replace("ham", "Ham").replace("spam", "SPAM")),
        ("blank-lines.csv", "csv", "\n" + AS_TABLE.replace("\n", "\n\n")),
        ("other-columns.csv", "csv", 'who,text,label,,\nme,"see you, at six",ham,,\nthem,"win ""£5"" now",spam,x,\n'),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_form(tmp_path, name, form, content, line_end, mark):
    path = write(tmp_path, name, mark + content.replace("\n", line_end))
    messages = read_messages(path)
    assert labelled(messages) == HAM_THEN_SPAM
    assert messages.form == form
    assert list(messages.frame["row"]) == [0, 1]
    assert len(messages) == 2
    assert messages.path == path
    assert messages.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("content", [AS_TABLE, AS_JSONL, AS_UCI])
def test_the_last_line_end_may_be_missing_or_doubled(tmp_path, content):
    for end in ("", "\n\n", "\r\n\r\n"):
        assert labelled(read_messages(write(tmp_path, "a.txt", content.rstrip("\n") + end))) == HAM_THEN_SPAM


def test_line_ends_in_quotes_and_empty_texts_are_kept(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\r\n"one\ntwo\r\n\r\nthree",ham\r\n,spam\r\n" ",spam\r\n')
    assert labelled(read_messages(path)) == [(0, "one\ntwo\r\n\r\nthree"), (1, ""), (1, " ")]


def test_a_table_may_have_the_line_ends_of_old_macintoshes(tmp_path):
    assert labelled(read_messages(write(tmp_path, "a.csv", AS_TABLE.replace("\n", "\r")))) == HAM_THEN_SPAM


def test_uci_form_takes_the_text_as_it_stands(tmp_path):
    path = write(tmp_path, "a", 'ham\t"open\tquote\x85,\u2028 and \\n\nspam\t\nham\t text \n')
    assert labelled(read_messages(path)) == [(0, '"open\tquote\x85,\u2028 and \\n'), (1, ""), (0, " text ")]


@pytest.mark.parametrize("name", ["spam.csv", "renamed.jsonl", "anything"])
def test_the_collection_is_known_by_its_content(tmp_path, spam_csv, name):
    messages = read_messages(shutil.copy(spam_csv, tmp_path / name))
    assert messages.form == "spam.csv"
    assert len(messages) == 5573
    assert messages.frame["label"].sum() == 747
    assert not messages.frame["text"].str.contains("å£").any()
    assert list(messages.frame["row"][[0, 2791, 2792, 5572]]) == [0, 2791, 2791, 5571]


def test_raw_is_what_the_tutorial_read(spam_csv):
    """pandas.read_csv("spam.csv", encoding="latin-1"), columns v1 and v2: the tutorial's own line."""
    with spam_csv.open(encoding="latin-1", newline="") as file:
        expected = [(int(row["v1"] == "spam"), row["v2"]) for row in csv.DictReader(file)]
    messages = read_messages(spam_csv, raw=True)
    assert labelled(messages) == expected
    assert list(messages.frame["row"]) == list(range(5572))
    assert messages.frame["text"].str.contains("å£").any()
    assert messages.reading["raw"] is True


def test_a_changed_copy_of_the_collection_is_not_the_collection(tmp_path, spam_csv):
    text = spam_csv.read_bytes().decode("latin-1")
    messages = read_messages(write(tmp_path, "spam.csv", text))  # as UTF-8: still garbled, nothing we could vouch for
    assert messages.form == "csv"
    assert len(messages) == 5572


@pytest.mark.parametrize("text_column", ["text", "message", "sms", "v2", "Text", "MESSAGE"])
@pytest.mark.parametrize("label_column", ["label", "class", "category", "v1", "Label", "CATEGORY"])
def test_usual_column_names(tmp_path, text_column, label_column):
    path = write(tmp_path, "a.csv", f"id,{text_column},{label_column}\n7,hello,ham\n8,win,spam\n")
    assert labelled(read_messages(path)) == [(0, "hello"), (1, "win")]


def test_of_several_usual_columns_the_first_usual_name_counts(tmp_path):
    header = "v2,v1,sms,class,message,label,text\n"
    path = write(tmp_path, "a.csv", header + "a,b,c,d,e,ham,this\n" + "a,b,c,d,e,spam,that\n")
    assert labelled(read_messages(path)) == [(0, "this"), (1, "that")]


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path, "a.csv", "text,body,verdict,label\nwrong,hello,ham,spam\nwrong,win,spam,ham\n")
    messages = read_messages(path, text_column="body", label_column="verdict")
    assert labelled(messages) == [(0, "hello"), (1, "win")]
    reading = {"raw": False, "text_column": "body", "label_column": "verdict", "spam_labels": [], "skip_bad": False}
    assert messages.reading == reading


def test_one_named_column_leaves_the_other(tmp_path):
    path = write(tmp_path, "a.csv", "body,verdict\nhello,ham\nwin,spam\n")
    assert labelled(read_messages(path, text_column="body")) == [(0, "hello"), (1, "win")]


@pytest.mark.parametrize("columns, found", [(["a", "SMS", "b"], "SMS"), (["v2", "text"], "text"), (["odd"], "odd")])
def test_find_column(tmp_path, columns, found):
    assert find_column("text", None, ("text", "sms", "v2"), columns, tmp_path) == found


@pytest.mark.parametrize("ham, spam", [("ham", "spam"), ("0", "1"), (" HAM ", "Spam"), ("False", "true")])
def test_labels_as_text(tmp_path, ham, spam):
    path = write(tmp_path, "a.csv", f"label,text\n{ham},a\n{spam},b\n")
    assert labelled(read_messages(path)) == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("ham, spam", [("ham", "SPAM"), ("0", "1"), (0, 1), (0.0, 1.0), (False, True), (0, True)])
def test_labels_in_json(tmp_path, ham, spam):
    lines = [json.dumps({"label": label, "text": text}) for label, text in ((ham, "a"), (spam, "b"))]
    assert labelled(read_messages(write(tmp_path, "a.jsonl", "\n".join(lines)))) == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    "spam_labels, spam",
    [(["phishing"], [1]), (["Phishing ", "JUNK"], [1, 2]), (["ham"], [0]), (["1"], [3]), (["true"], [4]), (["5"], [5])],
)
def test_spam_labels(tmp_path, spam_labels, spam):
    """They replace the usual labels: what they do not name is ham, be it called spam."""
    labels = ["ham", "phishing", " junk ", 1, True, 5.0, "spam"]
    lines = [json.dumps({"label": label, "text": "x"}) for label in labels]
    messages = read_messages(write(tmp_path, "a.jsonl", "\n".join(lines)), spam_labels=spam_labels)
    assert [n for n, label in enumerate(messages.frame["label"]) if label == 1] == spam
    assert messages.reading["spam_labels"] == spam_labels


def test_spam_labels_hold_for_the_headerless_form(tmp_path):
    path = write(tmp_path, "a", "ham\ta\nphishing\tb\nspam\tc\n")
    assert labelled(read_messages(path, spam_labels=["phishing"])) == [(0, "a"), (1, "b"), (0, "c")]


WRONG = {
    "empty": (b"", {}, ": the file is empty", "needs a header"),
    "blank": (b" \n\r\n", {}, ": the file is empty", "needs a header"),
    "only a byte order mark": (b"\xef\xbb\xbf", {}, ": no messages", "needs a header"),
    "header only": ("label,text\n", {}, ": no messages", "needs a header"),
    "not UTF-8": (b"label,text\nham,a\nspam,\xa35\n", {}, ", line 3: not UTF-8", "iconv"),
    "UTF-16": ("label,text\n".encode("utf-16"), {}, ", line 1: UTF-16, not UTF-8", "iconv -f utf-16"),
    "no tab": ("ham\ta\nspam b\n", {}, ", line 2: no tab", "correct the line"),
    "blank line without header": ("ham\ta\n\nspam\tb\n", {}, ", line 2: no tab", "correct the line"),
    "headerless label": ("ham\ta\nspm\tb\n", {}, ", line 2: label 'spm'", "--spam-label"),
    "too many fields": (
        'label,text\nham,"a\nb"\nspam,c,d\n',
        {},
        ", line 4: 3 fields where the header has 2",
        "needs quotes",
    ),
    "too few fields": ("label,text\nham\n", {}, ", line 2: 1 fields where the header has 2", "needs quotes"),
    "quote never closed": ('label,text\nham,a\nspam,"b\nham,c\n', {}, ", line 3: unexpected end", "check the quotes"),
    "quote in the header": ('"label,text\nham,a\n', {}, ", line 1: unexpected end", "check the quotes"),
    "text after a quote": ('label,text\nham,"a\nb" c\nspam,d\n', {}, ", line 2: ',' expected", "check the quotes"),
    "not JSON": ('{"label": 0, "text": "a"}\n\n{"label": 1\n', {}, ", line 3: not JSON", "one object"),
    "endless number": ('{"label": %s, "text": "a"}' % ("1" * 5000), {}, ", line 1: JSON beyond", "correct the line"),
    "bottomless list": ('{"label": %s' % ("[" * 100_000), {}, ", line 1: JSON beyond", "correct the line"),
    "not an object": ('{"label": 0, "text": "a"}\n["ham", "b"]\n', {}, ", line 2: a JSON list", "write {...}"),
    "no such field": ('{"label": 0, "text": "a"}\n{"label": 1}\n', {}, ", line 2: no field 'text'", "every line needs"),
    "no label": ('{"label": 0, "text": "a"}\n{"text": "b"}\n', {}, ", line 2: no field 'label'", "every line needs"),
    "not a string": ('{"label": 0, "text": 5}\n', {}, ", line 1: the text is not a string", "put it in quotes"),
    "no text": ('{"label": 0, "text": null}\n', {}, ", line 1: the text is not a string", "put it in quotes"),
    "unknown text column": (
        "label,a\n0,b\n",
        {"text_column": "x"},
        ", line 1: no column 'x' among 'label', 'a'",
        "--text",
    ),
    "unknown label column": (
        "label,text\n0,b\n",
        {"label_column": "x"},
        ", line 1: no column 'x' among 'label'",
        "correct --label-column",
    ),
    "which text": ("label,a,b\n0,c,d\n", {}, ", line 1: which of 'label', 'a', 'b' is the text?", "--text-column"),
    "which label": ("text,a,b\n0,c,d\n", {}, ", line 1: which of 'a', 'b' is the label?", "--label-column"),
    "line end in a name": ('"la\nbel",a\n0,b\n', {}, r", line 1: which of 'la\nbel', 'a'", "--text-column"),
    "semicolons": ("label;text\nham;a\n", {}, ", line 1: separated by semicolons", "Save it with commas"),
    "unknown label": ("label,text\nham,a\nspm,b\n", {}, ", line 3: label 'spm' is neither", "--spam-label"),
    "label after line ends in quotes": ('text,label\n"a\n\nb",ham\nc,x\n', {}, ", line 5: label 'x'", "--spam-label"),
    "label of two lines": ('label,text\n"h\nam",a\n', {}, r", line 2: label 'h\nam'", "--spam-label"),
    "null label": ('{"label": null, "text": "a"}\n', {}, ", line 1: label None", "--spam-label"),
    "half a label": ('{"label": 0.5, "text": "a"}\n', {}, ", line 1: label 0.5", "--spam-label"),
    "2 is no label": ('{"label": 2, "text": "a"}\n', {}, ", line 1: label 2", "--spam-label"),
    "all ham": ("label,text\nham,a\nham,b\n", {}, ": all 2 messages are ham", "--spam-label"),
    "all spam": ("label,text\n1,a\n", {}, ": all 1 messages are spam", "both classes"),
    "a spam label that nothing has": (AS_TABLE, {"spam_labels": ["junk"]}, ": all 2 messages are ham", "--spam-label"),
}


@pytest.mark.parametrize("content, arguments, where_and_what, remedy", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(tmp_path, content, arguments, where_and_what, remedy):
    path = write(tmp_path, "a.txt", content)
    with pytest.raises(DataError) as caught:
        read_messages(path, **arguments)
    message = str(caught.value)
    assert message.startswith(f"{path}{where_and_what}")
    assert remedy in message
    assert len(message.splitlines()) == 1
    assert caught.value.exit_code == 65


def test_a_tsv_is_told_about_its_tabs(tmp_path):
    with pytest.raises(DataError, match=r"line 3: .*expected after .*check the quotes") as caught:
        read_messages(write(tmp_path, "a.tsv", 'label\ttext\nham\ta\nspam\t"b" c\n'))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name, what, remedy",
    [
        ("missing.csv", "no such file", "spamcli download"),
        (".", "cannot be read (Is a directory)", "name a file"),
        ("file/inside", "cannot be read (Not a directory)", "name a file"),
    ],
)
def test_no_such_file(tmp_path, name, what, remedy):
    write(tmp_path, "file", AS_TABLE)
    for read in (read_bytes, read_messages):
        with pytest.raises(NotFoundError) as caught:
            read(tmp_path / name)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / name}: {what}")
        assert remedy in message
        assert len(message.splitlines()) == 1
        assert caught.value.exit_code == 66


def test_columns_have_the_same_types_in_every_pandas(tmp_path):
    """Text stays Python's own str, which may hold half a surrogate pair as JSON may; Arrow's strings cannot."""
    path = write(tmp_path, "a.jsonl", '{"label": 0, "text": "half \\ud83d"}\n{"label": 1, "text": "\\ud83d\\ude00"}\n')
    messages = read_messages(path)
    assert messages.frame.dtypes.astype(str).to_dict() == {"row": "int64", "label": "int8", "text": "object"}
    assert labelled(messages) == [(0, "half \ud83d"), (1, "😀")]


@settings(max_examples=60, deadline=None)
@given(LABELLED, st.sampled_from([("a.csv", ","), ("a.tsv", "\t")]), st.booleans())
def test_a_written_table_reads_back_equal(folder, messages, name_and_delimiter, quote_all):
    name, delimiter = name_and_delimiter
    out = io.StringIO(newline="")
    style = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"} if quote_all else {}
    writer = csv.writer(out, delimiter=delimiter, **style)
    writer.writerows([("label", "text"), *messages])
    assert labelled(read_messages(write(folder, name, out.getvalue()))) == messages


@settings(max_examples=60, deadline=None)
@given(LABELLED, st.booleans())
def test_written_jsonl_reads_back_equal(folder, messages, ascii_only):
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=ascii_only) for label, text in messages]
    assert labelled(read_messages(write(folder, "a.jsonl", "\n".join(lines)))) == messages


@settings(max_examples=60, deadline=None)
@given(LABELLED)
def test_written_uci_lines_read_back_equal(folder, messages):
    messages = [(label, text.replace("\r", "").replace("\n", "")) for label, text in messages]
    lines = [f"{('ham', 'spam')[label]}\t{text}\n" for label, text in messages]
    assert labelled(read_messages(write(folder, "a.csv", "".join(lines)))) == messages


def test_columns_and_raw_where_they_mean_nothing(spam_csv, tmp_path):
    headerless = tmp_path / "SMS"
    headerless.write_text("ham\thello\nspam\twin\n")
    for path, arguments, says in [
        (spam_csv, {"text_column": "body"}, "leave out --text-column"),
        (headerless, {"label_column": "kind"}, "leave out --text-column"),
        (headerless, {"raw": True}, "leave out --raw"),
        (TINY_MESSAGES, {"raw": True}, "leave out --raw"),
    ]:
        with pytest.raises(DataError, match=says):
            read_messages(path, **arguments)
    assert len(read_messages(spam_csv, text_column="v2", label_column="v1")) == 5573


def test_column_name_twice(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("label,text,text\nham,a,b\n")
    with pytest.raises(DataError, match="two columns are called 'text'"):
        read_messages(path)


@pytest.mark.parametrize("label, number", [("1.0", 1), ("0.0", 0), ("0", 0), ("SPAM", 1)])
def test_labels_as_pandas_writes_them(tmp_path, label, number):
    path = tmp_path / "float.csv"
    path.write_text(f"label,text\n{label},a\n{'ham' if number else 'spam'},b\n")
    assert read_messages(path).frame["label"][0] == number


@pytest.mark.parametrize(
    "line, content",
    [
        (2, b"\xef\xbb\xbflabel,text\nham,\xff\nspam,b\n"),
        (3, b"\xef\xbb\xbfa\n\n\xff"),
        (1, b"\xff,text\nham,b\n"),
    ],
)
def test_the_line_that_is_not_utf_8_is_the_right_one_behind_a_byte_order_mark(tmp_path, line, content):
    with pytest.raises(DataError, match=f", line {line}: not UTF-8"):
        read_messages(write(tmp_path, "a.csv", content))


SKIPPED = {  # file, the data rows and texts that are left, how many others there were, the first of them
    "a label": ("a.csv", b"label,text\nspm,a\nham,b\nspam,c\n", [(1, "b"), (2, "c")], 1, "line 2: label 'spm'"),
    "ragged rows": ("a.csv", b"label,text\nham,a\nham\n\nspam,b,c\nspam,d\n", [(0, "a"), (3, "d")], 2, "line 3: 1 fields"),
    "not UTF-8": ("a.csv", b"label,text\nham,a\nham,\xa35\nspam,c\xc3\xa9\n", [(0, "a"), (2, "cé")], 1, "line 3: not UTF-8"),
    "a quote never closed": (
        "a.csv",
        b'label,text\nham,a\nham,"b\nspam,c\nham,d\n',
        [(0, "a"), (2, "c"), (3, "d")],
        1,
        "line 3: unex",
    ),
    "a quote that closes too late": (
        "a.csv",
        b'label,text\nham,"a\nspam,"b\nc"\nham,d\n',
        [(3, "d")],
        3,
        "line 2: ',' expected",
    ),
    "text behind a quote": ("a.tsv", b'label\ttext\nham\t"a" b\nspam\tc\n', [(1, "c")], 1, "line 2: '"),
    "objects": (
        "a.jsonl",
        b'{"x": 1}\n[]\n{"label": 0, "text": 5}\n{"label": 0, "text": "a"}\n{\n{"label": 9, "text": "b"}\n\xff\n',
        [(3, "a")],
        6,
        "line 1",
    ),
    "half a character": (
        "a.jsonl",
        b'{"label": 0, "text": "\\udc80"}\n{"label": 0, "text": "\xff"}\n',
        [(0, "\udc80")],
        1,
        "line 2: not UTF-8",
    ),
    "lines": ("SMS", b"ham\ta\n\nspam b\nspam\tc\nspm\td\nham\t\xff\n", [(0, "a"), (3, "c")], 4, "line 2: no tab"),
}


@pytest.mark.parametrize("name, content, left, skipped, first", SKIPPED.values(), ids=SKIPPED)
def test_bad_records_are_skipped_and_counted(tmp_path, name, content, left, skipped, first):
    """Those that are left keep their row; without skip_bad the first of the others is the error, which names the option."""
    path = write(tmp_path, name, content)
    with pytest.warns(UserWarning, match="skipped") as seen:
        messages = read_messages(path, both_classes=False, skip_bad=True)
    assert list(zip(messages.frame["row"], messages.frame["text"])) == left and messages.skipped == skipped
    assert str(seen[0].message).startswith(
        f"{path}: {skipped} records that cannot be read are skipped; the first: {path}, {first}"
    )
    assert messages.reading["skip_bad"] is True and messages.fingerprint.endswith(f", skip_bad, skipped {skipped}")
    with pytest.raises(DataError, match="not UTF-8|or leave such records out with --skip-bad"):
        read_messages(path, both_classes=False)


def test_nothing_to_skip_and_nothing_left(tmp_path, recwarn):
    """The same messages, and no warning; a file of bad records alone is refused with the first one's reason."""
    path = write(tmp_path, "a.csv", AS_TABLE)
    lenient = read_messages(path, skip_bad=True)
    assert lenient.frame.equals(read_messages(path).frame) and lenient.skipped == 0 and not recwarn
    assert lenient.fingerprint.endswith(", skip_bad")
    with pytest.raises(DataError, match="line 2: label 'x'"):
        read_messages(write(tmp_path, "b.csv", "label,text\nx,a\ny,b\n"), skip_bad=True)


@pytest.mark.parametrize(
    "content", ['"label,text\nham,a\n', "label,text,text\nham,a,b\n", "label;text\nham;a\n", "a,b,c\nham,a,b\n"]
)
def test_a_header_cannot_be_skipped(tmp_path, content):
    with pytest.raises(DataError, match="line 1: ") as caught:
        read_messages(write(tmp_path, "a.csv", content), skip_bad=True)
    assert "--skip-bad" not in str(caught.value)


def test_skipping_takes_no_longer_than_reading(tmp_path):
    """A quote on every line, each record of which would reach to the end: read once, not once a line."""
    path = write(tmp_path, "a.csv", "label,text\n" + 'ham"",""","\n' * 20_000 + "ham,a\nspam,b\n")
    start = time.process_time()
    with pytest.warns(UserWarning, match="skipped"):
        messages = read_messages(path, skip_bad=True)
    assert [text for _, text in labelled(messages)][-1] == "b" and time.process_time() - start < 5
