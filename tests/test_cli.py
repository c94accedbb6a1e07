"""The command line: exit codes, what goes to stdout, one line on stderr."""

import csv
import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spamcli import SpamClassifier, attacks, evaluation, model_dir, protocols
from spamcli.baselines import BASELINES
from spamcli.cli import main
from spamcli.cli.options import Duration
from spamcli.cli.terminal import _log, progress_bar
from spamcli.messages import read_messages

from conftest import TINY_MESSAGES, edit_config  # isort: skip

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


def test_a_verb_that_is_misspelt_is_guessed(cli):
    result = cli("predcit")
    assert result.exit_code == 2 and "'predict'" in result.stderr


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
        (["evaluate", "--model", "missing"], 66),
        (["predict", "--model", "missing", "hello"], 66),
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
    assert all(word in result.stdout for word in ("errors of", "95 % interval", "gamma", "fingerprint", "model: model"))


def test_train_json_and_evaluate_json_agree(cli, tiny_elmo):
    trained = cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--model", "m", "--json")
    evaluated = cli("evaluate", "--data", TINY_MESSAGES, "--model", "m", "--json")
    first, second = json.loads(trained.stdout), json.loads(evaluated.stdout)
    assert set(KEYS) <= set(first) and first["protocol"] == "grouped"
    assert 1 <= first["epochs"] <= 20
    assert {"n", "accuracy", "errors"} <= set(first["unseen"]) and {"s", "gamma"} == set(first["mixing"])
    assert len(second.pop("messages")) == first["n"] and len(second.pop("mistakes")) == first["errors"]
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


