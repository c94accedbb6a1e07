"""The baselines: what they learn from, how their settings are chosen, and the numbers that DESIGN has for them."""

import json
import warnings

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics import matthews_corrcoef
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from spamcli.baselines import BASELINES, FOLDS, _fit, _fit_classifier, _fit_features, at_equal_ham_blocked, fit_baseline
from spamcli.errors import DataError
from spamcli.messages import read_messages
from spamcli.protocols import folds, near_copy_groups, split

PLACES = ["home", "work", "school", "town", "church", "market", "station", "bank"]
EASY = [f"claim your free prize in {place}" for place in PLACES] + [f"see you at {place} tonight" for place in PLACES]
EASY_LABELS = [1] * len(PLACES) + [0] * len(PLACES)
SIMPLEST = {name: {"alpha": 1} if name == "naive Bayes" else {"C": 1, "class_weight": None} for name in BASELINES}


def easy(name, seed=1):
    return fit_baseline(name, EASY, EASY_LABELS, range(len(EASY)), seed)


@pytest.fixture(scope="module")
def some(spam_csv):
    """The first 600 messages: texts, labels, groups."""
    frame = read_messages(spam_csv).frame[:600]
    return frame["text"], frame["label"], near_copy_groups(frame["text"])


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_learns(name):
    baseline = easy(name)
    scores = baseline.scores(["a free prize, claim it", "you at home? see you", "FREE PRIZE"])
    assert scores.dtype == np.float64
    assert list(scores > 0) == [True, False, True]
    assert baseline.name == name
    assert baseline.train_seconds > 0


@pytest.mark.parametrize("name", BASELINES)
def test_of_equally_good_settings_the_simplest(name):
    """All of them get the easy messages right."""
    baseline = easy(name)
    assert (baseline.settings, baseline.cv_errors) == (SIMPLEST[name], 0)


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_is_known_of_words_that_only_a_test_message_has(name):
    known, with_unknown = easy(name).scores(["claim your prize", "claim your prize жжж щщщ"])
    assert known == pytest.approx(with_unknown, abs=1e-12)


@pytest.mark.parametrize(
    "name, candidates",
    [
        (
            "words",
            [
                make_pipeline(
                    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                    LinearSVC(C=c, class_weight=weight, random_state=1, max_iter=20_000),
                )
                for c in (1, 5, 20)
                for weight in (None, "balanced")
            ],
        ),
        ("naive Bayes", [make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB(alpha=a)) for a in (1, 0.1, 0.01)]),
    ],
)
def test_choosing_is_scikit_learns_cross_validation_of_the_whole_pipeline(name, candidates, some):
    """That learns the vocabulary afresh in every fold; the first of the best wins."""
    texts, labels, groups = some
    parts = list(folds(labels, groups, FOLDS, seed=1))
    errors = [(cross_val_predict(pipeline, texts, labels, cv=parts) != labels).sum() for pipeline in candidates]
    baseline = fit_baseline(name, texts, labels, groups, seed=1)
    best = candidates[int(np.argmin(errors))]
    assert len(set(errors)) > 1  # else nothing is chosen
    assert baseline.cv_errors == min(errors)
    assert baseline.settings.items() <= best[-1].get_params().items()
    decide = best.fit(texts, labels).decision_function if name == "words" else best.fit(texts, labels).predict_log_proba
    expected = decide(texts) if name == "words" else np.diff(decide(texts)).ravel()
    assert baseline.scores(texts) == pytest.approx(expected, abs=1e-9)


def test_near_copies_stay_together_in_choosing():
    """Every message is there twice, with a word of its own, which alone tells its label. With the copy in another fold,
    less smoothing learns it by heart; with both in one fold there is nothing to learn, and every spam is an error."""
    pairs = np.repeat(np.arange(30), 2)
    texts = [f"hello there {chr(ord('a') + pair // 5)}{chr(ord('a') + pair % 5)}" for pair in pairs]
    labels = (pairs % 6 == 0).astype(int)
    together = fit_baseline("naive Bayes", texts, labels, pairs, seed=1)
    apart = fit_baseline("naive Bayes", texts, labels, range(60), seed=1)
    assert (together.settings, together.cv_errors) == ({"alpha": 1}, 10)
    assert (apart.settings, apart.cv_errors) == ({"alpha": 0.1}, 0)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_baseline(name, some):
    texts, labels, groups = (part[:300] for part in some)
    first, again = (fit_baseline(name, texts, labels, groups, seed=4) for _ in range(2))
    assert (first.settings, first.cv_errors) == (again.settings, again.cv_errors)
    assert list(first.scores(texts)) == list(again.scores(texts))


def test_the_seed_moves_the_folds(some):
    assert len({fit_baseline("naive Bayes", *some, seed).cv_errors for seed in range(1, 6)}) > 1


