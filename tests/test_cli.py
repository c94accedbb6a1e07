"""The command line: exit codes, what goes to stdout, one line on stderr."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spamcli.cli import main

from conftest import TINY_MESSAGES  # isort: skip

KEYS = (
    "protocol n spam accuracy errors accuracy_interval precision recall f1 mcc roc_auc spam_caught ham_blocked threshold "
    "mixing elmo recipe seed fingerprint seconds unseen"
).split()


@pytest.fixture(scope="module")
def model(tiny_elmo, tmp_path_factory):
    """A model trained on the tiny messages through the command line."""
    from click.testing import CliRunner

    directory = tmp_path_factory.mktemp("models") / "tiny"
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 3, "--model", directory]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return directory


def one_line(result) -> str:
    """The error that is all there is on stderr."""
    assert result.stdout == "" and result.stderr.startswith("spamcli: ") and result.stderr.count("\n") == 1
    return result.stderr


def run(*arguments, **settings):
    """A real process."""
    command = [sys.executable, "-m", "spamcli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **settings)


@pytest.mark.parametrize("verb", [None, *main.commands])
def test_every_verb_has_help_that_ends_with_a_command_to_paste(cli, verb):
    result = cli(*([verb] if verb else []), "--help")
    assert result.exit_code == 0
    assert "spamcli " in " ".join(result.stdout.split()).partition("Example: ")[2]


def test_help_and_version_load_nothing_heavy():
    heavy = ("tensorflow", "keras", "numpy", "pandas", "rich", "pooch")
    code = f"import sys, spamcli.cli; print([module for module in {heavy} if module in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["nonsense"], 2),
        (["train", "--epochs", "0"], 2),
        (["train", "--protocol", "none"], 2),
        (["train", "--model", ""], 2),
        (["predict", "--threshold", "nan", "hello"], 2),
        (["train", "--data", "missing.csv"], 66),
        (["train", "--data", TINY_MESSAGES, "--elmo", "missing"], 66),
        (["train", "--data", TINY_MESSAGES, "--elmo", "http://127.0.0.1:9/e.tar.gz"], 69),
        (["train", "--data", TINY_MESSAGES, "--protocol", "tutorial"], 65),
        (["train", "--data", TINY_MESSAGES, "--protocol", "almeida2011"], 65),
        (["train", "--data", TINY_MESSAGES, "--text-column", "body"], 65),
        (["evaluate"], 66),
        (["predict", "hello"], 66),
        (["pretrain", "missing.txt", "-o", "out"], 66),
        (["download", "--offline"], 69),
    ],
)
def test_errors_have_their_exit_code_and_one_line(cli, arguments, code):
    result = cli(*arguments)
    assert result.exit_code == code
    if code != 2:
        one_line(result)


def test_train_reports_accuracy_with_all_that_belongs_to_it(cli, tiny_elmo):
    result = cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 2)
    assert result.exit_code == 0 and result.stderr == ""
    assert all(
        word in result.stdout for word in ("errors of", "95 % interval", "unseen", "gamma", "fingerprint", "model: model")
    )


def test_train_json_and_evaluate_json_agree(cli, tiny_elmo):
    trained = cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--model", "m", "--json")
    evaluated = cli("evaluate", "--data", TINY_MESSAGES, "--model", "m", "--json")
    first, second = json.loads(trained.stdout), json.loads(evaluated.stdout)
    assert set(KEYS) <= set(first) and first["protocol"] == "grouped"
    assert 1 <= first["epochs"] <= 20
    assert {"n", "accuracy", "errors"} == set(first["unseen"]) and {"s", "gamma"} == set(first["mixing"])
    first.pop("seconds"), second.pop("seconds")
    assert first == second


def test_two_trainings_with_one_seed_agree(cli, tiny_elmo):
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 3, "--seed", 7]
    assert [cli(*arguments, "--model", name).exit_code for name in "ab"] == [0, 0]
    a, b = (
        [json.loads(line) for line in cli("predict", "--json", "--model", n, "hi", "WIN").stdout.splitlines()] for n in "ab"
    )
    assert all(x["label"] == y["label"] and x["p_spam"] == pytest.approx(y["p_spam"], abs=1e-5) for x, y in zip(a, b))


def test_evaluate_refuses_another_file(cli, model, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(TINY_MESSAGES.read_text(encoding="utf-8") + "ham,one more\n", encoding="utf-8")
    result = cli("evaluate", "--data", other, "--model", model)
    assert result.exit_code == 65 and "not the file" in one_line(result)


HARD = ["", "   ", "word " * 5000, "😀🎉", "\ud83d", "nul \0 inside", "tab\tand\nline\r", "\x1b[31mred", "w" * 100_000]


def test_any_message_gets_one_verdict(cli, model):
    result = cli("predict", "--json", "--model", model, "--", *HARD)
    assert result.exit_code == 0, result.stderr
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(verdicts) == len(HARD)
    assert all(set(v) == {"text", "label", "p_spam"} and 0 <= v["p_spam"] <= 1 for v in verdicts)
    assert verdicts[2]["text"] == HARD[2] and verdicts[3]["text"] == HARD[3]


def test_text_output_is_one_line_of_three_fields(cli, model):
    result = cli("predict", "--model", model, "--", *HARD)
    fields = [line.split("\t") for line in result.stdout.split("\n")[:-1]]
    assert [len(f) for f in fields] == [3] * len(HARD)
    assert fields[6][2] == "tab\\tand\\nline\\r" and fields[7][2] == "\\x1b[31mred"


def test_lines_of_standard_input(cli, model):
    result = cli("predict", "--json", "--model", model, input=b"one\r\n\ncaf\xc3\xa9 \xff\nlast without newline")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == [
        "one",
        "",
        "café \ufffd",
        "last without newline",
    ]


def test_byte_order_mark_is_no_text(cli, model):
    result = cli("predict", "--json", "--model", model, input=b"\xef\xbb\xbfhello\n")
    assert json.loads(result.stdout)["text"] == "hello"


def test_evaluate_finds_the_file_that_the_model_was_trained_on(cli, model):
    result = cli("evaluate", "--model", model)
    assert result.exit_code == 0 and result.stdout.startswith("accuracy")


def test_a_message_in_company_gets_the_verdict_that_it_gets_alone(cli, model):
    texts = ["See you at six", "WIN a prize now", "ok"]
    together = [json.loads(line)["p_spam"] for line in cli("predict", "--json", "--model", model, *texts).stdout.splitlines()]
    alone = [json.loads(cli("predict", "--json", "--model", model, text).stdout)["p_spam"] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_threshold_and_exit_code(cli, model):
    assert cli("predict", "--model", model, "--threshold", 0, "--exit-code", "hello").exit_code == 10
    assert cli("predict", "--model", model, "--threshold", 1, "--exit-code", "hello").exit_code == 0
    assert cli("predict", "--model", model, "--threshold", 0, "hello").exit_code == 0


def test_environment_sets_options(cli, model, monkeypatch):
    monkeypatch.setenv("SPAMCLI_MODEL", str(model))
    monkeypatch.setenv("SPAMCLI_PREDICT_THRESHOLD", "0")
    assert cli("predict", "hello").stdout.startswith("spam\t")
    monkeypatch.setenv("SPAMCLI_PREDICT_JSON", "1")
    assert json.loads(cli("predict", "hello").stdout)["label"] == "spam"


@pytest.mark.parametrize("verb", main.commands)
def test_every_option_has_its_variable(verb):
    """As documented: SPAMCLI_<VERB>_<OPTION> by the name of the option, or SPAMCLI_<OPTION> where verbs share it."""
    for option in main.commands[verb].params:
        names = [flag.removeprefix("--").replace("-", "_") for flag in option.opts if flag.startswith("--")]
        assert not names or option.name in names


@pytest.mark.slow
def test_pretrain_then_train_with_it(cli, tmp_path):
    lines = TINY_MESSAGES.read_text(encoding="utf-8").splitlines()
    (tmp_path / "corpus.txt").write_text("\n".join(line.split(",", 1)[1] for line in lines), encoding="utf-8")
    result = cli("pretrain", "corpus.txt", "-o", "elmo", "--tokens", 1000)
    assert result.exit_code == 0 and "perplexity" in result.stdout, result.stderr
    assert cli("train", "--data", TINY_MESSAGES, "--elmo", "elmo", "--epochs", 1).exit_code == 0
    again = cli("pretrain", "corpus.txt", "-o", "elmo", "--tokens", 1000)
    assert again.exit_code == 74 and "exists already" in one_line(again)


@pytest.mark.slow
def test_processes_keep_stderr_clean_and_stdout_for_results(model):
    done = run("predict", "--model", model, "hello")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1


@pytest.mark.slow
def test_standard_output_that_is_full(model):
    command = f"{sys.executable} -m spamcli predict --model {model} hello > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 74 and done.stderr.count("\n") == 1 and "standard output" in done.stderr


@pytest.mark.slow
def test_closed_streams_and_other_encodings(model):
    run_bash = lambda command: subprocess.run(["bash", "-c", command], capture_output=True, text=True, encoding="utf-8")  # noqa: E731
    assert run_bash(f"{sys.executable} -m spamcli predict --model {model} <&-").returncode == 2
    assert run_bash(f"{sys.executable} -m spamcli predict --model {model} hello 2>&-").returncode == 0
    printed = run_bash(f"PYTHONIOENCODING=latin-1 {sys.executable} -m spamcli predict --model {model} 'ok 😀'")
    assert printed.returncode == 0 and printed.stdout.endswith("\tok 😀\n")


@pytest.mark.slow
def test_closed_pipe_ends_quietly(model):
    command = f"yes hello | head -n 5000 | {sys.executable} -m spamcli predict --model {model} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith(("ham\t", "spam\t")) and done.stderr == ""


@pytest.mark.slow
def test_interrupt_exits_with_130_and_leaves_nothing_half_written(tiny_elmo, tmp_path):
    cache = Path(os.environ["XDG_CACHE_HOME"])
    many = tmp_path / "many.csv"
    rows = [f"{'spam' if i % 3 else 'ham'},message number {i * 7919} about {i}" for i in range(20_000)]
    many.write_text("label,text\n" + "\n".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "spamcli", "train", "--data", str(many), "--elmo", str(tiny_elmo), "--model", "m"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("*.sqlite")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and err.strip().endswith("spamcli: interrupted")
    assert not os.path.exists(tmp_path / "m" / "config.json")
