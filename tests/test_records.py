"""Messages in and out of files and pipes: one row out for every record in, whatever the form."""

import contextlib
import gzip
import itertools
import json
import os
import subprocess
import sys
import time
import tracemalloc
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spamcli import prediction
from spamcli.errors import DataError, NotFoundError
from spamcli.records import Record, form_of, json_line, read, write
from spamcli.settings import ClassifierSettings

ROWS = [
    {"id": "1", "text": "see you, at six", "who": "Ann"},
    {"id": "2", "text": 'a "quoted" line\nand a second\ttab', "who": ""},
    {"id": "3", "text": "", "who": "ünï 😀"},
    {"id": "4", "text": "=cmd|' /C calc'!A0", "who": "-1+1"},
]
PACKED = [f"{form}{packing}" for form in ("csv", "tsv", "jsonl", "parquet") for packing in ("", ".gz", ".zst")]
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def values(path) -> list[dict]:
    return [record.values for record in read(str(path))]


@pytest.mark.parametrize("name", PACKED)
def test_what_is_written_is_read_back(tmp_path, name):
    write(str(tmp_path / f"rows.{name}"), None, iter(ROWS))
    assert values(tmp_path / f"rows.{name}") == ROWS
    assert [record.text for record in read(str(tmp_path / f"rows.{name}"))] == [row["text"] for row in ROWS]
    assert [path.name for path in tmp_path.iterdir()] == [f"rows.{name}"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, min_size=1, max_size=5), st.sampled_from(["csv", "tsv", "jsonl", "parquet"]))
def test_any_text_goes_through(tmp_path, texts, form):
    path = tmp_path / f"rows.{form}"
    write(str(path), None, ({"id": str(number), "text": text} for number, text in enumerate(texts)))
    assert [record.text for record in read(str(path))] == texts


def test_the_form_is_what_the_name_says_or_what_is_asked_for():
    names = {"a.csv": "csv", "a.CSV.gz": "csv", "b.tab": "tsv", "c.ndjson.zst": "jsonl", "d.parquet": "parquet", "e": "text"}
    assert {name: form_of(name) for name in names} == names
    assert form_of("log.gz") == "text" and form_of("a.csv", "text") == "text" and form_of("-") == "text"


def test_lines_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\ntwo \x0c\x85\u2028 still\n\nlast".encode() + b"\xff")
    assert [record.text for record in read(str(tmp_path / "a.txt"))] == ["one", "two \x0c\x85\u2028 still", "", "last\ufffd"]


