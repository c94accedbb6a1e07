"""Text that commands a terminal or turns its line round: no verb prints it, whether it is a message, a name or an error."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.messages import read_messages
from spamcli.records import escaped, json_line, read, write

from conftest import TINY_MESSAGES  # isort: skip
from fuzz import COMMANDS  # isort: skip

OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
MARKS = "\u061c\u200e\u200f\u2028\u2029"
EVIL = f"\x1b[2J\x1b]0;owned\x07 {OVERRIDES} \x9b31m \r\b {MARKS} [red]win[/] </script><b>"
NAME = f"evil{OVERRIDES[4]}\x1b[31m[b]\x9b"  # of a file or a folder: all but / and NUL may be in one
COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]|\x1b\[\?25[lh]|\x1b\[[0-9]*[AG]|\x1b\[2K")  # what rich shades, and moves a bar, with


@pytest.fixture(scope="module")
def model(tiny_elmo, tmp_path_factory):
    """It remembers texts of the same kind, and its test messages are such."""
    from click.testing import CliRunner

    from spamcli.cli import main

    folder = tmp_path_factory.mktemp("models")
    lines = [[label, f"{text} \x1b[1m\u202e"] for label, text in zip(*columns(TINY_MESSAGES))]
    write(str(folder / "a.csv"), None, ({"label": label, "text": text} for label, text in lines))
    arguments = [
        "train",
        "--data",
        folder / "a.csv",
        "--elmo",
        tiny_elmo,
        "--epochs",
        1,
        "--keep-messages",
        "--model",
        folder / "m",
    ]
    assert CliRunner().invoke(main, [str(argument) for argument in arguments]).exit_code == 0
    return folder / "m"


def columns(path) -> tuple[list[str], list[str]]:
    frame = read_messages(path).frame
    return [("ham", "spam")[label] for label in frame["label"]], frame["text"].tolist()


def commands_in(shown: str) -> str:
    """What is left of it that a terminal would take for a command, but for line ends and the tabs between fields."""
    return "".join(COMMANDS.findall(re.sub("[\n\t]", "", shown)))


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from(EVIL), max_size=60))
def test_escaped_text_is_one_line_that_commands_nothing(text):
    assert not COMMANDS.search(escaped(text))
    assert escaped(text).isascii() or escaped(text).encode()


def test_escapes_by_hand():
    assert escaped("a\u202eb\u2066c\td\x1be\x9bf\u2028") == r"a\u202eb\u2066c\td\x1be\x9bf\u2028"
    assert escaped("naïve 日本 👩\u200d👧 שלום") == "naïve 日本 👩\u200d👧 שלום"


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(EVIL), max_size=60))
def test_json_is_fit_for_a_terminal_and_the_same_data(text):
    line = json_line({"text": text})
    assert not COMMANDS.search(line) and json.loads(line) == {"text": text}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_files_hold_the_text_as_it_is(tmp_path, name):
    write(str(tmp_path / name), None, iter([{"text": EVIL}]))
    assert [record.text for record in read(str(tmp_path / name))] == [EVIL]


def test_a_file_of_lines_keeps_what_is_no_command(tmp_path):
    write(str(tmp_path / "a.txt"), None, iter([{"text": f"a\t{OVERRIDES}{MARKS}"}]))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == f"a\\t{OVERRIDES}{MARKS}\n"


@pytest.fixture
def bad(tmp_path):
    """A folder with files of every sort, whose names are no better than what is in them."""
    (tmp_path / f"{NAME}.csv").write_text(f'label,text,{EVIL}\nham,"{EVIL}",\nspam,"{EVIL}"\n', encoding="utf-8")
    (tmp_path / f"{NAME}.jsonl").write_text(json.dumps({"text": EVIL, "label": EVIL}) + f"\n{EVIL}\n", encoding="utf-8")
    (tmp_path / f"{NAME}.txt").write_text(f"{EVIL}\n", encoding="utf-8")
    (tmp_path / f"{NAME}.gz").write_bytes(b"plain")
    (tmp_path / "columns.csv").write_text(f"{EVIL}a,{EVIL}b\n1,2\n", encoding="utf-8")
    return tmp_path


SHOWN = {
    "predict": ["predict", EVIL],
    "predict --json": ["predict", "--json", EVIL],
    "predict a table": ["predict", "-f", f"{NAME}.csv"],
    "predict objects": ["predict", "-f", f"{NAME}.jsonl", "--json"],
    "predict lines": ["predict", "-f", f"{NAME}.txt"],
    "predict a damaged file": ["predict", "-f", f"{NAME}.gz"],
    "predict what is not there": ["predict", "-f", f"{NAME}.csv.zst"],
    "predict a file with other columns": ["predict", "-f", "columns.csv"],
    "predict into a folder that is not there": ["predict", "-f", f"{NAME}.txt", "-o", f"{NAME}.d/a.csv"],
    "predict a text that looks like an option": ["predict", f"--{EVIL}"],
    "predict with a number that is none": ["predict", "--threshold", EVIL, "a"],
    "explain": ["explain", EVIL],
    "explain --json": ["explain", "--json", EVIL],
    "train with unknown labels": ["train", "--data", f"{NAME}.jsonl"],
    "train with ragged rows": ["train", "--data", f"{NAME}.csv"],
    "train with other columns": ["train", "--data", "columns.csv"],
    "train with an ELMo that is not there": ["train", "--data", TINY_MESSAGES, "--elmo", NAME],
    "evaluate": ["evaluate"],
    "evaluate beside itself": ["evaluate", "--against", NAME],
    "evaluate a file": ["evaluate", "--test", f"{NAME}.csv"],
    "download": ["download", "--offline", "--source", NAME],
    "pretrain": ["pretrain", NAME, "-o", "out"],
    "import": ["import", NAME, NAME, "-o", "out"],
    "no such verb": [NAME],
}


@pytest.mark.parametrize("arguments", SHOWN.values(), ids=SHOWN)
def test_no_verb_shows_what_commands_a_terminal(cli, model, bad, arguments):
    verb = arguments[0]
    (bad / NAME).symlink_to(model)
    named = ["--model", model] if verb in ("predict", "explain", "evaluate") else []
    result = cli(*arguments[:1], *named, *arguments[1:])
    assert not isinstance(result.exception, Exception), result.exception
    assert result.stdout or result.stderr
    for shown in (result.stdout, result.stderr):
        assert commands_in(shown) == ""


def test_a_model_with_such_a_name_is_shown_as_it_may_be(cli, tiny_elmo, tmp_path):
    """The paths that verbs print when all went well."""
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--model", NAME]
    trained = cli(*arguments)
    assert trained.exit_code == 0 and r"model: evil\u202e\x1b[31m[b]\x9b" in trained.stdout, trained.stderr
    reported = cli("evaluate", "--model", NAME, "--report", f"{NAME}.html")
    assert reported.exit_code == 0 and r"report: evil\u202e\x1b[31m[b]\x9b.html" in reported.stderr
    assert commands_in(trained.stdout + trained.stderr + reported.stdout + reported.stderr) == ""


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_on_a_real_terminal(model, bad, verb):
    """With colours and a bar: nothing but what shades text and moves the bar; a name is no markup."""
    arguments = {"predict": ["-f", f"{NAME}.txt", "-o", "out.csv"], "explain": [EVIL]}[verb]
    command = [sys.executable, "-m", "spamcli", verb, "--model", str(model), *arguments]
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        command, cwd=bad, stdin=theirs, stdout=theirs, stderr=theirs, env=clean | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # that is how a terminal ends
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown.decode()
    left = COLOUR.sub("", shown.decode().replace("\r\n", "\n").replace("\r", ""))
    assert commands_in(left) == "" and "Traceback" not in left
