"""A budget of blocked ham: the threshold's bound is exact, and a budget that the data cannot support is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from spamcli.budget import CONFIDENCE, choose, choose_for_each
from spamcli.classifier import Features
from spamcli.errors import DataError
from spamcli.ngrams import count
from spamcli.settings import RECIPES
from spamcli.training import learn, out_of_fold

from conftest import TINY_MESSAGES  # isort: skip


def test_the_bound_is_clopper_and_pearsons():
    """By hand: of 598 ham none may be blocked for 0.5 %, since 0.995 ** 598 < 0.05 < 0.995 ** 597."""
    p_spam, labels = np.linspace(0, 0.9, 600), np.array([0] * 598 + [1] * 2)
    found = choose(p_spam, labels, np.arange(600), 0.005)
    assert found.ham == 598 and found.blocked == 0 and found.bound == pytest.approx(1 - 0.05 ** (1 / 598))
    assert p_spam[597] < found.threshold < p_spam[597] + 2e-6
    with pytest.raises(DataError, match="takes 598 ham messages .* have 597"):
        choose(p_spam[1:], labels[1:], np.arange(599), 0.005)


@pytest.mark.parametrize("budget", [0.02, 0.1, 0.5])
def test_it_blocks_as_much_as_it_may_and_not_one_more(budget):
    p_spam, labels = np.random.default_rng(0).random(400) * 0.9, np.zeros(400, int)
    found = choose(p_spam, labels, np.arange(400), budget)
    assert (p_spam >= found.threshold).sum() == found.blocked
    assert binom.cdf(found.blocked, 400, budget) <= 1 - CONFIDENCE + 1e-9  # as few are seen by chance in one of twenty
    assert binom.cdf(found.blocked + 1, 400, budget) > 1 - CONFIDENCE


def test_it_holds_as_often_as_it_says():
    """Of thresholds chosen on 300 ham each, the share that truly blocks more than the budget is a twentieth at most."""
    random, over = np.random.default_rng(1), []
    for _ in range(400):
        found = choose(random.random(300), np.zeros(300, int), np.arange(300), 0.05)
        over.append(1 - found.threshold > 0.05)
    assert np.mean(over) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_near_copies_count_once():
    p_spam = np.concatenate([np.linspace(0, 0.5, 100), np.full(50, 0.8)])
    groups = np.concatenate([np.arange(100), np.full(50, 100)])
    found = choose(p_spam, np.zeros(150, int), groups, 0.05)
    assert found.ham == 101 and found.threshold < 0.8


def test_it_holds_for_the_ham_of_each_file():
    """600 hard ham of one's own beside 6,000 easy ones: all together would let 38 % of the hard ones be blocked."""
    random = np.random.default_rng(0)
    p_spam, files = np.concatenate([random.random(600), random.random(6000) * 0.1]), np.repeat([0, 1], [600, 6000])
    labels, groups = np.zeros(6600, int), np.arange(6600)
    found = choose_for_each(p_spam, labels, groups, files, 0.02)
    assert (p_spam[files == 0] >= found.threshold).mean() <= 0.02 < 0.1 > choose(p_spam, labels, groups, 0.02).threshold - 0.9
    assert found == choose(p_spam[:600], labels[:600], groups[:600], 0.02)


def test_scores_out_of_fold_know_nothing_of_their_labels():
    """Where labels are noise, a classifier has learned those of seen messages by heart, and knows nothing of unseen ones."""
    random = np.random.default_rng(0)
    features = Features(
        random.normal(size=[300, 3, 8]).astype(np.float32), count([f"m{i} w{i % 7}" for i in range(300)]), np.zeros(300, bool)
    )
    labels, groups = random.integers(0, 2, 300), np.arange(300)
    arguments = features, labels, groups, replace(RECIPES["wide-and-deep"], epochs=20), 1, np.zeros(300, int)
    classifier = learn(*arguments)
    assert abs(roc_auc_score(labels, classifier.p_spam(features)) - 0.5) > 0.4
    assert abs(roc_auc_score(labels, out_of_fold(classifier, *arguments)) - 0.5) < 0.1


def test_the_command_line_learns_it_and_names_it(cli, tiny_elmo):
    train = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 2, "--model", "m"]
    refused = cli(*train, "--max-ham-blocked", 0.01)
    assert refused.exit_code == 65 and "takes 299 ham" in refused.stderr and refused.stderr.count("\n") == 1
    assert cli(*train, "--max-ham-blocked", 0.01, "--recipe", "tutorial").exit_code == 2
    assert cli(*train, "--max-ham-blocked", "nan").exit_code == 2
    result = cli(*train, "--max-ham-blocked", 0.3, "--json")
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["budget"]["bound"] <= 0.3 and "max_ham_blocked 0.3" in figures["fingerprint"]
    assert figures["threshold"] == figures["budget"]["threshold"]
    shown = cli("evaluate", "--model", "m").stdout
    assert "at most 30.00% of ham like the training ham is blocked" in shown
    assert json.loads(cli("evaluate", "--model", "m", "--folds", 2, "--json").stdout)["threshold"] == 0.85  # the recipe's own