def test_bad_records_are_named_and_the_others_go_through(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,two,2\n3\n4,four\n")
    records = list(read(str(tmp_path / "a.csv")))
    assert [record.text for record in records] == ["one", None, None, "four"]
    assert [record.error.rpartition("a.csv, ")[2] for record in records] == [
        "",
        "line 3: 3 fields instead of 2",
        "line 4: 1 fields instead of 2",
        "",
    ]
    lines = ['{"text": "one"}', "{text}", "[1]", '{"text": 7}', '{"other": 1}', "", '{"text": "two"}', "[" * 100_000]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    records = list(read(str(tmp_path / "a.jsonl")))
    assert [record.text for record in records] == ["one", None, None, None, None, "two", None]
    assert all("a.jsonl, line " in record.error for record in records if record.text is None)


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"a,b\n1,2\n", "which of 'a', 'b' is the text"),
        ("a.csv", b"text,text\n1,2\n", "is there twice"),
        ("a.csv", b"id;text\n1;hello\n", "separated by semicolons or tabs?"),
        ("a.csv", b"text," + b",".join(b"c%d" % n for n in range(20_000)), "20,001 columns; keep those that matter"),
        ("a.csv.gz", gzip.compress(b"text\n" + b"hello\n" * 9999, mtime=0)[:-20], "damaged or cut off"),
        ("a.csv.gz", b"plain", "damaged or cut off"),
        ("a.txt.zst", zstandard.compress(b"hello\n" * 9999)[:-9] + b"xxxxxxxxx", "damaged or cut off"),
        ("a.txt.zst", b"plain, and long enough", "damaged or cut off"),
        ("a.parquet", b"PAR1 no", "damaged, or not Parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(read(str(tmp_path / name)))


def test_an_odd_first_record_does_not_speak_for_the_others(tmp_path):
    for first in ('{"a": "1", "b": "2"}', '{"error": "timeout"}', "{broken"):
        (tmp_path / "a.jsonl").write_text(first + '\n{"text": "one", "error": ""}\n{"other": 1}\n{"text": "two"}\n')
        records = list(read(str(tmp_path / "a.jsonl")))
        assert [record.text for record in records] == ["timeout" if "timeout" in first else None, "one", None, "two"]
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n{"body": "two", "id": 1}\n')
    assert [record.text for record in read(str(tmp_path / "a.jsonl"))] == ["one", "two"]
    (tmp_path / "a.jsonl").write_text('{"a": "1", "b": "2"}\n')
    assert "--text-column" in list(read(str(tmp_path / "a.jsonl")))[0].error


def test_what_is_printed_is_json_also_of_what_is_none(tmp_path):
    lines = ['{"text": "one", "x": NaN, "y": [1e400, {"z": -Infinity}], "n": 1.5}']
    lines += ['{"text": "two", "m": ' + "[" * depth + "]" * depth + "}" for depth in (80, 200)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    first, second, third = read(str(tmp_path / "a.jsonl"))
    assert json.loads(json_line(first.values)) == {"text": "one", "x": None, "y": [None, {"z": None}], "n": 1.5}
    assert "Infinity" not in json_line(first.values) and json.loads(json_line(second.values)) == second.values
    assert third.text is None and "in one another" in third.error


def test_values_that_come_again_and_again_are_counted_each_time(tmp_path):
    """By Parquet's footer they take no room at all."""
    long = "a" * 200_000
    for column in (pa.array([long] * 3000), pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array([long]))):
        pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", compression="zstd")
        tracemalloc.start()
        try:
            window = next(prediction.windows(read(str(tmp_path / "a.parquet")), lambda record: record.size))
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert all(record.text == long for record in window) and most < 50e6


def test_a_cell_beside_the_text_that_python_cannot_hold_is_left_out(tmp_path):
    days = pa.array([0, 2**31 - 1], pa.date32())  # the second is in the year 5,881,580
    pq.write_table(pa.table({"text": ["one", "two"], "day": days}), tmp_path / "a.parquet")
    records = list(read(str(tmp_path / "a.parquet")))
    assert [record.text for record in records] == ["one", "two"] and records[1].values["day"] is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFoundError, match="no such file"):
        list(read(str(tmp_path / "a.csv")))
    with pytest.raises(NotFoundError, match="cannot be read"):
        list(read(str(tmp_path)))


def test_a_row_with_a_column_of_its_own_is_for_jsonl(tmp_path):
    rows = [{"text": "a"}, {"text": "b", "more": 1}]
    with pytest.raises(DataError, match="'more' is not in every record; write .jsonl"):
        write(str(tmp_path / "a.csv"), None, iter(rows))
    assert not list(tmp_path.iterdir())
    write(str(tmp_path / "a.jsonl"), None, iter(rows))
    assert values(tmp_path / "a.jsonl") == rows


def test_what_was_there_stays_when_writing_fails(tmp_path):
    (tmp_path / "a.csv").write_text("mine")

    def failing():
        yield {"text": "a"}
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write(str(tmp_path / "a.csv"), None, failing())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_what_replaces_a_private_file_is_private_while_it_is_written(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "a.csv").chmod(0o600)
    modes = []

    def watching():
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())
        yield {"text": "a"}

    write(str(tmp_path / "a.csv"), None, watching())
    assert modes == [0o600, 0o600] and values(tmp_path / "a.csv") == [{"text": "a"}]


