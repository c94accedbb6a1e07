"""Measuring a recipe: nothing that is tested was learned from, and every figure is of the runs that it says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spamcli import comparison, evaluation, messages, protocols, training
from spamcli.baselines import BASELINES, fit_baseline
from spamcli.elmo import ELMo
from spamcli.metrics import mcnemar, score
from spamcli.settings import RECIPES, ClassifierSettings

from conftest import TINY_MESSAGES  # isort: skip

SETTINGS = replace(RECIPES["tutorial"], epochs=3)


@pytest.fixture(scope="module")
def collection():
    return messages.read_messages(TINY_MESSAGES)


@pytest.fixture(scope="module")
def elmo(tiny_elmo):
    return ELMo(str(tiny_elmo))


@pytest.fixture(scope="module")
def plan(collection):
    return protocols.cross_validation(collection, 3, 2, seed=1)


@pytest.fixture(scope="module")
def measured(elmo, plan):
    return evaluation.evaluate_recipe(evaluation.Recipe(elmo, SETTINGS, 1), plan, "grouped", "folds 3")


@pytest.fixture(scope="module")
def trained(collection, elmo):
    split = protocols.split(collection, "grouped", 1)
    return training.train(collection, split, elmo, SETTINGS, seed=1)[0], split


def test_each_distinct_message_is_tested_once_in_every_repeat(plan, collection):
    assert len(plan.frame) == len(protocols.distinct(collection.frame))
    for folds in plan.runs:
        tested = np.concatenate([test for _, test in folds])
        assert sorted(tested) == list(range(len(plan.frame)))
        for learn, test in folds:
            assert not set(plan.groups[learn]) & set(plan.groups[test])
            assert len(learn) + len(test) == len(plan.frame)
    assert [test.tolist() for _, test in plan.runs[0]] != [test.tolist() for _, test in plan.runs[1]]


def test_too_few_groups_are_an_error(collection):
    few = replace(collection, frame=collection.frame.head(12))
    with pytest.raises(messages.DataError, match="at least 10 of each are needed"):
        protocols.cross_validation(few, 3, 1, seed=1)


def test_the_label_of_a_tested_message_moves_no_number_of_its_own(elmo, plan, measured):
    """It is learned from in the other folds alone: its own p_spam stays, others' change."""
    flipped = plan.frame.copy()
    flipped.loc[5, "label"] = 1 - flipped.loc[5, "label"]
    other = evaluation.evaluate_recipe(evaluation.Recipe(elmo, SETTINGS, 1), replace(plan, frame=flipped), "grouped", "folds 3")
    np.testing.assert_allclose(other.p_spam[:, 5], measured.p_spam[:, 5], atol=1e-6)
    assert np.abs(other.p_spam - measured.p_spam).max() > 1e-4


def test_several_runs_are_reported_by_their_means(measured):
    labels = measured.test["label"].to_numpy()
    runs = [score(labels, p_spam, 0.5, measured.groups) for p_spam in measured.p_spam]
    figures = measured.to_dict()
    assert figures["errors"] == np.mean([run.errors for run in runs])
    assert figures["mcc"] == pytest.approx(np.mean([run.mcc for run in runs]))
    assert [run["errors"] for run in figures["runs"]] == measured.wrong.sum(axis=1).tolist() == [run.errors for run in runs]
    assert figures["unseen"]["n"] == len(labels)


def test_heads_of_one_split_are_tested_on_its_test_part(elmo, collection):
    split = protocols.split(collection, "grouped", 1)
    plan = protocols.plan_of(split, 3)
    result = evaluation.evaluate_recipe(evaluation.Recipe(elmo, SETTINGS, 1), plan, "grouped", "heads 3")
    pd.testing.assert_series_equal(result.test["text"], split.test["text"])
    assert result.p_spam.shape == (3, len(split.test))
    assert np.abs(np.diff(result.p_spam, axis=0)).max() > 0  # other seeds, other heads
    first = training.train(collection, split, elmo, SETTINGS, seed=1)[0]
    np.testing.assert_allclose(result.p_spam[0], first.p_spam(split.test["text"].tolist()), atol=1e-5)