def test_evaluate_measures_a_file_without_what_was_trained_on(cli, model, tmp_path):
    trained = read_messages(TINY_MESSAGES).frame["text"][:3]
    rows = [f'ham,"{text.upper()}"' for text in trained] + ["spam,win cash now", "ham,see you then"]
    (tmp_path / "mine.csv").write_text("label,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    result = cli("evaluate", "--test", tmp_path / "mine.csv", "--model", model)
    known = int(re.search(r"trained on (\d) of these", result.stderr)[1])
    assert result.exit_code == 0 and 1 <= known <= 3  # the others are in the test part
    assert f"errors of {5 - known};" in result.stdout and "with known" in result.stdout and "errors of 5;" in result.stdout
    figures = json.loads(cli("evaluate", "--test", tmp_path / "mine.csv", "--model", model, "--json").stdout)
    assert (figures["n"], figures["known"]["n"], figures["known"]["with_them"]["n"]) == (5 - known, known, 5)


def test_a_file_that_is_all_known_is_refused(cli, model, tmp_path):
    cli("evaluate", "--model", model)
    config = json.loads((model / "config.json").read_text())
    assert config["split"]["train"] > 0
    collection = read_messages(TINY_MESSAGES)
    train = protocols.split(collection, "grouped", 1).train
    train[["label", "text"]].replace({"label": {0: "ham", 1: "spam"}}).to_csv(tmp_path / "known.csv", index=False)
    result = cli("evaluate", "--test", tmp_path / "known.csv", "--model", model)
    assert result.exit_code == 65 and "trained on all of these" in one_line(result)


def test_evaluate_the_recipe_in_folds(cli, model):
    result = cli("evaluate", "--folds", 2, "--repeats", 2, "--model", model, "--json")
    figures = json.loads(result.stdout)
    assert result.exit_code == 0 and figures["protocol"] == "grouped" and "folds 2 | repeats 2" in figures["fingerprint"]
    collection = read_messages(TINY_MESSAGES)
    assert figures["n"] == len(protocols.distinct(collection.frame)) == figures["unseen"]["n"]
    assert len(figures["runs"]) == 2
    assert figures["errors"] == sum(run["errors"] for run in figures["runs"]) / 2


def test_a_model_that_was_named_has_to_be_there(cli):
    result = cli("evaluate", "--seeds", 2, "--data", TINY_MESSAGES, "--model", "mistyped")
    assert result.exit_code == 66 and "mistyped: no model there" in one_line(result)


def test_more_folds_than_groups_are_refused(cli, model):
    result = cli("evaluate", "--folds", 1000, "--model", model)
    assert result.exit_code == 65 and "ask for fewer" in one_line(result)


def test_a_page_of_folds(cli, model, tmp_path):
    result = cli("evaluate", "--folds", 2, "--model", model, "--report", tmp_path / "page.html")
    assert result.exit_code == 0 and (tmp_path / "page.html").is_file(), result.stderr


def test_evaluate_several_heads_beside_the_saved_one(cli, model):
    result = cli("evaluate", "--seeds", 3, "--protocol", "grouped", "--model", model)
    assert result.exit_code == 0, result.stderr
    assert "runs " in result.stdout and "saved model" in result.stdout and "seeds 3" in result.stdout


def test_evaluate_without_a_model_measures_the_defaults(cli, tiny_elmo):
    result = cli("evaluate", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--protocol", "grouped")
    assert result.exit_code == 0, result.stderr
    assert "recipe wide-and-deep" in result.stdout and "saved model" not in result.stdout


@pytest.mark.slow
def test_evaluate_beside_others(cli, model, tiny_elmo):
    """The best baseline is marked; a model beside itself differs nowhere; every tactic is in the table."""
    cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--model", "other")
    arguments = ["evaluate", "--model", model, "--baseline", "--against", "other", "--attack"]
    figures = json.loads(cli(*arguments, "--json").stdout)
    assert [row["name"] for row in figures["baselines"]] == list(BASELINES)
    assert min(row["errors"] for row in figures["baselines"]) == next(r["errors"] for r in figures["baselines"] if r["best"])
    assert {row["tactic"] for row in figures["attacks"]} == {"none", *attacks.TACTICS}
    clean = figures["attacks"][0]
    assert clean["ours"].items() <= figures.items()
    assert clean["ours_at_their_ham_blocked"] <= 1
    against = figures["against"]
    assert against["model"] == "other" and against["n"] + against["known"]["n"] == figures["n"]
    assert against["n"] == against["ours"]["n"] and against["known"]["ours"]["errors"] == figures["errors"]
    table = cli(*arguments).stdout
    assert "(the fewest errors on these messages)" in table and "look-alikes" in table and "McNemar p" in table


@pytest.mark.slow
def test_a_notice_is_given_once_however_often_the_messages_are_read(cli, model, tmp_path):
    long = "free call now " * 1000
    (tmp_path / "more.csv").write_text(f"label,text\nham,see you at six\nspam,{long}\nham,{long}\n")
    result = cli("evaluate", "--model", model, "--test", "more.csv", "--baseline", "--attack")
    assert result.exit_code == 0 and result.stderr.count("more than 2,048 tokens") == 1


def test_the_page_holds_the_figures(cli, model, tmp_path):
    result = cli("evaluate", "--model", model, "--report", tmp_path / "page.html")
    assert result.exit_code == 0 and "report: " in result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<script" not in page
    fingerprint = re.search(r"fingerprint +(.*)", result.stdout)[1]
    assert fingerprint.split(" | ")[3] in page


@pytest.mark.parametrize(
    "arguments",
    [
        ["--folds", 5, "--protocol", "tutorial"],
        ["--folds", 5, "--seeds", 2],
        ["--folds", 5, "--test", TINY_MESSAGES],
        ["--seeds", 2, "--attack"],
        ["--protocol", "grouped", "--against", "x"],
        ["--text-column", "body"],
        ["--redact"],
        ["--repeats", 2],
    ],
)
def test_options_of_evaluate_that_do_not_go_together(cli, arguments):
    assert cli("evaluate", *arguments).exit_code == 2


def test_explain_names_words_layers_and_neighbours(cli, model):
    result = cli("explain", "win a prize now", "--model", model, "--data", TINY_MESSAGES)
    assert result.exit_code == 0 and result.stdout.startswith("win a prize now\n"), result.stderr
    assert all(word in result.stdout for word in ("log-odds", "prize", "add up to", "flips", "layers", "near", "cosine"))
    explanation = json.loads(cli("explain", "win a prize now", "--model", model, "--json").stdout)
    assert [word["token"] for word in explanation["words"]] == ["win", "a", "prize", "now"]
    assert [near["text"] is not None for near in explanation["nearest"]] == [True] * 3  # the file is where it was


def test_colours_are_for_terminals_and_no_color_is_honoured(model):
    """What rich writes where colour is forced, and where NO_COLOR forbids it; through a pipe there is none."""
    command = [sys.executable, "-m", "spamcli", "explain", "win a prize now", "--model", str(model)]

    def first_line(**environment) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, encoding="utf-8")
        return done.stdout.splitlines()[0]

    assert first_line() == "win a prize now"
    assert "\x1b[" in first_line(FORCE_COLOR="1")
    assert first_line(FORCE_COLOR="1", NO_COLOR="1") == "win a prize now"


@pytest.mark.slow
def test_what_int8_costs_is_what_predict_then_does(cli, tiny_elmo):
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 2, "--quantize", "--model", "m", "--json"]
    figures = json.loads(cli(*arguments).stdout)
    test = model_dir.read_split(model_dir.load(Path("m")).config, TINY_MESSAGES).test
    p_spam = [verdict.p_spam for verdict in SpamClassifier.load("m").predict(test["text"], threshold=figures["threshold"])]
    wrong = (np.array(p_spam) >= figures["threshold"]) != test["label"].to_numpy()
    assert figures["int8"]["errors"] == wrong.sum() and 0 < figures["int8"]["largest"] < 0.1
    assert 0 <= figures["int8"]["differ"] <= len(test)
    assert "in int8" in cli(*arguments[:-1]).stdout


