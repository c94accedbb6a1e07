"""Files that are wrong, damaged or out to do harm: a row for every record, or one line and exit code 65; memory is bounded."""

import gzip
import io
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from spamcli.errors import DataError
from spamcli.messages import read_messages
from spamcli.records import read, write
from spamcli.rows import LONGEST

from conftest import TINY_MESSAGES  # isort: skip

TABLE = b'label,text\nham,"see you, at six"\nspam,"win ""5""\nnow"\n'


def packed(data: bytes, suffix: str) -> bytes:
    return gzip.compress(data, mtime=0) if suffix == ".gz" else pyarrow.compress(data, "zstd", asbytes=True)


def as_parquet(**columns) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


OBJECTS = [None, None, None, None, None, None, "a", None]
# File, and what of its records can be judged; None for what cannot.
RECORDS = {
    "a quote never closed": ("a.csv", b'id,text\n1,a\n2,"b\n3,c\n4,d\n', ["a", None, "c", "d"]),
    "a quote closed by the next": ("a.csv", b'id,text\n1,"a\n2,"b"\n3,c\n', [None, "b", "c"]),
    "text after a quote": ("a.tsv", b'text\tid\n"a" b\t1\nc\t2\n', [None, "c"]),
    "ragged from the first row on": ("a.csv", b"id,text\n1\n2,b\n3,c,d\n\n4,e\n", [None, "b", None, "e"]),
    "NUL": ("a.csv", b"id,text\n1,a\x00b\n\x00,\x00\n", ["a\x00b", "\x00"]),
    "not all of it UTF-8": ("a.csv", b"id,text\n1,\xa35\n2,caf\xc3\xa9\n", ["\ufffd5", "café"]),
    "a line too long": ("a.txt", b"a\n" + b"x" * 3 * LONGEST + b"\nb\n", ["a", None, "b"]),
    "a field too long": ("a.csv", b"id,text\n1,a\n2," + b"x" * 2 * LONGEST + b"\n3,b\n", ["a", None, "b"]),
    "an object too long": ("a.jsonl", b'{"text": "a"}\n{"text": "%s"}\n{"text": "b"}' % (b"x" * LONGEST), ["a", None, "b"]),
    "objects of every kind": ("a.jsonl", b'{}\n[]\n"a"\n{"text": 1}\nnull\n{"text": {}}\n{"text": "a"}\n\xff\n', OBJECTS),
    "nested columns": ("a.parquet", as_parquet(text=["a", None, "b"], deep=[[{"x": [1]}], [], None]), ["a", None, "b"]),
    "bytes": ("a.parquet", as_parquet(text=["a", "b"], raw=[b"\xff", None]), ["a", "b"]),
    "text in a structure": ("a.parquet", as_parquet(text=[{"a": "b"}, {"a": None}]), [None, None]),
    "a line just short enough": ("a.txt", b"a\n" + b"x" * LONGEST + b"\nb\n", ["a", "x" * LONGEST, "b"]),
    "a line just too long": ("a.txt", b"a\n" + b"x" * (LONGEST + 1) + b"\nb\n", ["a", None, "b"]),
    "a line just too long with a return": ("a.txt", b"x" * (LONGEST + 1) + b"\r\nb\r\n", [None, "b"]),
    "fields just short enough, just too long": (
        "a.csv",
        b"text\r\n" + b"x" * LONGEST + b"\r\n" + b"x" * (LONGEST + 1) + b"\r\nb\r\n",
        ["x" * LONGEST, None, "b"],
    ),
    "a cell too large": ("a.parquet", as_parquet(text=["a", "b"], raw=[b"x" * (2**24 + 1), b"x"]), [None, "b"]),
    "a list too large": ("a.parquet", as_parquet(text=["a", "b"], deep=[[0] * (2**22), [1]]), [None, "b"]),
    "a cell too long": ("a.parquet", as_parquet(text=["a", "x" * (LONGEST + 1), "b"]), ["a", None, "b"]),
}


@pytest.mark.parametrize("name, content, texts", RECORDS.values(), ids=RECORDS)
def test_every_record_has_a_row(cli, model, tmp_path, name, content, texts):
    """In the terminal, as JSON and in a file; the reason says where."""
    (tmp_path / name).write_bytes(content)
    records = list(read(str(tmp_path / name)))
    assert [record.text for record in records] == texts
    assert all(name in record.error for record in records if record.text is None)
    result = cli("predict", "--model", model, "-f", name, "--json")
    labels = [json.loads(line).get("spamcli_label") or json.loads(line)["label"] for line in result.stdout.splitlines()]
    assert [label == "error" for label in labels] == [text is None for text in texts]
    assert result.exit_code == (65 if None in texts else 0) and result.stderr.count("\n") <= 1, result.stderr
    assert cli("predict", "--model", model, "-f", name, "-o", "out.jsonl").exit_code == result.exit_code
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == len(texts)


