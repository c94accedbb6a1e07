"""What one would pick instead of us: TF-IDF under a linear SVM, or naive Bayes, trained on the same messages."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from spamcli.errors import DataError
from spamcli.protocols import folds

FOLDS = 5  # inside the training messages, to choose the settings by

_CHARS = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
_SPACED = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True)
_FEATURES = {  # to be cloned, then fitted
    "words": TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "chars": _CHARS,
    "both": FeatureUnion([("chars", _CHARS), ("words", _SPACED)]),
    "naive Bayes": CountVectorizer(ngram_range=(1, 2)),
}
BASELINES = tuple(_FEATURES)

# The simplest first: of settings with equally few errors the first is taken.
_SVM = [{"C": c, "class_weight": weight} for c in (1, 5, 20) for weight in (None, "balanced")]
_NAIVE_BAYES = [{"alpha": alpha} for alpha in (1, 0.1, 0.01)]


@dataclass(frozen=True)
class Baseline:
    """A trained baseline, and how it was made.

    Attributes:
        settings: those chosen; C and class_weight of an SVM, alpha of naive Bayes.
        cv_errors: made with them in cross-validation inside the training messages.
        train_seconds: wall clock, choosing included.
        estimator: two fitted steps, n-grams and classifier.
    """

    name: str
    settings: dict[str, float | str | None]
    cv_errors: int
    train_seconds: float
    estimator: Pipeline

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The SVM's decision values, or naive Bayes' log-odds of spam: float64 [n]; the verdict is spam where > 0."""
        features, classifier = self.estimator
        return _scores(classifier, features.transform(texts))


def fit_baseline(name: str, texts: Sequence[str], labels: Sequence[int], groups: Sequence[int], seed: int) -> Baseline:
    """Choose a baseline's settings by cross-validation inside the training messages, then train it on all of them.

    Args:
        name: one of BASELINES.
        texts, labels, groups: str [n], int [n] (0 ham, 1 spam) and int [n] (see `near_copy_groups`).
        seed: of the folds, and of the order in which the SVM takes the messages.
    Raises: DataError, if there are too few groups of a class for the folds, or no words.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline. Received: {name!r}")
    start = time.perf_counter()
    texts, labels, groups = np.asarray(texts, object), np.asarray(labels), np.asarray(groups)
    settings, cv_errors = _choose(name, texts, labels, groups, seed)
    estimator = _fit(name, settings, texts, labels, seed)
    return Baseline(name, settings, cv_errors, time.perf_counter() - start, estimator)


def at_equal_ham_blocked(scores: Sequence[float], labels: Sequence[int], ham_blocked: float) -> float:
    """The lowest threshold that blocks at most this share of the ham; the verdict is spam from it on, as in `metrics.score`.

    That is just above the highest ham that must pass or, where all ham may be blocked, the lowest score.

    Args:
        scores, labels: float [n] and int [n] (0 ham, 1 spam).
        ham_blocked: a share; one that was measured on the same messages is met to the message, unless scores tie.
    """
    scores = np.asarray(scores)
    ham = np.sort(scores[np.asarray(labels) == 0])[::-1]
    may_be_blocked = np.count_nonzero(np.arange(1, len(ham) + 1) / len(ham) <= ham_blocked)
    return float(scores.min() if may_be_blocked == len(ham) else np.nextafter(ham[may_be_blocked], np.inf))


def _choose(name: str, texts: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> tuple[dict, int]:
    """The settings with the fewest errors in cross-validation, and how many those are."""
    ham, spam = (len(np.unique(groups[labels == label])) for label in (0, 1))
    if min(ham, spam) < FOLDS:
        raise DataError(
            f"training messages: {ham} ham and {spam} spam once near copies are taken together, and a baseline needs "
            f"{FOLDS} of each; add messages or leave out --baseline"
        )
    choices = _NAIVE_BAYES if name == "naive Bayes" else _SVM
    errors = np.zeros(len(choices), int)
    for learn, held_out in folds(labels, groups, FOLDS, seed):
        features, counted = _fit_features(name, texts[learn])
        unseen = features.transform(texts[held_out])
        for number, settings in enumerate(choices):
            classifier = _fit_classifier(settings, counted, labels[learn], seed)
            errors[number] += np.count_nonzero((_scores(classifier, unseen) > 0) != labels[held_out])
    best = int(errors.argmin())
    return dict(choices[best]), int(errors[best])


def _fit(name: str, settings: dict, texts: Sequence[str], labels: Sequence[int], seed: int) -> Pipeline:
    features, counted = _fit_features(name, texts)
    return make_pipeline(features, _fit_classifier(settings, counted, labels, seed))


def _fit_features(name: str, texts: Sequence[str]) -> tuple[BaseEstimator, csr_matrix]:
    """What finds the n-grams of these texts, and their weights in each: [n, n-grams]."""
    features = clone(_FEATURES[name])
    try:
        return features, features.fit_transform(texts)
    except ValueError as error:  # scikit-learn's word for: not one n-gram in all of them
        raise DataError(f"training messages: baseline {name} finds no words in them; leave out --baseline") from error


def _fit_classifier(settings: dict, counted: csr_matrix, labels: Sequence[int], seed: int) -> LinearSVC | MultinomialNB:
    if "alpha" in settings:
        return MultinomialNB(**settings).fit(counted, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the collection needs about 1,000 rounds
        return LinearSVC(**settings, dual=True, max_iter=20_000, random_state=seed).fit(counted, labels)


def _scores(classifier: LinearSVC | MultinomialNB, counted: csr_matrix) -> np.ndarray:
    if isinstance(classifier, MultinomialNB):
        ham, spam = classifier.predict_joint_log_proba(counted).T  # [2, n]
        return spam - ham
    return classifier.decision_function(counted)
