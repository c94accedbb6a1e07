"""Verdicts: unsure, with another prior, without p_spam, from the library."""

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

import spamcli
from spamcli import messages, model_dir, protocols, training
from spamcli.elmo import ELMo
from spamcli.prediction import SpamClassifier, Wanted, predict, with_prior
from spamcli.runtime import Runtime
from spamcli.settings import RECIPES, ClassifierSettings

from conftest import TINY_MESSAGES, edit_config  # isort: skip

TEXTS = ["See you at six", "WIN a prize now! call 09061", "", "ok", "free entry to win cash", "won't be home, sorry"]


@pytest.fixture(scope="module")
def saved(tiny_elmo, tmp_path_factory):
    read = messages.read_messages(TINY_MESSAGES)
    elmo, settings = ELMo(str(tiny_elmo), tmp_path_factory.mktemp("pooled")), replace(RECIPES["wide-and-deep"], epochs=3)
    model = training.train(read, protocols.split(read, "grouped", 1), elmo, settings, seed=1)[0]
    directory = tmp_path_factory.mktemp("models") / "m"
    model_dir.save(model, directory)
    return directory


@pytest.fixture
def unsure(saved, tmp_path):
    """The same model with a band of unsure verdicts that some of TEXTS fall into."""
    shutil.copytree(saved, tmp_path / "m")
    p = sorted(Runtime(saved).p_spam(TEXTS))
    band = {"threshold_ham": p[2], "threshold": p[4]}
    edit_config(tmp_path / "m", lambda config: config["classifier"].update(band))
    return tmp_path / "m"


def test_between_two_thresholds_is_unsure():
    settings = replace(ClassifierSettings(), threshold=0.9, threshold_ham=0.5)
    assert [settings.verdict(p) for p in (0.0, 0.49, 0.5, 0.89, 0.9, 1.0)] == ["ham"] * 2 + ["unsure"] * 2 + ["spam"] * 2
    assert [settings.verdict(p, 0.6) for p in (0.5, 0.6, 0.89)] == ["ham", "spam", "spam"]
    assert ClassifierSettings().verdict(0.84) == "ham" and ClassifierSettings().verdict(0.85) == "spam"


def test_unsure_has_its_exit_code(cli, unsure):
    verdicts = dict(zip(TEXTS, (verdict.label for verdict in predict(Runtime(unsure), TEXTS))))
    by_label = {label: text for text, label in verdicts.items()}
    assert set(by_label) == {"ham", "unsure", "spam"}
    for labels, code in ((["ham"], 0), (["ham", "unsure"], 11), (["unsure", "spam"], 10)):
        result = cli("predict", "--model", unsure, "--exit-code", *(by_label[label] for label in labels))
        assert result.exit_code == code and [line.split("\t")[0] for line in result.stdout.splitlines()] == labels
    assert cli("predict", "--model", unsure, "--exit-code", "--threshold", 1, *TEXTS).exit_code == 0


def test_a_prior_is_bayes_rule():
    p = np.array([0.0, 0.1, 0.5, 0.99, 1.0])
    np.testing.assert_array_equal(with_prior(p, 0.13, 0.13), p)
    moved = with_prior(p, 0.2, 0.5)
    np.testing.assert_allclose(logit(moved[1:4]) - logit(p[1:4]), logit(0.5) - logit(0.2))
    assert moved[0] == 0 and moved[-1] == 1
    # of 100 spam and 900 ham a test finds 90 and 9: p of what it finds is 90 / 99; among as many ham as spam 10 / 11 * ...
    np.testing.assert_allclose(with_prior(np.array([90 / 99]), 0.1, 0.5), [0.9 / (0.9 + 0.01)])


@pytest.mark.parametrize("prior", [5e-324, 1e-17, 1e-14, 0.3, 1 - 1e-16])
def test_what_is_certain_stays_so_whatever_the_prior(prior):
    for trained in (0.8, 5e-324, 1 - 1e-16):
        assert with_prior(np.array([0.0, 1.0]), trained, prior).tolist() == [0, 1]
    assert (with_prior(np.linspace(0, 1, 99), 0.13, prior) >= 0).all() and (
        with_prior(np.linspace(0, 1, 99), 0.13, prior) <= 1
    ).all()


def test_any_sequence_of_messages_and_nothing_else(saved):
    """A Series is taken in its order, whatever its index says."""
    classifier = SpamClassifier.load(saved)
    expected = classifier.predict(TEXTS)
    assert classifier.predict([]) == classifier.predict([], verdict_only=True) == []
    assert classifier.predict(pd.Series(TEXTS, index=range(len(TEXTS))[::-1])) == expected
    assert classifier.predict(iter(TEXTS)) == classifier.predict(np.array(TEXTS, object)) == expected
    for wrong in ("hello", b"hello", [None], [b"hello"], [float("nan")], ["hello", 1]):
        with pytest.raises(ValueError, match="Received: "):
            classifier.predict(wrong)