def test_an_empty_message_is_explained_too(cli, model):
    result = cli("explain", "", "--model", model)
    assert result.exit_code == 0 and result.stdout.startswith("(no text)\n"), result.stderr


def test_a_place_for_the_page_is_looked_at_first(cli, model, tmp_path):
    result = cli("evaluate", "--model", model, "--report", tmp_path / "missing" / "page.html")
    assert result.exit_code == 74 and result.stdout == "" and "there is no folder" in one_line(result)


def test_a_file_of_one_class_is_measured(cli, model, tmp_path):
    """What spam alone cannot tell is left out, or null, in the terminal, on the page and in JSON."""
    (tmp_path / "scams.csv").write_text("label,text\nspam,win cash now\nspam,free prize waiting\n", encoding="utf-8")
    arguments = ["evaluate", "--test", tmp_path / "scams.csv", "--model", model]
    result = cli(*arguments, "--report", tmp_path / "page.html")
    assert result.exit_code == 0 and "spam caught" in result.stdout, result.stderr
    assert "ham blocked" not in result.stdout and "MCC" not in result.stdout and (tmp_path / "page.html").is_file()
    figures = json.loads(cli(*arguments, "--json").stdout)
    assert figures["ham_blocked"] is figures["mcc"] is figures["roc_auc"] is None and figures["n"] == 2