def test_a_table_whose_first_record_is_wrong_is_written_as_a_table(cli, model, tmp_path):
    (tmp_path / "a.csv").write_bytes(RECORDS["ragged from the first row on"][1])
    for name in ("out.csv", "out.parquet"):
        assert cli("predict", "--model", model, "-f", "a.csv", "-o", name).exit_code == 65
        rows = [record.values for record in read(name, text_column="label")]
        assert [row["label"] == "error" for row in rows] == [True, False, True, False]
        assert [row["id"] for row in rows] == ["1", "2", "3", "4"]


UNREADABLE = {
    "UTF-16": (("label,text\n" + "ham,a\n" * 9).encode("utf-16"), "UTF-16, not UTF-8; convert it, e.g. iconv"),
    "UTF-16 the other way": (b"\xfe\xff" + "label,text\n".encode("utf-16-be"), "UTF-16, not UTF-8"),
    "UTF-32": ("label,text\nham,a\n".encode("utf-32"), "UTF-32, not UTF-8; convert it, e.g. iconv -f utf-32"),
    "UTF-32 the other way": (b"\0\0\xfe\xff" + "label,text\n".encode("utf-32-be"), "UTF-32, not UTF-8"),
    "gzip": (packed(TABLE, ".gz"), "gzip, not text; unpack it"),
    "zstd": (packed(TABLE, ".zst"), "zstd, not text; unpack it"),
    "Parquet": (as_parquet(text=["a"]), "Parquet, not text"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(30), "spreadsheet, not text; save what is in it as CSV"),
}