def test_a_tested_message_joins_no_groups_of_training():
    """Two messages that only a third one chains are one group in all, but two where the third is tested."""
    words = ["please call me about the holiday in spain", "the holiday in spain was lovely we say"]
    frame = pd.DataFrame({"text": [*words, " ".join(words)], "label": 0})
    plan = protocols.Plan(frame, np.array([0, 0, 0]), [[(np.array([0, 1]), np.array([2]))]])
    assert len(set(plan.groups_of(np.array([0, 1])))) == 2


@pytest.mark.slow
def test_classifiers_of_the_default_recipe_are_those_of_train(elmo, collection):
    split = protocols.split(collection, "grouped", 1)
    result = evaluation.evaluate_recipe(
        evaluation.Recipe(elmo, ClassifierSettings(), 1), protocols.plan_of(split, 2), "grouped", "heads 2"
    )
    for run, seed in enumerate((1, 2)):
        model = training.train(collection, split, elmo, ClassifierSettings(), seed=seed)[0]
        np.testing.assert_allclose(result.p_spam[run], model.p_spam(split.test["text"].tolist()), atol=1e-5)


def test_other_thresholds_are_named_apart(trained):
    model, split = trained
    moved = replace(model, config=replace(model.config, classifier={**model.config.classifier, "threshold": 0.9}))
    figures = evaluation.evaluate(moved, split).to_dict()
    assert figures["threshold"] == 0.9 and figures["at_half"]["threshold"] == 0.5
    assert "at_half" not in evaluation.evaluate(model, split).to_dict()


def test_baselines_learn_from_and_are_tested_on_the_same(plan, measured):
    rows = comparison.beside_baselines(measured, plan, seed=1)
    assert [row["name"] for row in rows] == list(BASELINES)
    texts, labels = plan.frame["text"].to_numpy(), plan.frame["label"].to_numpy()
    wrong = np.zeros(measured.p_spam.shape, bool)
    for run, pairs in enumerate(plan.runs):
        for learn, test in pairs:
            baseline = fit_baseline("chars", texts[learn].tolist(), labels[learn], plan.groups_of(learn), 1)
            wrong[run, test] = (baseline.scores(texts[test].tolist()) > 0) != labels[test]
    chars = rows[list(BASELINES).index("chars")]
    assert chars["errors"] == wrong.sum(axis=1).mean() and chars["train_seconds"] > 0
    assert chars["mcnemar"] == np.median([mcnemar(ours, theirs) for ours, theirs in zip(measured.wrong, wrong)])
    low, high = chars["difference_interval"]
    assert low <= wrong.mean() - measured.wrong.mean() <= high


def test_learning_curve_ends_where_training_does(elmo, collection, trained):
    model, split = trained
    rows = comparison.learning_curve(elmo, SETTINGS, protocols.plan_of(split), seed=1)
    assert [row["n"] for row in rows] == sorted(row["n"] for row in rows) and rows[-1]["n"] == len(split.train)
    assert rows[-1]["errors"] == evaluation.evaluate(model, split).scores.errors


@pytest.mark.slow
def test_attacks_begin_with_none_and_count_a_message_once(trained):
    """Split in two, a message has the higher p_spam of its parts."""
    model, split = trained
    result = evaluation.evaluate(model, split)
    rows = comparison.under_attack(model, result, protocols.plan_of(split), seed=1)
    assert rows[0]["tactic"] == "none" and rows[0]["ours"]["spam_caught"] == result.scores.spam_caught
    for row in rows:
        for side in (row["ours"], row["baseline"]):
            for name in ("spam_caught", "ham_blocked"):
                assert 0 <= side[name] <= 1 and 0 <= side[f"{name}_interval"][0] < side[f"{name}_interval"][1] <= 1
    parts = [("win a prize", "see you"), ("ok",)]
    highest = comparison._highest(model.p_spam, parts)
    alone = model.p_spam(["win a prize", "see you", "ok"])
    np.testing.assert_allclose(highest, [max(alone[:2]), alone[2]], atol=1e-6)
