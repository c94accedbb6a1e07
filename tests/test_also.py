"""Other labelled messages to learn from: they teach, they never test, and what made a figure says so."""

import json

import pandas as pd
import pytest

from spamcli import invented, messages, model_dir, protocols
from spamcli.invented import read_also

from conftest import TINY_MESSAGES  # isort: skip

OTHERS = [f"the {word} is late again, sorry" for word in "bus ferry plumber tortoise postman soprano".split()]


@pytest.fixture
def others(tmp_path):
    """Six messages, and a near copy of a message that is tested."""
    read = messages.read_messages(TINY_MESSAGES)
    in_test = protocols.split(read, "grouped", 1).test["text"].iloc[0]
    frame = pd.DataFrame({"label": ["ham", "spam"] * 3 + ["ham"], "text": [*OTHERS, f"{in_test}!!"]})
    frame.to_csv(tmp_path / "others.csv", index=False)
    return tmp_path / "others.csv"


def test_a_split_learns_from_them_but_for_near_copies_of_its_test_messages(others):
    read = messages.read_messages(TINY_MESSAGES)
    plain, also = protocols.split(read, "grouped", 1), read_also(str(others))
    split = protocols.with_also(plain, [also])
    assert split.train["text"].tolist() == [*plain.train["text"], *OTHERS]
    assert split.train["file"].tolist() == [0] * len(plain.train) + [1] * len(OTHERS)
    assert split.test.equals(plain.test) and split.summary != plain.summary
    assert protocols.with_also(plain, []) is plain


def test_folds_learn_from_them_and_never_test_them(others):
    read, also = messages.read_messages(TINY_MESSAGES), read_also(str(others))
    plain = protocols.cross_validation(read, 5, 2, seed=1)
    plan = protocols.plan_with_also(plain, [also])
    own, texts = len(plain.frame), plan.frame["text"].to_numpy()
    assert plan.tested.tolist() == plain.tested.tolist() == list(range(own))
    for (learn, test), (plain_learn, plain_test) in zip(sum(plan.runs, []), sum(plain.runs, [])):
        assert test is plain_test and learn[: len(plain_learn)].tolist() == plain_learn.tolist()
        near_copy_is_tested = also.frame["text"].iloc[-1][:-2] in texts[test]
        assert texts[learn[len(plain_learn) :]].tolist() == [*OTHERS, *([] if near_copy_is_tested else [texts[-1]])]


def test_the_invented_messages_have_a_name():
    assert read_also("invented").path == invented.TRAINING
    assert invented.tested("invented") == invented.MEASURING
    assert invented.tested(TINY_MESSAGES) == TINY_MESSAGES and len(read_also(str(TINY_MESSAGES))) == 40


def test_files_have_numbers_of_a_byte(cli, others):
    refused = cli("train", "--data", TINY_MESSAGES, *["--also", others] * 128)
    assert refused.exit_code == 2 and "at most 127 files" in refused.stderr


def test_a_model_says_what_it_also_learned_from(cli, tiny_elmo, others, tmp_path):
    options = ["--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--json"]
    plain = json.loads(cli("train", *options, "--model", "plain").stdout)
    result = json.loads(cli("train", *options, "--also", others, "--model", "m").stdout)
    assert result["n"] == plain["n"] and result["fingerprint"] != plain["fingerprint"]
    assert json.loads(cli("evaluate", "--model", "m", "--json").stdout)["errors"] == result["errors"]
    config = model_dir.read_config(tmp_path / "m")[0]
    assert f"--also {others}" in (tmp_path / "m" / "README.md").read_text() and config.also[0]["name"] == str(others)
    assert model_dir.load(tmp_path / "m").memory.knows(OTHERS).all()
    folds = cli("evaluate", "--model", "m", "--folds", 2, "--baseline", "--json")
    assert folds.exit_code == 0 and "also " in json.loads(folds.stdout)["fingerprint"]
    others.write_text(others.read_text().replace("soprano", "tenor"))
    changed = cli("evaluate", "--model", "m")
    assert changed.exit_code == 65 and "also learned from" in changed.stderr and changed.stderr.count("\n") == 1


def test_explanations_show_them_among_the_nearest(cli, tiny_elmo, others):
    cli("train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 1, "--also", others, "--model", "m")
    shown = json.loads(cli("explain", "--model", "m", "--json", OTHERS[3]).stdout)
    assert OTHERS[3] in [near["text"] for near in shown["nearest"]]
