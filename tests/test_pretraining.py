"""From text to a module: what is written, what its card says, how it stops, goes on and is made again."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from test_bilm_training import CONFIG, EIGHT_LINES, SETTINGS, assert_same

from spamcli.bilm.card import Perplexities, Pretrained, command
from spamcli.bilm.configuration import configured
from spamcli.bilm.model import BiLMConfig
from spamcli.bilm.pretraining import _name, pretrain
from spamcli.bilm.training import read_identity
from spamcli.errors import DataError, NotFoundError, UnavailableError, WriteError
from spamcli.messages import read_messages
from spamcli.modules import resolve
from spamcli.settings import PretrainingSettings

SIZES = {**CONFIG.to_dict(), "filters": [list(pair) for pair in CONFIG.filters]}
TINY = json.dumps({name: SIZES[name] for name in ("max_characters", "char_dim", "filters", "cells", "projection")})
NOTHING_READ = replace(SETTINGS, tokens=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forty lines in all, two of them in both files."""
    directory = tmp_path_factory.mktemp("corpus")
    lines = [f"win {n} pounds at station {n % 5} now" for n in range(20)] + [f"see you at {n}, ok?" for n in range(20)]
    paths = [directory / "first.txt", directory / "second.txt"]
    paths[0].write_text("\n".join(lines[:22]))
    paths[1].write_text("\n".join(lines[20:]))
    return paths


def stored_weights(directory) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    return {name: reader.get_tensor(name) for name, dtype in reader.get_variable_to_dtype_map().items() if dtype == tf.float16}


def card_of(directory) -> str:
    return (directory / "README.md").read_text(encoding="utf-8")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def pretrained(files, tmp_path_factory):
    """An uninterrupted run: its module, what it did, its reports."""
    directory = tmp_path_factory.mktemp("pretrained") / "new" / "module"
    reports = []
    done = pretrain(files, directory, CONFIG, SETTINGS, about="\nMy *own* text.\n", progress=lambda *now: reports.append(now))
    return directory, done, reports


@pytest.fixture(scope="module")
def learnt(files, tmp_path_factory):
    """A module that has read enough of the forty lines to predict them well."""
    directory = tmp_path_factory.mktemp("learnt") / "first-elmo"
    settings = replace(SETTINGS, tokens=6000, learning_rate=0.01, min_sources=1, checkpoint_seconds=100)
    assert pretrain(files, directory, CONFIG, settings).perplexities.forward < 1.5
    return directory


def test_pretrain_writes_a_module_and_nothing_else(pretrained):
    directory, done, reports = pretrained
    assert names(directory.parent) == ["module"]  # no checkpoint, nothing partial
    module = tf.saved_model.load(str(directory))
    vectors = module(tf.constant(["win 5 pounds", ""])).numpy()
    assert vectors.shape == (2, 16) and np.isfinite(vectors).all() and vectors[0].any()
    assert 1 < done.perplexities.forward < 200 and 1 < done.perplexities.backward < 200
    tokens = [tokens for _, tokens, _ in reports]
    assert tokens == sorted(set(tokens)) and tokens[-2] < 600 <= tokens[-1]
    assert {total for _, _, total in reports} == {600}
    assert all(re.fullmatch(r"loss \d+\.\d\d, [\d,]+ tokens/s, \d+:\d\d:\d\d left", what) for what, _, _ in reports)
    assert reports[-1][0].endswith(" 0:00:00 left")


