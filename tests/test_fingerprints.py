"""Two figures with the same fingerprint were made alike: every option that can move a figure is in it."""

import json

import pandas as pd
import pytest

from spamcli.cli import main
from spamcli.messages import read_messages

from conftest import TINY_MESSAGES  # isort: skip

# What moves no figure: where things are and how they are shown, and what bounds the memory.
PLACES = {"data", "model", "elmo", "max_batch_tokens", "json", "report", "redact", "help", "trust_module"}
TRAIN = {
    "text_column": ["--text-column", "body"],
    "label_column": ["--label-column", "kind"],
    "spam_label": ["--spam-label", "spam"],
    "protocol": ["--protocol", "almeida2011"],  # on the collection
    "raw": ["--raw"],  # on the collection
    "recipe": ["--recipe", "tutorial"],
    "static": ["--static", "none"],
    "pooling": ["--pooling", "mean+max"],
    "epochs": ["--epochs", "1"],
    "batch_size": ["--batch-size", "20"],
    "also": ["--also", "mine.csv"],
    "skip_bad": ["--skip-bad"],
    "quantize": ["--quantize"],
    "max_ham_blocked": ["--max-ham-blocked", "0.3"],
    "seed": ["--seed", "2"],
}
EVALUATE = {
    "test": ["--test", "mine.csv"],
    "text_column": ["--test", "mine.csv", "--text-column", "body"],
    "label_column": ["--test", "mine.csv", "--label-column", "kind"],
    "spam_label": ["--test", "mine.csv", "--spam-label", "spam"],
    "skip_bad": ["--test", "mine.csv", "--skip-bad"],
    "protocol": ["--protocol", "grouped"],
    "folds": ["--folds", "2"],
    "repeats": ["--folds", "2", "--repeats", "2"],
    "seeds": ["--seeds", "2"],
    "seed": ["--seeds", "2", "--seed", "3"],
    "baseline": ["--baseline"],
    "attack": ["--attack", "--seed", "4"],
    "against": ["--against", "model", "--seed", "5"],
}


@pytest.fixture
def fingerprint(cli, tiny_elmo, tmp_path):
    """Of a command on tiny messages whose columns exist twice."""
    frame = pd.read_csv(TINY_MESSAGES)
    frame.assign(body=frame["text"], kind=frame["label"]).to_csv(tmp_path / "mine.csv", index=False)

    def of(verb, *arguments):
        data = ["--data", "mine.csv", "--elmo", tiny_elmo] if verb == "train" else []
        result = cli(verb, *data, "--model", "model", "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["fingerprint"]

    return of


@pytest.mark.parametrize("verb, options", [("train", TRAIN), ("evaluate", EVALUATE)])
def test_every_option_is_thought_of(verb, options):
    names = {parameter.name for parameter in main.commands[verb].params}
    places = PLACES | ({"keep_messages", "elmo"} if verb == "train" else set())
    assert names - places == set(options)


def test_training_otherwise_has_another_fingerprint(fingerprint, cli, tmp_path):
    of_collection = {"raw", "protocol"}
    base = fingerprint("train", "--epochs", "2")
    others = [
        fingerprint("train", "--epochs", "2", *arguments) for name, arguments in TRAIN.items() if name not in of_collection
    ]
    cli("pretrain", TINY_MESSAGES, "-o", "other", "--tokens", "200", "--config", '{"cells": 4, "projection": 2}')
    others.append(fingerprint("train", "--epochs", "2", "--elmo", tmp_path / "other"))
    others.append(fingerprint("train", "--epochs", "2", "--data", TINY_MESSAGES))
    assert len({base, *others}) == 1 + len(others)


def test_raw_reading_has_another_fingerprint(spam_csv):
    assert read_messages(spam_csv, raw=True).fingerprint != read_messages(spam_csv).fingerprint


@pytest.mark.slow
def test_measuring_otherwise_has_another_fingerprint(fingerprint):
    fingerprint("train", "--epochs", "1")
    base = fingerprint("evaluate")
    others = {name: fingerprint("evaluate", *arguments) for name, arguments in EVALUATE.items()}
    assert len({base, *others.values()}) == 1 + len(others), others


def test_the_seed_of_what_is_drawn_beside_it_is_named(fingerprint):
    fingerprint("train", "--epochs", "1")
    assert fingerprint("evaluate", "--baseline", "--seed", "1") != fingerprint("evaluate", "--baseline", "--seed", "2")
    assert fingerprint("evaluate", "--seed", "1") == fingerprint("evaluate", "--seed", "2")  # nothing is drawn