def test_settings_are_json_and_the_callers_own():
    baseline = easy("words")
    assert json.loads(json.dumps([baseline.settings, baseline.cv_errors])) == [{"C": 1, "class_weight": None}, 0]
    baseline.settings["C"] = 99
    assert easy("words").settings["C"] == 1


def test_an_svm_that_does_not_converge_says_nothing():
    """A thousand times the same message, 5 of them spam, each counted a hundred times."""
    features, counted = _fit_features("words", ["free prize"] * 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svm = _fit_classifier({"C": 20, "class_weight": "balanced"}, counted, np.arange(1000) < 5, seed=1)
    assert svm.n_iter_ == 20_000


@pytest.mark.parametrize(
    "ham_blocked, threshold, caught",
    [
        (0.0, np.nextafter(0.9, 1), 0),
        (0.19, np.nextafter(0.9, 1), 0),
        (0.2, np.nextafter(0.5, 1), 2),
        (0.4, np.nextafter(0.5, 1), 2),  # two ham share .5: both are blocked, or neither
        (0.59, np.nextafter(0.5, 1), 2),
        (0.6, np.nextafter(0.1, 1), 3),
        (0.8, np.nextafter(-0.3, 1), 3),
        (1.0, -2.0, 4),
    ],
)
@pytest.mark.filterwarnings("error")
def test_at_equal_ham_blocked_by_hand(ham_blocked, threshold, caught):
    ham, spam = [0.9, 0.5, 0.5, 0.1, -0.3], [0.8, 0.7, 0.5, -2.0]
    scores, labels = ham + spam, [0] * 5 + [1] * 4
    assert at_equal_ham_blocked(scores, labels, ham_blocked) == threshold
    assert np.mean(np.array(ham) >= threshold) <= ham_blocked
    assert np.count_nonzero(np.array(spam) >= threshold) == caught
    assert at_equal_ham_blocked(spam, [1] * 4, ham_blocked) == -2.0  # no ham, nothing to lose


@pytest.mark.parametrize("n", [3, 7, 49, 970, 3391])
def test_a_measured_share_is_met_to_the_message(n):
    """Where k of n ham are blocked by us, k are by them: no rounding between, whatever k / n is in binary."""
    ham = np.random.default_rng(n).permutation(n).astype(float)
    for k in range(0, n + 1, max(1, n // 100)):
        threshold = at_equal_ham_blocked(ham, np.zeros(n, int), float((np.arange(n) < k).mean()))
        assert np.count_nonzero(ham >= threshold) == k


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_is_above_the_ham_in_the_scores_own_precision(dtype):
    scores = np.array([0.7, 0.3, 0.9], dtype)
    assert list(scores >= at_equal_ham_blocked(scores, [0, 0, 1], 0)) == [False, False, True]


@pytest.mark.parametrize("ham, spam", [(4, 20), (20, 4), (20, 0)])
def test_too_few_groups_for_the_folds(ham, spam):
    """Near copies are one: there are ten messages of each group."""
    groups = np.repeat(np.arange(ham + spam), 10)
    texts, labels = [f"message number {group}" for group in groups], (groups >= ham).astype(int)
    message = f"^training messages: {ham} ham and {spam} spam once .* needs 5 of each; add messages or leave out --baseline$"
    with pytest.raises(DataError, match=message) as caught:
        fit_baseline("words", texts, labels, groups, seed=1)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("name, text", [("words", "a b c ?"), ("naive Bayes", "?"), ("chars", " "), ("both", "\n")])
def test_messages_without_words(name, text):
    with pytest.raises(DataError, match=f"^training messages: baseline {name} finds no words .*; leave out --baseline$"):
        fit_baseline(name, [text] * 20, [0, 1] * 10, range(20), seed=1)


def test_an_unknown_baseline_is_a_mistake_in_the_program():
    with pytest.raises(ValueError, match="Received: 'bayes'"):
        easy("bayes")


@pytest.mark.slow
@pytest.mark.parametrize("name, errors, mcc", [("words", 15, 0.940), ("chars", 10, 0.960), ("both", 8, 0.968)])
def test_the_tutorials_rows_of_the_design(name, errors, mcc, spam_csv):
    """Raw text, C = 1, no class weight."""
    rows = split(read_messages(spam_csv, raw=True), "tutorial", seed=1)
    features, svm = _fit(name, SIMPLEST[name], rows.train["text"], rows.train["label"], seed=1)
    verdicts = svm.decision_function(features.transform(rows.test["text"])) > 0
    assert (verdicts != rows.test["label"]).sum() == errors
    assert matthews_corrcoef(rows.test["label"], verdicts) == pytest.approx(mcc, abs=5e-4)