def test_the_command_line_takes_a_prior(cli, saved):
    def shown(*options):
        lines = cli("predict", "--model", saved, "--json", *options, *TEXTS).stdout.splitlines()
        return np.array([json.loads(line)["p_spam"] for line in lines])

    model = Runtime(saved)
    np.testing.assert_allclose(shown("--prior", 0.9), with_prior(model.p_spam(TEXTS), model.prior, 0.9), atol=1e-5)
    assert cli("predict", "--model", saved, "--prior", "nan", "a").exit_code == 2
    assert cli("predict", "--model", saved, "--prior", 1, "a").exit_code == 2


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(threshold=0.5), Wanted(prior=0.01), Wanted(prior=0.9)])
def test_a_verdict_alone_is_the_same_verdict(saved, tmp_path, wanted):
    """Of a model whose n-grams decide some messages, and its heads the others."""
    shutil.copytree(saved, tmp_path / "m")
    edit_config(tmp_path / "m", lambda config: config["learned"].update(stack=[0.3, 8.0, 0.0, 0.0]))
    model, texts = Runtime(tmp_path / "m"), messages.read_messages(TINY_MESSAGES).frame["text"].tolist() + TEXTS
    ((least, largest),) = asked(model, texts)
    certain = np.count_nonzero([a == b for a, b in zip(*(verdicts(model, p, wanted) for p in (least, largest)))])
    assert 0 < certain < len(texts)
    alone = predict(model, texts, replace(wanted, verdict_only=True))
    assert [verdict.label for verdict in alone] == [verdict.label for verdict in predict(model, texts, wanted)]
    assert {verdict.p_spam for verdict in alone} == {None}


def test_what_is_certain_is_certain_whatever_the_heads_say(trained_bounds):
    least, largest, p_spam = trained_bounds
    assert (least <= p_spam).all() and (p_spam <= largest).all() and (least < largest).all()


@pytest.fixture
def trained_bounds(saved):
    texts = messages.read_messages(TINY_MESSAGES).frame["text"].tolist()
    (bounds,) = asked(Runtime(saved), texts)
    return *bounds, Runtime(saved).p_spam(texts)


def verdicts(model, p_spam, wanted):
    adapted = with_prior(p_spam, model.prior, wanted.prior or model.prior)
    return [model.config.settings.verdict(p, wanted.threshold) for p in adapted]


def asked(model, texts):
    """What the model asks whether it is certain of."""
    bounds = []

    def certain(both):
        bounds.append(both)
        return np.zeros(both.shape[1], bool)

    model.p_spam(texts, certain)
    return bounds


@pytest.mark.parametrize("stack, decides", [([1e-6, 3.0, 0.1, 0.0], True), ([3.0, 1e-6, 0.0, 0.0], False)])
def test_the_less_the_heads_weigh_the_more_is_certain(saved, tmp_path, stack, decides):
    shutil.copytree(saved, tmp_path / "m")
    edit_config(tmp_path / "m", lambda config: config["learned"].update(stack=stack))
    ((least, largest),) = asked(Runtime(tmp_path / "m"), TEXTS)
    assert (((least >= 0.85) == (largest >= 0.85)).all()) == decides


def test_what_cannot_be_wanted_is_refused():
    for wrong in ({"prior": 0.0}, {"prior": 1.0}, {"threshold": 1.1}, {"threshold": float("nan")}):
        with pytest.raises(ValueError, match="Received"):
            Wanted(**wrong)


def test_explanations_are_of_the_models_own_verdict(cli, saved):
    for option in (["--prior", 0.5], ["--verdict-only"]):
        assert cli("predict", "--model", saved, "--json", "--explain", *option, "hi").exit_code == 2
    about = json.loads(cli("predict", "--model", saved, "--json", "--prior", 0.5, "--threshold", 0.7, "hi").stdout)["model"]
    assert about.endswith(" | asked threshold 0.7 | prior 0.5")


def test_the_library_is_the_command_line(cli, saved):
    classifier = spamcli.SpamClassifier.load(saved)
    verdicts = classifier.predict(TEXTS)
    lines = [json.loads(line) for line in cli("predict", "--model", saved, "--json", *TEXTS).stdout.splitlines()]
    assert [(verdict.label, round(verdict.p_spam, 6), verdict.text) for verdict in verdicts] == [
        (line["label"], line["p_spam"], line["text"]) for line in lines
    ]
    assert SpamClassifier is spamcli.SpamClassifier and isinstance(verdicts[0], spamcli.Verdict)
    with pytest.raises(AttributeError, match="no attribute 'Spam'"):
        spamcli.Spam  # noqa: B018


def test_on_a_terminal_it_is_a_table_in_colour(saved):
    """Columns instead of tabs; NO_COLOR is honoured."""
    command = [sys.executable, "-m", "spamcli", "predict", "--model", str(saved), "See you at six", "a\tb"]
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    shown = {}
    for name, environment in {"colour": clean, "plain": {**clean, "NO_COLOR": "1"}}.items():
        terminal, end = pty.openpty()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE, env=environment)
        os.close(end)
        with open(terminal, "rb", buffering=0) as output, suppress(OSError):  # which ends a terminal, on Linux
            shown[name] = b""
            while part := output.read(1000):
                shown[name] += part
        assert done.returncode == 0 and done.stderr == b""
    plain, colour = (shown[name].decode() for name in ("plain", "colour"))
    label, p_spam, text = plain.splitlines()[1].split(maxsplit=2)
    assert label in ("ham", "spam") and 0 <= float(p_spam) <= 1 and text == "a\\tb"
    assert "\x1b" not in plain and "\t" not in plain and "\x1b[" in colour