@pytest.mark.parametrize("name", ["csv", "tsv.gz", "jsonl.zst", "parquet"])
def test_every_form_gets_the_same_verdicts_with_all_columns(cli, model, tmp_path, name):
    write(str(tmp_path / f"in.{name}"), None, iter(ROWS))
    result = cli("predict", "--model", model, "-f", f"in.{name}", "-o", f"out.{name}")
    assert result.exit_code == 0 and result.stdout == "", result.stderr
    judged = values(tmp_path / f"out.{name}")
    assert [{key: row[key] for key in ROWS[0]} for row in judged] == ROWS
    alone = [json.loads(cli("predict", "--model", model, "--json", "--", row["text"]).stdout) for row in ROWS]
    assert [row["label"] for row in judged] == [verdict["label"] for verdict in alone]
    assert [float(row["p_spam"]) for row in judged] == pytest.approx([verdict["p_spam"] for verdict in alone], abs=1e-5)


def test_columns_of_that_name_are_kept(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("label,text\nx,see you\n")
    cli("predict", "--model", model, "-f", "in.csv", "-o", "out.csv")
    (row,) = values(tmp_path / "out.csv")
    assert list(row) == ["label", "text", "spamcli_label", "spamcli_p_spam"] and row["label"] == "x"
    cli("predict", "--model", model, "-f", "out.csv", "-o", "again.csv")
    (again,) = values(tmp_path / "again.csv")
    assert {name: again[name] for name in row} == row and "spamcli_spamcli_label" in again


def test_records_without_a_verdict_have_a_row_and_the_exit_code_says_so(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,one\n2,two,2\n3,three\n")
    result = cli("predict", "--model", model, "-f", "in.csv", "-o", "out.csv", "--exit-code")
    assert result.exit_code == 65 and "1 records have no verdict; the first: in.csv, line 3" in result.stderr
    assert [(row["id"], row["label"] == "error") for row in values(tmp_path / "out.csv")] == [
        ("1", False),
        ("2", True),
        ("3", False),
    ]
    lines = [json.loads(line) for line in cli("predict", "--model", model, "-f", "in.csv", "--json").stdout.splitlines()]
    assert [line["label"] for line in lines][1] == "error" and lines[1]["p_spam"] is None and "line 3" in lines[1]["reason"]
    assert "fingerprint" not in lines[0] and "recipe" in lines[0]["model"]
    (tmp_path / "out.csv").unlink()
    result = cli("predict", "--model", model, "-f", "in.csv", "-o", "out.csv", "--fail-fast")
    assert result.exit_code == 65 and not (tmp_path / "out.csv").exists() and "line 3" in result.stderr


def test_a_first_line_without_a_verdict_is_a_row_like_the_others(cli, model, tmp_path):
    (tmp_path / "in.txt").write_text("a" * 2**21 + "\nsee you\n")
    assert cli("predict", "--model", model, "-f", "in.txt", "-o", "out.csv").exit_code == 65
    assert [(row["text"], row["label"] == "error") for row in values(tmp_path / "out.csv")] == [("", True), ("see you", False)]


def test_a_bad_line_of_jsonl_is_a_row_of_any_table(cli, model, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"message": "hi", "reason": 1}\n{bad\n{"message": 5, "reason": 1}\n')
    assert cli("predict", "--model", model, "-f", "in.jsonl", "-o", "out.csv").exit_code == 65
    assert [row["label"] == "error" for row in values(tmp_path / "out.csv")] == [False, True, True]
    lines = [json.loads(line) for line in cli("predict", "--model", model, "-f", "in.jsonl", "--json").stdout.splitlines()]
    assert [line["label"] == "error" for line in lines] == [False, True, True]
    assert lines[2]["reason"] == 1 and "no text" in lines[2]["spamcli_reason"] and "no" in lines[1]["reason"].lower()


def test_several_files_and_standard_input(cli, model, tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    result = cli("predict", "--model", model, "-f", "a.txt", "-f", "b.jsonl", "-f", "-", "--no-text", "--json", input="four\n")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 4 and "three" not in result.stdout
    result = cli("predict", "--model", model, "-f", "-", "--format", "csv", input="id,message\n7,see you\n")
    assert result.stdout.endswith("\tsee you\n"), result.stderr
    result = cli("predict", "--model", model, "-f", "-", "--format", "parquet", input="x")
    assert result.exit_code == 65 and "cannot be read from a pipe" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["see you", "-f", "a.txt"],
        ["--no-text", "see you"],
        ["--json", "--no-text", "--explain", "see you"],
        ["--json", "-o", "x.csv", "see you"],
    ],
)
def test_options_of_predict_that_do_not_go_together(cli, model, arguments):
    assert cli("predict", "--model", model, *arguments).exit_code == 2


TYPED = pa.schema(
    {"n": pa.int32(), "price": pa.decimal128(10, 2), "tags": pa.list_(pa.string()), "big": pa.uint64(), "none": pa.int64()}
)


def test_columns_of_parquet_keep_their_types_whatever_the_first_rows_hold(cli, model, tmp_path):
    odd = {"n": 7, "price": Decimal("1234.50"), "tags": ["a"], "big": 2**64 - 1, "none": None, "text": "see you"}
    plain = {**odd, "n": None, "price": Decimal("1.10"), "tags": [], "big": 0}
    schema = TYPED.append(pa.field("text", pa.large_string()))
    pq.write_table(pa.Table.from_pylist([plain] * 1500 + [odd], schema), tmp_path / "in.parquet")
    result = cli("predict", "--model", model, "-f", "in.parquet", "-o", "out.parquet")
    assert result.exit_code == 0, result.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.names == [*schema.names, "label", "p_spam"] and table.schema.types[:-2] == schema.types
    last = table.slice(1500).to_pylist()[0]
    assert {name: last[name] for name in odd} == odd and 0 <= last["p_spam"] <= 1


def parquet_of(path, **columns):
    arrays = {name: column if isinstance(column, pa.Array) else pa.array(*column) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), path)


def test_no_value_becomes_another_where_columns_differ_from_file_to_file(cli, model, tmp_path):
    """What would be cut off is refused; what is the same number is not."""
    parquet_of(tmp_path / "whole.parquet", text=[["a", "b"]], n=[[1, 2], pa.int64()])
    parquet_of(tmp_path / "half.parquet", text=[["c"]], n=[[1.5], pa.float64()])
    arguments = ["predict", "--model", model, "-o", "out.parquet"]
    assert cli(*arguments, "-f", "whole.parquet", "-f", "half.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "out.parquet")["n"].to_pylist() == [1, 2, 1.5]
    (tmp_path / "many.jsonl").write_text('{"text": "a", "n": 1}\n' * 1100 + '{"text": "a", "n": 1.5}\n')
    refused = cli(*arguments, "-f", "many.jsonl")
    assert refused.exit_code == 65 and "not of one kind" in refused.stderr
    (tmp_path / "first.jsonl").write_text('{"text": "a", "n": 1.5}\n')
    assert cli(*arguments, "-f", "first.jsonl", "-f", "whole.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "out.parquet")["n"].to_pylist() == [1.5, 1, 2]


def test_parquet_of_every_kind_goes_through(cli, model, tmp_path):
    """Columns without a value, categories that differ from group to group, maps, views, flags in a byte."""
    count = 2500
    parquet_of(
        tmp_path / "in.parquet",
        text=[["see you"] * count],
        none=[[None] * count],
        category=[[f"c{row}" for row in range(count)], pa.dictionary(pa.int16(), pa.string())],
        map=[[[("a", 1)]] * count, pa.map_(pa.string(), pa.int8())],
        view=[["v" * 20_000] * count, pa.string_view()],
        flag=pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1] * count, pa.int8())),
    )
    result = cli("predict", "--model", model, "-f", "in.parquet", "-o", "out.parquet")
    assert result.exit_code == 0, result.stderr
    before, after = (pq.read_table(tmp_path / name).to_pylist() for name in ("in.parquet", "out.parquet"))
    assert [{name: row[name] for name in before[0]} for row in after] == before