def test_near_copies_in_training_are_found_where_its_file_is(cli, model, tmp_path):
    """`unseen` of a --test file: a near copy of a training message is not; without the training file nobody knows."""
    split = protocols.split(read_messages(TINY_MESSAGES), "grouped", 1)
    copied = max(split.train["text"], key=len) + " ok"
    with open(tmp_path / "mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["label", "text"], ["ham", copied], ["spam", "quite another message is this"]])
    arguments = ["evaluate", "--test", tmp_path / "mine.csv", "--model", model]
    figures = json.loads(cli(*arguments, "--json").stdout)
    assert (figures["n"], figures["unseen"]["n"]) == (2, 1) and [m["unseen"] for m in figures["messages"]] == [False, True]
    moved = shutil.copytree(model, tmp_path / "moved")
    edit_config(moved, lambda config: config["data"].update(path="gone.csv"))
    result = cli("evaluate", "--test", tmp_path / "mine.csv", "--model", moved)
    assert "unseen only  unknown" in result.stdout and result.exit_code == 0, result.stderr
    assert cli("evaluate", "--test", tmp_path / "mine.csv", "--model", moved, "--baseline").exit_code == 66
    figures = json.loads(cli("evaluate", "--test", tmp_path / "mine.csv", "--model", moved, "--json").stdout)
    assert figures["unseen"] == {"n": None, "accuracy": None, "errors": None}


def test_predict_can_explain(cli, model):
    verdict = json.loads(cli("predict", "--json", "--explain", "--model", model, "win a prize").stdout)
    assert verdict["explanation"]["p_spam"] == pytest.approx(verdict["p_spam"], abs=1e-6)
    assert cli("predict", "--explain", "--model", model, "win").exit_code == 2


def test_a_model_keeps_texts_only_if_asked(cli, tiny_elmo):
    train = protocols.split(read_messages(TINY_MESSAGES), "grouped", 1).train
    for options, kept in ([], False), (["--keep-messages"], True):
        cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--model", "m", *options)
        texts = model_dir.load(Path("m")).memory.texts
        assert texts == (train["text"].tolist() if kept else None)


HARD = ["", "   ", "word " * 5000, "😀🎉", "\ud83d", "nul \0 inside", "tab\tand\nline\r", "\x1b[31mred", "w" * 100_000]


def test_any_message_gets_one_verdict(cli, model):
    result = cli("predict", "--json", "--model", model, "--", *HARD)
    assert result.exit_code == 0, result.stderr
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(verdicts) == len(HARD)
    assert all(set(v) == {"text", "label", "p_spam", "model"} and 0 <= v["p_spam"] <= 1 for v in verdicts)
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


@pytest.mark.parametrize(
    "written, seconds",
    [("90s", 90), ("20m", 1200), ("3h", 10_800), ("1.5h", 5400), ("0.5s", 0.5), ("007m", 420), ("100h", 360_000)],
)
def test_durations_by_hand(written, seconds):
    assert Duration().convert(written, None, None) == seconds


@pytest.mark.parametrize(
    "written", ["20", "0m", "0.0h", "-1h", "h", "", " 3h", "3 h", "1h30m", "3d", "1e3s", "1.h", ".5h", "nan"]
)
def test_what_is_no_duration_is_refused_with_an_example(cli, written):
    result = cli("pretrain", "a.txt", "-o", "out", "--time-budget", written)
    assert result.exit_code == 2 and result.stdout == ""
    assert f"{written!r} is no duration; write a number and its unit, such as 90s, 20m or 3h." in " ".join(
        result.stderr.split()
    )


def test_a_log_has_the_first_line_and_at_most_one_in_so_many_seconds(capsys):
    write = _log(0.3)
    for done in range(3):
        write("loss 9.99", done, 20_000)
    time.sleep(0.4)
    write("loss 8.88", 3000, 20_000)
    write("loss 7.77", 4000, 20_000)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "0 of 20,000: loss 9.99\n3,000 of 20,000: loss 8.88\n"


@pytest.fixture
def corpus(tmp_path) -> Path:
    """The tiny messages as text: one a line."""
    (tmp_path / "corpus.txt").write_text("\n".join(read_messages(TINY_MESSAGES).frame["text"]), encoding="utf-8")
    return tmp_path / "corpus.txt"


SMALL = ["--config", '{"char_dim": 4, "filters": [[1, 4], [3, 8]], "cells": 8, "projection": 4, "samples": 10}']


@pytest.mark.slow
@pytest.mark.parametrize("given", ["corpus.txt", "c*.t?t", "-"])
def test_pretrain_prints_one_line_and_logs_another(cli, corpus, tmp_path, given):
    """A file, a pattern, standard input; the run is over long before a second line is due."""
    result = cli("pretrain", given, "-o", "elmo", "--tokens", 3000, *SMALL, input=corpus.read_bytes() if given == "-" else None)
    assert result.exit_code == 0, result.stderr
    printed = r"elmo: perplexity \d+\.\d forward, \d+\.\d backward \(exp of the mean natural-log loss on \d held-out lines\)\n"
    assert re.fullmatch(printed, result.stdout)
    assert re.fullmatch(r"[\d,]+ of 3,000: loss \d+\.\d\d, [\d,]+ tokens/s, \d+:\d\d:\d\d left\n", result.stderr)
    assert f"spamcli pretrain {shlex.quote(given)} -o my-elmo --tokens 3000 " in (tmp_path / "elmo" / "README.md").read_text()


@pytest.mark.slow
def test_pretrain_says_how_many_lines_were_excluded(cli, corpus, tmp_path):
    """All but those of a second file; both labelled files are named."""
    (tmp_path / "others.txt").write_text("one line\nthat nobody\nhas labelled\nso far\n")
    (tmp_path / "few.tsv").write_text("label\ttext\nham\tSO FAR!\nspam\tso good\n")
    (tmp_path / "labelled.csv").write_bytes(TINY_MESSAGES.read_bytes())
    distinct = set(map(str.strip, corpus.read_text(encoding="utf-8").split("\n")))
    arguments = ["others.txt", "corpus.txt", "--exclude", "labelled.csv", "--exclude", "few.tsv"]
    result = cli("pretrain", *arguments, "-o", "elmo", "--tokens", 20, *SMALL)
    assert result.exit_code == 0, result.stderr
    log, dropped = result.stderr.splitlines()
    assert " of 20: loss " in log
    assert dropped == f"spamcli: {len(distinct) + 1:,} lines dropped that occur in labelled.csv, few.tsv"
    assert result.stdout.count("\n") == 1 and "Text, 3 distinct lines" in (tmp_path / "elmo" / "README.md").read_text()


def test_a_shown_bar_is_a_bar_and_logs_nothing(capsys, monkeypatch):
    """On a terminal, as rich sees one."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar(log_seconds=1e-9) as progress:
        progress("loss 9.99", 1, 2)
        time.sleep(0.3)
    shown = capsys.readouterr().err
    assert "loss 9.99" in shown and " of 2: " not in shown


def bad_files(folder):
    """What the next test names."""
    (folder / "good.txt").write_text("see you at six\nok, at seven\n")
    (folder / "latin.txt").write_bytes(b"ok\ncaf\xe9\n")
    (folder / "blank.txt").write_bytes(b"\n \n")
    (folder / "plain.gz").write_bytes(b"plain")
    (folder / "all.csv").write_text('label,text\nham,See you at six.\nspam,"OK, at seven!"\n')
    (folder / "unlabelled.csv").write_text("id,words\n1,see you\n2,at six\n")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "saved_model.pb").write_bytes(b"")
    (folder / "there").mkdir()
    (folder / "begun.checkpoint.npz").write_bytes(b"")
    (folder / "list.json").write_text("[]")


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["missing.txt"], 66, "missing.txt: no such file"),
        (["good.txt", "missing/*.txt"], 66, "missing/*.txt: no file matches"),
        (["there"], 66, "there: cannot be read (Is a directory)"),
        (["latin.txt"], 65, "latin.txt, line 2: not UTF-8"),
        (["plain.gz"], 65, "plain.gz: damaged gzip file"),
        (["blank.txt"], 65, "no text in the corpus"),
        (["good.txt", "--config", "missing.json"], 66, "missing.json: cannot be read"),
        (["good.txt", "--config", "list.json"], 65, "--config: not an object of settings"),
        (["good.txt", "--config", "{cells: 8}"], 65, "--config: not JSON"),
        (["good.txt", "--config", '{"cells": NaN}'], 65, "--config: cells must be a whole number above 0. Received: NaN"),
        (["good.txt", "--config", '{"activation": "gelu"}'], 65, "--config: activation must be one of "),
        (["good.txt", "--exclude", "missing.csv"], 66, "missing.csv: no such file"),
        (["good.txt", "--exclude", "unlabelled.csv"], 65, "unlabelled.csv, line 1: which of"),
        (["good.txt", "--exclude", "all.csv"], 65, "every line of the corpus occurs in the excluded file"),
        (["good.txt", "--about", "missing.md"], 66, "missing.md: no such file"),
        (["good.txt", "--init", "missing"], 66, "missing: no SavedModel there"),
        (["good.txt", "--init", "elsewhere"], 69, "elsewhere: no assets.extra/bilm.json"),
        (["good.txt", "-o", "there"], 74, "there: exists already; name another directory with -o"),
        (["good.txt", "-o", "begun"], 74, "begun.checkpoint.npz: a checkpoint is there; go on from it with --resume"),
        (["good.txt", "-o", "begun", "--resume"], 65, "begun.checkpoint.npz: damaged"),
        (["good.txt", "-o", "good.txt/elmo", *SMALL], 74, "elmo.checkpoint.npz: cannot be written"),
    ],
)
def test_pretrain_refuses_with_its_exit_code_and_leaves_nothing(cli, tmp_path, arguments, code, message):
    bad_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = cli("pretrain", *arguments, *([] if "-o" in arguments else ["-o", "elmo"]))
    assert result.exit_code == code and message in one_line(result)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "-o", "elmo"],
        ["pretrain", "good.txt"],
        ["pretrain", "good.txt", "-o", ""],
        ["pretrain", "good.txt", "-o", "elmo", "--exclude", ""],
        ["pretrain", "good.txt", "-o", "elmo", "--tokens", "0"],
        ["pretrain", "good.txt", "-o", "elmo", "--seed", "-1"],
        ["import"],
        ["import", "weights.hdf5", "-o", "elmo"],
        ["import", "weights.hdf5", "options.json"],
        ["import", "weights.hdf5", "options.json", "-o", ""],
        ["import", "weights.hdf5", "options.json", "-o", "elmo", "--precision", "float16"],
        ["import", "weights.hdf5", "options.json", "more", "-o", "elmo"],
    ],
    ids=" ".join,
)
def test_wrong_flags_are_explained_before_anything_is_loaded(cli, tmp_path, arguments):
    result = cli(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and "Usage: " in result.stderr and "Error: " in result.stderr
    assert not list(tmp_path.iterdir())


def test_import_helps(cli):
    shown = " ".join(cli("import", "--help").stdout.split())
    for word in ("WEIGHTS.hdf5 OPTIONS.json", "--output", "--precision [float32|bfloat16]", "AllenNLP"):
        assert word in shown


@pytest.mark.slow
def test_pretrain_then_train_with_it(cli, corpus):
    """With the built-in ELMo's sizes."""
    result = cli("pretrain", "corpus.txt", "-o", "elmo", "--tokens", 1000)
    assert result.exit_code == 0 and "perplexity" in result.stdout, result.stderr
    assert cli("train", "--data", TINY_MESSAGES, "--elmo", "elmo", "--epochs", 1).exit_code == 0


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
def test_standard_error_that_is_full_stops_nothing(tmp_path):
    command = f"{sys.executable} -m spamcli predict hello 2> /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\thello\n")


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