def test_card_says_what_was_read_and_how_well_it_predicts(pretrained, files):
    directory, done, _ = pretrained
    card = " ".join(card_of(directory).split())
    assert f"{done.perplexities.forward:.1f} forward, {done.perplexities.backward:.1f} backward" in card
    for path in files:
        assert f"- `{path.name}`, sha256 `{hashlib.sha256(path.read_bytes()).hexdigest()}`" in card
    assert "40 distinct lines (a file named twice was read twice as often: first.txt, second.txt)" in card
    assert "Perplexity on 4 held-out lines" in card  # a tenth, though the settings allow 1,000
    in_both = {"see", "you", "at", "0", "00", ",", "ok", "?"}  # the others are in the first file alone
    assert done.vocabulary == 3 + len(in_both)
    assert f"a vocabulary of {done.vocabulary} lower-cased words" in card
    for value in ("cells: 16", "projection: 8", "dropout: 0.2", "tokens: 600", "seed: 1", "tokenizer: punctuation"):
        assert f"- {value}" in card
    assert card_of(directory).endswith("\n\nMy *own* text.\n")
    assert "went on from" not in card and "dropped" not in card
    assert str(files[0].parent) not in card  # where the user keeps the text is nobody's business


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_resumed_and_ends_the_same(pretrained, files, tmp_path):
    whole, done, reports = pretrained
    directory, checkpoint = tmp_path / "module", tmp_path / "module.checkpoint.npz"

    def crash(what, done, total):
        if done > 300:
            raise MemoryError

    with pytest.raises(MemoryError):
        pretrain(files, directory, CONFIG, SETTINGS, progress=crash)
    assert names(tmp_path) == [checkpoint.name]
    left = checkpoint.read_bytes()
    with pytest.raises(WriteError, match="module.checkpoint.npz: a checkpoint is there; go on from it with --resume"):
        pretrain(files, directory, CONFIG, SETTINGS)
    with pytest.raises(DataError, match="begun with another corpus; go on"):  # the same lines in another order
        pretrain(files[::-1], directory, CONFIG, SETTINGS, resume=True)
    assert checkpoint.read_bytes() == left
    rest = []
    resumed = pretrain(files, directory, CONFIG, SETTINGS, resume=True, progress=lambda *now: rest.append(now[1]))
    assert rest == [tokens for _, tokens, _ in reports][-len(rest) :] and rest[0] > 300 - 24
    ours, theirs = resumed.perplexities, done.perplexities
    np.testing.assert_allclose([ours.forward, ours.backward], [theirs.forward, theirs.backward], rtol=1e-6)
    assert_same(stored_weights(directory), stored_weights(whole))
    assert names(tmp_path) == ["module"]