def test_values_of_two_kinds_are_no_parquet_and_nothing_else_is_said(tmp_path):
    """In a process of its own: what is left open says so when Python ends."""
    lines = ['{"text": "a"}'] * 1500 + ['{"text": "a", "n": 1}', '{"text": "a", "n": "b"}']
    (tmp_path / "in.jsonl").write_text("\n".join(['{"text": "a", "n": null}', *lines]))
    command = [sys.executable, "-m", "spamcli", "predict", "-f", "in.jsonl", "-o", "out.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 65 and "not of one kind" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["csv", "tsv.gz", "parquet"])
def test_a_table_without_rows_has_its_columns(cli, model, tmp_path, name):
    (tmp_path / "in.csv").write_text("id,text\n")
    assert cli("predict", "--model", model, "-f", "in.csv", "-o", f"out.{name}").exit_code == 0
    result = cli("predict", "--model", model, "-f", f"out.{name}", "-o", "again.csv")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "again.csv").read_text() == "id,text,label,p_spam,spamcli_label,spamcli_p_spam\n"
    (tmp_path / "in.txt").touch()
    assert cli("predict", "--model", model, "-f", "in.txt", "-o", "text.csv").exit_code == 0
    assert (tmp_path / "text.csv").read_text() == "text,label,p_spam\n"