def test_closed_pipe_ends_quietly_also_while_more_is_waited_for(model):
    """A thread is in the middle of reading standard input then."""
    command = [sys.executable, "-m", "spamcli", "predict", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for message in (b"hello\n", b"again\n"):
            process.stdin.write(message)
            process.stdin.flush()
            if not process.stdout.closed:
                assert process.stdout.readline()
                process.stdout.close()
        assert process.wait(60) >= 0 and process.stderr.read() == b""


@pytest.mark.slow
def test_interrupt_exits_with_130_and_leaves_nothing_half_written(tiny_elmo, tmp_path):
    cache = Path(os.environ["XDG_CACHE_HOME"])
    many = tmp_path / "many.csv"
    random = Random(0)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]
    rows = [f"{'spam' if i % 3 else 'ham'},{' '.join(random.choices(words, k=20))}" for i in range(20_000)]
    many.write_text("label,text\n" + "\n".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "spamcli", "train", "--data", str(many), "--elmo", str(tiny_elmo), "--model", "m"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("*.sqlite")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(cache.rglob("*.sqlite"))  # it is encoding
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and err.strip().endswith("spamcli: interrupted")
    assert not os.path.exists(tmp_path / "m" / "config.json")


@pytest.mark.slow
def test_training_that_is_interrupted_while_it_measures_leaves_the_old_model(cli, model, tiny_elmo, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    shutil.copytree(model, tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    monkeypatch.setattr(evaluation, "evaluate", interrupted)
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--model", "m"]
    assert cli(*arguments).exit_code == 130
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_half_written(model, tmp_path, number, code):
    command = [sys.executable, "-m", "spamcli", "predict", "--model", str(model), "-o", "judged.csv"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        deadline = time.monotonic() + 60
        while not os.listdir(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert os.listdir(tmp_path)  # it writes
        process.send_signal(number)
        assert process.wait(60) == code
        assert process.stderr.read() == b"spamcli: interrupted\n" and os.listdir(tmp_path) == []


def test_files_are_named_in_a_variable_with_spaces_between_them(cli, model, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("see you\n")
    monkeypatch.setenv("SPAMCLI_PREDICT_FILE", "a.txt b.txt")
    assert cli("predict", "--model", model).stdout.count("see you") == 2


def test_no_signal_of_the_callers_is_left_changed(cli):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert cli("predict", "-o", "-").exit_code == cli("predict", "hello", "-o", "").exit_code == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.slow
def test_output_goes_where_a_link_leads(model, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to("there/judged.csv")
    assert run("predict", "--model", model, "hello", "-o", tmp_path / "link.csv").returncode == 0
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "there" / "judged.csv").read_text().startswith("text,label")


@pytest.mark.slow
def test_output_does_not_go_where_standard_output_goes(model, tmp_path):
    """A file, which others write to, or a pipe."""
    (tmp_path / "out").symlink_to("/dev/stdout")
    predict = f"{sys.executable} -m spamcli predict --model {model} hello -o {tmp_path}/out"
    done = subprocess.run(
        ["bash", "-c", f"(echo mine; {predict}; echo $?) > {tmp_path}/printed"], capture_output=True, text=True
    )
    assert (tmp_path / "printed").read_text() == "mine\n74\n" and "standard output goes there" in done.stderr
    done = run("predict", "--model", model, "hello", "-o", tmp_path / "out")
    assert done.returncode == 74 and "is not a file" in done.stderr and (tmp_path / "out").is_symlink()


@pytest.mark.slow
def test_without_room_for_temporary_files(model, tmp_path):
    """No file may have more than so many bytes."""
    table = pa.table({"text": [f"hello {number}" for number in range(500)]})
    with gzip.open(tmp_path / "many.parquet.gz", "wb") as file:
        pq.write_table(table, file)
    start = [sys.executable, "-m", "spamcli"]
    read = [*start, "predict", "--model", str(model), "-f", str(tmp_path / "many.parquet.gz")]
    roomy = subprocess.run(read, capture_output=True, text=True)
    assert roomy.returncode == 0 and roomy.stderr == "" and roomy.stdout.count("\n") == 500
    for command, most in ((read, 1000), ([*start, "explain", "--model", str(model), "hello"], 0)):
        done = subprocess.run(["prlimit", f"--fsize={most}", *command], capture_output=True, text=True)
        assert done.returncode == 74 and "TMPDIR" in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_what_may_not_even_be_looked_at(model, tmp_path):
    """A folder that is locked, and a name that is too long: one line, and the exit code of what it was for."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    as_anybody = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    for place in (locked / "x", tmp_path / ("x" * 300)):
        for arguments, code in (
            (["predict", "--model", place, "hello"], 66),
            (["predict", "--model", model, "-f", place], 66),
            (["predict", "--model", model, "hello", "-o", place], 74),
            (["evaluate", "--model", model, "--report", place], 74),
            (["pretrain", TINY_MESSAGES, "-o", place, "--tokens", "100"], 74),
            (["train", "--data", TINY_MESSAGES, "--elmo", place], 66),
            (["train", "--data", TINY_MESSAGES, "--elmo", model, "--model", place], 74),
            (["download", "--offline", "--source", place], 66),
        ):
            command = [*as_anybody, sys.executable, "-m", "spamcli", *map(str, arguments)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (code, "") and done.stderr.count("\n") == 1, (arguments, done.stderr)
    locked.chmod(0o700)
    assert os.listdir(tmp_path) == ["locked"] and os.listdir(locked) == []