@pytest.mark.parametrize("content, says", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_what_is_no_text_is_not_judged_as_text(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    for reading in (lambda: list(read(str(tmp_path / name))), lambda: read_messages(tmp_path / name)):
        with pytest.raises(DataError, match=says) as caught:
            reading()
        assert str(caught.value).startswith(f"{tmp_path / name}, line 1: ") and "\n" not in str(caught.value)


def test_nor_is_standard_input(cli, model):
    result = cli("predict", "--model", model, input="hello\n".encode("utf-16"))
    assert (
        result.exit_code == 65
        and result.stdout == ""
        and result.stderr == ("spamcli: -, line 1: UTF-16, not UTF-8; convert it, e.g. iconv -f utf-16 -t utf-8\n")
    )


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "txt", "parquet"])
def test_an_archive_that_is_cut_off_is_never_taken_for_whole(tmp_path, form, suffix):
    """Wherever: what was whole before comes first, and then an error."""
    rows = [{"text": f"message {number} {hash((number, 'x'))}"} for number in range(3000)]
    path = tmp_path / f"a.{form}{suffix}"
    write(str(path), None, iter(rows))
    whole = path.read_bytes()
    assert [record.text for record in read(str(path))] == [row["text"] for row in rows]
    for cut in [*range(1, len(whole), len(whole) // 9), len(whole) - 1, len(whole) - 4]:
        path.write_bytes(whole[:cut])
        texts = []
        with pytest.raises(DataError, match="damaged"):
            texts.extend(record.text for record in read(str(path)))
        assert texts == [row["text"] for row in rows[: len(texts)]]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize(
    "name, unit, times",
    [
        ("a.txt", b"x" * 1000, 100_000),
        ("a.csv", b'text\n"' + b"x" * 1000, 100_000),
        ("a.csv", b"text,", 20_000_000),
        ("a.csv", b'text\n"a\n",', 110_000),
        ("a.jsonl", b'{"text": ["a", {' + b" " * 1000, 100_000),
        ("a.txt", b"x" * 999 + b"\n", 20_000),
    ],
)
def test_memory_is_bounded_whatever_a_file_unpacks_to(tmp_path, suffix, name, unit, times):
    """A hundred megabytes in one line, one quote, one record; and many short ones."""
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(packed(unit * times, suffix))
    assert path.stat().st_size < len(unit) * times / 50
    tracemalloc.start()
    try:
        for record in read(str(path)):
            assert record.text is not None or len(record.error) < 500
    except DataError as error:
        assert len(str(error)) < 500
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * LONGEST


def test_any_damage_to_the_end_of_a_parquet_file_is_one_line(tmp_path):
    """Every byte of its footer, sizes and counts among them, as large as can be, and as wrong; in a process that may crash."""
    (tmp_path / "a.parquet").write_bytes(as_parquet(text=["a", "b"], n=[1, 2], deep=[[{"x": "y"}], None]))
    code = """if True:
        import resource, sys
        from spamcli.errors import DataError
        from spamcli.records import read
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        whole = open("a.parquet", "rb").read()
        start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for place in range(start, len(whole)):
            for byte in (0x7F, 0xFF, whole[place] ^ 1):
                open("b.parquet", "wb").write(whole[:place] + bytes([byte]) + whole[place + 1 :])
                try:
                    list(read("b.parquet"))
                except DataError as error:
                    assert "\\n" not in str(error)
        print("done")
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr[-2000:]


def test_parquet_whose_rows_hold_more_than_fits_is_refused_or_read_in_parts(tmp_path):
    (tmp_path / "cell.parquet").write_bytes(as_parquet(text=["a"], raw=[b"x" * (2**26 + 1)]))
    with pytest.raises(DataError, match="rows of 67,1"):
        list(read(str(tmp_path / "cell.parquet")))
    lists = pyarrow.array([np.zeros(300_000, np.int8)] * 500)
    (tmp_path / "lists.parquet").write_bytes(as_parquet(text=["a"] * 500, deep=lists))
    assert (tmp_path / "lists.parquet").stat().st_size < 10_000
    before, most = pyarrow.total_allocated_bytes(), 0
    for record in read(str(tmp_path / "lists.parquet")):
        most = max(most, pyarrow.total_allocated_bytes() - before)
        assert len(record.values["deep"]) == 300_000
    assert most < 100e6  # read all at once they take 2.3e9


def test_parquet_takes_what_other_forms_take_or_says_why_not(tmp_path):
    """Columns without a value at first have a kind later; half a character is a ?; what has no kind is for .jsonl."""
    path = str(tmp_path / "a.parquet")
    rows = [{"text": None, "p_spam": None}] * 1500 + [{"text": "half \ud83d", "p_spam": 0.5}] * 2
    write(path, None, iter(rows))
    back = [record.values for record in read(path)]
    assert back[:1500] == rows[:1500] and back[1500:] == [{"text": "half ?", "p_spam": 0.5}] * 2
    of_no_kind = [{"a": 10**30}], [{"a": {"b": "\ud83d"}}], [{"a": {}}], [{"a": [{}]}]
    for wrong in ([{"a": 1}, {"a": "x"}], [{"a": 1}, {"a": 1, "b": 2}], *of_no_kind):
        with pytest.raises(DataError, match="write .jsonl"):
            write(path, None, iter(wrong))
    assert [record.values for record in read(path)] == back  # as it was


def test_bad_records_are_skipped_if_asked_and_the_figures_say_so(cli, tiny_elmo, tmp_path):
    """By train, by evaluate of what was trained, and by evaluate --test."""
    good = TINY_MESSAGES.read_bytes()
    (tmp_path / "a.csv").write_bytes(good + b'ham\nspm,win\nham,caf\xe9\nspam,"never closed\n')
    arguments = ["train", "--data", "a.csv", "--elmo", tiny_elmo, "--epochs", 1, "--model", "m"]
    refused = cli(*arguments)
    assert refused.exit_code == 65 and refused.stdout == "" and "a.csv, line 44: not UTF-8" in refused.stderr
    trained = cli(*arguments, "--skip-bad")
    assert trained.exit_code == 0, trained.stderr
    assert trained.stderr.startswith("spamcli: a.csv: 4 records that cannot be read are skipped; the first: a.csv, line 42: ")
    assert trained.stderr.count("\n") == 1 and "skip_bad, skipped 4" in trained.stdout
    again = cli("evaluate", "--model", "m")
    assert again.exit_code == 0 and "skip_bad, skipped 4" in again.stdout and "4 records" in again.stderr
    (tmp_path / "b.csv").write_bytes(b"label,text\nham,see you then\nspam,win cash now\nspam\n")
    figures = cli("evaluate", "--model", "m", "--test", "b.csv", "--skip-bad", "--json")
    assert figures.exit_code == 0, figures.stderr
    assert json.loads(figures.stdout)["file"]["skipped"] == 1 and "skip_bad, skipped 1" in figures.stdout
    assert cli("evaluate", "--model", "m", "--test", "b.csv").exit_code == 65
    assert cli("evaluate", "--model", "m", "--skip-bad").exit_code == 2