def test_resume_without_a_checkpoint_begins(files, tmp_path):
    pretrain(files, tmp_path / "module", CONFIG, NOTHING_READ, resume=True)
    assert names(tmp_path) == ["module"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_when_all_is_saved(files, tmp_path, number):
    """Once; and who listened before listens again."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    reports = []

    def interrupt(what, done, total):
        reports.append(done)
        if len(reports) == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        pretrain(files, tmp_path / "module", CONFIG, replace(SETTINGS, checkpoint_seconds=1000), progress=interrupt)
    assert names(tmp_path) == ["module.checkpoint.npz"]
    with np.load(tmp_path / "module.checkpoint.npz") as arrays:
        assert arrays["place"][:2].tolist() == [reports[-1], 1 + len(reports)] and len(reports) <= 3  # none of the first step
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_the_caller_ignores_is_ignored(files, tmp_path):
    """As a shell has it for what runs in its background."""
    before, sent = signal.signal(signal.SIGINT, signal.SIG_IGN), []
    try:
        pretrain(
            files,
            tmp_path / "module",
            CONFIG,
            replace(SETTINGS, tokens=72),
            progress=lambda *_: os.kill(os.getpid(), sent.append(signal.SIGINT) or signal.SIGINT),
        )
        assert sent
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    except KeyboardInterrupt:
        pytest.fail("interrupted by what was to be ignored")
    finally:
        signal.signal(signal.SIGINT, before)
    assert names(tmp_path) == ["module"]


def test_pretrain_runs_in_any_thread(files, tmp_path):
    """Where there are no signals to be had."""
    thread = threading.Thread(target=pretrain, args=(files, tmp_path / "module", CONFIG, NOTHING_READ))
    thread.start()
    thread.join()
    assert names(tmp_path) == ["module"]


@pytest.mark.slow
def test_time_budget_fixes_the_tokens_once(files, tmp_path):
    """Whoever goes on, on a slower machine or with another budget, ends where it was to end."""
    totals = []

    def interrupt(what, done, total):
        totals.append(total)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pretrain(files, tmp_path / "module", CONFIG, SETTINGS, time_budget=0.1, progress=interrupt)
    tokens = read_identity(tmp_path / "module.checkpoint.npz")["tokens"]
    assert totals == [tokens] and tokens != SETTINGS.tokens and 10 < tokens / 0.1 < 1e7
    read = []
    done = pretrain(
        files,
        tmp_path / "module",
        CONFIG,
        SETTINGS,
        time_budget=1e6,
        resume=True,
        progress=lambda what, done, total: read.append((done, total)),
    )
    assert done.settings == replace(SETTINGS, tokens=tokens)
    assert tokens <= read[-1][0] < tokens + SETTINGS.batch_tokens and read[-1][1] == tokens
    assert f"- tokens: {tokens}\n" in card_of(tmp_path / "module") and f"--tokens {tokens} " in card_of(tmp_path / "module")


def started(arguments, folder):
    """A process of ours that answers to Ctrl-C even if pytest itself runs in the background; its stderr is a file."""
    command = [sys.executable, "-m", "spamcli", *arguments]
    listen = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with open(folder / "stderr", "w") as stderr:
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True, preexec_fn=listen)


@pytest.mark.slow
def test_a_process_that_is_stopped_leaves_a_checkpoint_to_go_on_from(cli, files, tmp_path):
    """By Ctrl-C, by SIGTERM, by a terminal that closes; then it comes to its end."""
    shutil.copy(files[0], tmp_path / "a.txt")
    config = json.dumps({**json.loads(TINY), "batch_tokens": 24})
    arguments = ["pretrain", "a.txt", "-o", "elmo", "--tokens", "8000", "--config", config, "--resume"]
    tokens = 0  # a line is written after the second step of at most 24
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = started(arguments, tmp_path)
        deadline = time.monotonic() + 120
        while "loss" not in (tmp_path / "stderr").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)
        progress, *message = (tmp_path / "stderr").read_text().splitlines()
        assert process.returncode == code and out == ""
        assert message == ["spamcli: interrupted"]
        assert tokens < int(re.fullmatch(r"([\d,]+) of 8,000: loss .* left", progress)[1].replace(",", "")) <= tokens + 2 * 24
        assert names(tmp_path) == ["a.txt", "elmo.checkpoint.npz", "stderr"]  # nothing partial
        with np.load(tmp_path / "elmo.checkpoint.npz") as arrays:
            assert tokens < arrays["place"][0] < 8000
            tokens = int(arrays["place"][0])
    assert "go on from it with --resume" in cli(*arguments[:-1]).stderr
    resumed = cli(*arguments)
    assert resumed.exit_code == 0 and resumed.stdout.startswith("elmo: perplexity "), resumed.stderr
    assert tokens < int(resumed.stderr.split(" of ")[0].replace(",", "")) <= tokens + 2 * 24
    assert names(tmp_path) == ["a.txt", "elmo", "stderr"]


@pytest.mark.parametrize("config", [BiLMConfig(), CONFIG], ids=["default", "the same"])
def test_init_begins_with_the_modules_weights_and_sizes(files, tmp_path, pretrained, config):
    """To the bit, if nothing is read."""
    done = pretrain(files, tmp_path / "module", config, NOTHING_READ, init=pretrained[0])
    assert done.config == CONFIG
    assert_same(stored_weights(tmp_path / "module"), stored_weights(pretrained[0]), tolerance=0)


@pytest.mark.slow
def test_what_goes_on_predicts_better_than_what_begins(files, tmp_path, learnt):
    """By a tenth, after the same thousand tokens with a softmax that is new to both."""
    settings = replace(SETTINGS, tokens=1000, learning_rate=0.01, min_sources=1, checkpoint_seconds=100)
    begun = pretrain(files, tmp_path / "begun", CONFIG, settings)
    continued = pretrain(files, tmp_path / "continued", BiLMConfig(), settings, init=learnt)
    assert (begun.init, continued.init) == ("", "first-elmo")
    assert continued.perplexities.forward < 0.9 * begun.perplexities.forward
    assert continued.perplexities.backward < 0.9 * begun.perplexities.backward
    assert "Its weights went on from those of the module first-elmo." in card_of(tmp_path / "continued")
    assert "--init first-elmo" in card_of(tmp_path / "continued") and "went on" not in card_of(tmp_path / "begun")


@pytest.mark.parametrize("change", [{"cells": 32}, {"tokenizer": "space"}], ids=str)
def test_init_brings_its_own_sizes(files, tmp_path, pretrained, change):
    with pytest.raises(DataError, match="^--init brings its own sizes; leave them out of --config$"):
        pretrain(files, tmp_path / "module", replace(CONFIG, **change), SETTINGS, init=pretrained[0])
    assert names(tmp_path) == []


def test_a_module_is_named_as_it_can_be_named_again(tmp_path, monkeypatch):
    (tmp_path / "my-elmo").mkdir()
    monkeypatch.chdir(tmp_path / "my-elmo")
    assert _name(resolve("builtin")) == "builtin"
    assert _name(tmp_path / "my-elmo") == _name(Path(".")) == _name(Path("../my-elmo/")) == "my-elmo"


def test_init_must_be_a_module_of_ours(files, tmp_path):
    with pytest.raises(NotFoundError, match="no SavedModel there"):
        pretrain(files, tmp_path / "module", CONFIG, SETTINGS, init=tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UnavailableError, match="can be continued"):
        pretrain(files, tmp_path / "module", CONFIG, SETTINGS, init=tmp_path)
    assert names(tmp_path) == ["saved_model.pb"]


@pytest.fixture
def labelled(tmp_path):
    """Two lines of the corpus in another writing, one with words around it, and one that shares few words with any."""
    path = tmp_path / "labelled.csv"
    texts = ["WIN 3 pounds; at station 3 now", "see you at 7 OK", "so: win 4 pounds at station 4 now or", "see you at six"]
    path.write_text("label,text\n" + "\n".join(f"{'spam' if k % 2 else 'ham'},{text}" for k, text in enumerate(texts)))
    return path


def test_excluded_lines_are_not_read(files, tmp_path, labelled):
    """Those written otherwise; of the four 4-grams of each of the six about the same stations, two; no other meeting."""
    done = pretrain(files, tmp_path / "module", CONFIG, NOTHING_READ, exclude=[read_messages(labelled)])
    assert (done.dropped, done.lines) == (3 + 6, 31)
    assert done.excluded == {str(labelled): hashlib.sha256(labelled.read_bytes()).hexdigest()}
    card = card_of(tmp_path / "module")
    assert "9 lines were dropped because they, or their like, stand in:\n\n- `labelled.csv`, sha256 `" in card
    assert hashlib.sha256(labelled.read_bytes()).hexdigest() in card
    assert "31 distinct lines" in card and "--exclude labelled.csv" in card


@pytest.mark.slow
def test_the_cards_command_makes_the_module_again(cli, files, tmp_path, monkeypatch, labelled, learnt):
    """From the files alone, in one folder; the same numbers. What moves none of them need not be in it."""
    (tmp_path / "deep").mkdir()
    shutil.copy(files[0], tmp_path / "deep" / "it's first.txt")
    shutil.copy(files[1], tmp_path / "b.text")
    (tmp_path / "about.md").write_text("Mine.")
    config = {**json.loads(TINY), "batch_tokens": 24, "dropout": 0.15, "misspelt": 0.2, "min_sources": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    corpus = ["deep/*.txt", "b.text", "b.text"]
    options = ["--tokens", 300, "--seed", 3, "--config", "config.json", "--exclude", labelled, "--init", learnt]
    made = cli("pretrain", *corpus, "-o", "module", *options, "--about", "about.md")
    assert made.exit_code == 0, made.stderr
    program, *command = shlex.split(re.search("^    (spamcli pretrain .*)$", card_of(tmp_path / "module"), re.MULTILINE)[1])

    folder = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "deep", folder)
    for path in (tmp_path / "b.text", labelled):
        shutil.copy(path, folder)
    shutil.copytree(learnt, folder / learnt.name)
    monkeypatch.chdir(folder)
    again = cli(*command)
    assert again.exit_code == 0, again.stderr
    assert again.stdout.replace("my-elmo", "module") == made.stdout
    ours, theirs = stored_weights(folder / "my-elmo"), stored_weights(tmp_path / "module")
    assert len(ours) == len(CONFIG.weight_shapes())
    assert_same(ours, theirs)
    assert card_of(folder / "my-elmo") == card_of(tmp_path / "module").removesuffix("\nMine.\n")


def test_the_command_names_every_setting_that_is_not_the_default():
    """Without the sizes of a module, too: whatever the card lists, the command gives back."""
    config, settings = replace(CONFIG, tokenizer="space", residual=False), replace(SETTINGS, learning_rate=0.5)
    nobody = Perplexities(1.0, 1.0)
    done = Pretrained(nobody, config, settings, 0, 3, ["-", "a b.txt", "*.gz"], {}, 1, {"x/y.csv": "", "z.tsv": ""}, 0, "")
    words = shlex.split(command(done))
    assert words[:5] == ["spamcli", "pretrain", "-", "a b.txt", "*.gz"]
    options = dict(zip(words[5:-1:2], words[6::2]))
    assert configured(options.pop("--config"), PretrainingSettings(tokens=600)) == (config, settings)
    assert options == {"-o": "my-elmo", "--tokens": "600", "--seed": "1", "--exclude": "z.tsv"}
    assert words.count("--exclude") == 2 and "y.csv" in words
    plain = replace(done, config=BiLMConfig(), settings=PretrainingSettings(seed=7), corpus=["a"], excluded={}, init="builtin")
    assert command(plain) == "spamcli pretrain a -o my-elmo --tokens 20000000 --seed 7 --init builtin"


def test_existing_directory_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "module").mkdir()
    with pytest.raises(WriteError, match="module: exists already"):
        pretrain([tmp_path / "missing.txt"], tmp_path / "module", CONFIG, SETTINGS)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(WriteError, match="link: exists already"):
        pretrain([tmp_path / "missing.txt"], tmp_path / "link", CONFIG, SETTINGS)
    with pytest.raises(WriteError, match="exists already"):
        pretrain([tmp_path / "missing.txt"], Path("."), CONFIG, SETTINGS)
    with pytest.raises(WriteError, match="names are UTF-8"):
        pretrain([tmp_path / "missing.txt"], Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), CONFIG, SETTINGS)
    assert names(tmp_path) == ["link", "module"]


def test_what_took_the_modules_place_meanwhile_is_not_taken_for_it(pretrained, files, tmp_path):
    """The checkpoint stays, so nothing that was learnt is lost."""

    def take_the_place(*now):
        if not (tmp_path / "module").exists():
            shutil.copytree(pretrained[0], tmp_path / "module")

    says = "module: exists already; put that right, and the same command with --resume goes on from .*module.checkpoint.npz$"
    with pytest.raises(WriteError, match=says):
        pretrain(files, tmp_path / "module", CONFIG, replace(SETTINGS, seed=2), progress=take_the_place)
    assert names(tmp_path) == ["module", "module.checkpoint.npz"]
    with pytest.raises(WriteError, match=says):
        pretrain(files, tmp_path / "module", CONFIG, replace(SETTINGS, seed=2), resume=True)
    assert stored_weights(tmp_path / "module").keys() == stored_weights(pretrained[0]).keys()
    shutil.rmtree(tmp_path / "module")
    pretrain(files, tmp_path / "module", CONFIG, replace(SETTINGS, seed=2), resume=True)
    assert names(tmp_path) == ["module"]


def test_a_run_that_another_has_overtaken_leaves_its_checkpoint_alone(files, tmp_path):
    """Both began with none; the second one's text comes late, by a pipe."""
    os.mkfifo(tmp_path / "late.txt")

    def overtake() -> None:
        with open(tmp_path / "late.txt", "wb") as pipe:
            (tmp_path / "module.checkpoint.npz").write_bytes(b"the other's")
            pipe.write(files[0].read_bytes())

    with ThreadPool(1) as pool:
        other = pool.apply_async(overtake)
        with pytest.raises(WriteError, match="module.checkpoint.npz: another run has begun to write it"):
            pretrain([tmp_path / "late.txt"], tmp_path / "module", CONFIG, SETTINGS)
        other.get()
    assert (tmp_path / "module.checkpoint.npz").read_bytes() == b"the other's"


def test_unreadable_text_leaves_nothing_behind(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        pretrain([tmp_path / "latin.txt"], tmp_path / "module", CONFIG, SETTINGS)
    with pytest.raises(NotFoundError, match="no such file"):
        pretrain([tmp_path / "missing.txt"], tmp_path / "module", CONFIG, SETTINGS)
    assert names(tmp_path) == ["latin.txt"]


def test_a_place_that_cannot_be_written_is_known_before_the_first_step(files, tmp_path):
    (tmp_path / "file").write_text("precious")
    reports = []
    with pytest.raises(WriteError, match="cannot be written"):
        pretrain(files, tmp_path / "file" / "module", CONFIG, SETTINGS, progress=lambda *now: reports.append(now))
    assert reports == [] and (tmp_path / "file").read_text() == "precious"


def test_too_few_lines_to_hold_any_out_have_no_perplexity(tmp_path):
    (tmp_path / "few.txt").write_text("\n".join(EIGHT_LINES))
    done = pretrain([tmp_path / "few.txt"], tmp_path / "module", CONFIG, replace(SETTINGS, tokens=0))
    assert np.isnan([done.perplexities.forward, done.perplexities.backward]).all() and done.held_out == 0
    assert "Perplexity on 0 held-out lines" in card_of(tmp_path / "module")


def test_a_files_name_may_be_no_text(tmp_path):
    """It is known only once everything else is done, so it must not be what fails."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_text("\n".join(EIGHT_LINES))
    pretrain([path], tmp_path / "module", CONFIG, replace(SETTINGS, tokens=0))
    assert "caf\ufffd.txt" in card_of(tmp_path / "module")