def test_what_is_printed_beside_a_record_takes_the_place_of_none_of_its_columns(cli, model):
    lines = '{"text": "see you", "model": "my phone", "explanation": "none"}'
    for option, ours in ([], "model"), (["--explain"], "explanation"):
        result = cli("predict", "--model", model, "-f", "-", "--format", "jsonl", "--json", *option, input=lines)
        printed = json.loads(result.stdout)
        assert (printed["model"], printed["explanation"]) == ("my phone", "none") and printed[f"spamcli_{ours}"]


def test_a_dash_alone_is_standard_input(cli, model):
    result = cli("predict", "--model", model, "-", input="see you\nat six\n")
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ["see you", "at six"]


def test_the_verdict_alone_has_no_p_spam_and_is_the_same(cli, model):
    plain, alone = (
        cli("predict", "--model", model, *option, input="see you\nWIN cash now\n").stdout for option in ([], ["--verdict-only"])
    )
    assert [(line.split("\t")[0], "", line.split("\t")[2]) for line in plain.splitlines()] == [
        tuple(line.split("\t")) for line in alone.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("output, shown", [("-o judged.csv", True), ("> judged.txt", True), ("", False)])
def test_how_much_is_read_is_shown_on_a_terminal_unless_verdicts_are(model, tmp_path, output, shown):
    (tmp_path / "many.txt").write_text("see you at six\n" * 5000)
    predict = f"{sys.executable} -m spamcli predict --model {model} -f many.txt {output}"
    with open(tmp_path / "typescript", "wb") as log:
        assert pty_run(["bash", "-c", predict], tmp_path, log) == 0
    assert (b"many.txt" in (tmp_path / "typescript").read_bytes()) == shown


def pty_run(command, folder, log) -> int:
    """A command whose three streams are a terminal; what it shows goes to the log."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as run:
        os.close(theirs)
        with contextlib.suppress(OSError):  # at its end
            while data := os.read(ours, 2**16):
                log.write(data)
    os.close(ours)
    return run.returncode


def test_no_text_is_none_of_it_even_where_a_record_cannot_be_parsed(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("label,text\nx,secret one\ny,secret two,more\n")
    (tmp_path / "in.jsonl").write_text('{"text": "secret three"\n{"message": ["secret four"]}\n')
    result = cli("predict", "--model", model, "-f", "in.csv", "-f", "in.jsonl", "--json", "--no-text")
    assert result.exit_code == 65 and len(result.stdout.splitlines()) == 4
    assert "secret" not in result.stdout + result.stderr


def test_a_line_through_a_pipe_is_answered_at_once(model):
    command = [sys.executable, "-m", "spamcli", "predict", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for text in ("one", "two", "three"):
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(f"\t{text}\n")  # while standard input is open
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_windows_hold_all_items_in_order_and_no_more_than_fit():
    parts = list(prediction.windows(range(3 * prediction.WINDOW + 7)))
    assert [item for part in parts for item in part] == list(range(3 * prediction.WINDOW + 7))
    assert all(1 <= len(part) <= prediction.WINDOW for part in parts)
    assert list(prediction.windows([])) == []


def test_windows_are_bounded_by_characters_too():
    """A list ends with the item that fills it, and no more than as much again waits."""
    read_ahead, size = [], prediction.CHARACTERS // 10
    source = (read_ahead.append(number) or number for number in range(200))
    parts = prediction.windows(source, lambda item: size)
    first = next(parts)
    time.sleep(0.5)
    assert len(read_ahead) <= len(first) + 12
    rest = list(parts)
    assert [item for part in [first, *rest] for item in part] == list(range(200))
    assert all(len(part) <= 11 for part in rest)


def test_nothing_is_read_far_ahead_and_nothing_after_the_end():
    """An endless source: what is read ahead is bounded, and stops when nobody wants more."""
    read_ahead = []
    source = (read_ahead.append(number) or number for number in itertools.count())
    parts = prediction.windows(source)
    next(parts)
    time.sleep(0.5)
    assert len(read_ahead) <= 4 * prediction.WINDOW
    parts.close()
    time.sleep(0.3)
    number = len(read_ahead)
    time.sleep(0.3)
    assert len(read_ahead) == number


def test_an_error_while_reading_comes_after_what_was_read():
    def source():
        yield 1
        raise DataError("cut off")

    seen = []
    with pytest.raises(DataError, match="cut off"):
        for part in prediction.windows(source()):
            seen += part
    assert seen == [1]


class Judge:
    """What a model has beside its `p_spam`."""

    prior, config = 0.5, SimpleNamespace(settings=ClassifierSettings())


def test_a_message_that_comes_again_is_not_judged_again():
    class Counting(Judge):
        judged = 0

        def p_spam(self, texts):
            self.judged += len(texts)
            return np.full(len(texts), 0.25)

    counting = Counting()
    records = [Record(text) for text in ["a", "b", "a"] * 5000]
    results = list(prediction.predict_records(counting, records))
    assert counting.judged == 2
    assert [record.text for record, _ in results] == ["a", "b", "a"] * 5000


def test_what_is_remembered_is_bounded_in_number_and_in_length(monkeypatch):
    """The oldest is forgotten first, and a long message at once."""
    monkeypatch.setattr(prediction, "REMEMBERED", 2)
    monkeypatch.setattr(prediction, "WINDOW", 1)
    judged = []

    class Counting(Judge):
        def p_spam(self, texts):
            judged.extend(texts)
            return np.full(len(texts), 0.25)

    long = "x" * (prediction.LONGEST + 1)
    texts = ["a", "b", "b", "c", "b", "a", long, long]
    list(prediction.predict_records(Counting(), map(Record, texts)))
    assert judged == ["a", "b", "c", "a", long, long]


def test_a_record_knows_about_how_large_it_is(tmp_path):
    """Other columns count: they wait as well."""
    row = {"text": "hello", "more": "x" * 5000}
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        write(str(tmp_path / name), None, iter([row]))
        (record,) = read(str(tmp_path / name))
        assert 5000 <= record.size <= 5100
    assert Record("hello").size == 5
