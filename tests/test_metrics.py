"""Every figure from a 2x2 table worked by hand, and the verdicts at its edges."""

import json
from dataclasses import asdict
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.metrics import score, wilson

#         spam                ham
LABELS = [1, 1, 1, 1] + [0, 0, 0, 0, 0, 0]
P_SPAM = [0.9, 0.8, 0.7, 0.3] + [0.6, 0.5, 0.4, 0.2, 0.1, 0.0]
Z = 1.959963984540054  # of the normal distribution, 2.5 % above it


def wilson_by_formula(successes: int, n: int) -> tuple[float, float]:
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half


def test_every_figure_of_a_2x2_table():
    """At .5: 3 of 4 spam caught, 2 of 6 ham blocked, so 3 errors of 10."""
    assert asdict(score(LABELS, P_SPAM, 0.5)) == {
        "n": 10,
        "spam": 4,
        "errors": 3,
        "accuracy": pytest.approx(0.7),
        "accuracy_interval": pytest.approx(wilson_by_formula(7, 10)),
        "precision": pytest.approx(3 / 5),
        "recall": pytest.approx(3 / 4),
        "f1": pytest.approx(6 / 9),  # 2 * 3 / (2 * 3 + 2 + 1)
        "mcc": pytest.approx((3 * 4 - 2 * 1) / sqrt(5 * 4 * 6 * 5)),
        "roc_auc": pytest.approx(21 / 24),  # three spam above all 6 ham, one above 3 of them
        "spam_caught": pytest.approx(3 / 4),
        "ham_blocked": pytest.approx(2 / 6),
        "threshold": 0.5,
    }


@pytest.mark.parametrize(
    "threshold, caught, blocked",
    [(0.0, 4, 6), (0.3, 4, 3), (0.31, 3, 3), (0.6, 3, 1), (0.9, 1, 0), (0.91, 0, 0)],
)
def test_the_verdict_is_spam_from_the_threshold_on(threshold, caught, blocked):
    scores = score(LABELS, P_SPAM, threshold)
    assert scores.spam_caught == pytest.approx(caught / 4)
    assert scores.ham_blocked == pytest.approx(blocked / 6)
    assert scores.errors == 4 - caught + blocked
    assert scores.roc_auc == pytest.approx(21 / 24)  # which knows no threshold


def test_equal_p_spam_counts_half_for_roc_auc():
    assert score([0, 1, 1], [0.5, 0.5, 0.7], 0.5).roc_auc == pytest.approx(0.75)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "labels, p_spam, errors, precision, recall, ham_blocked",
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], 0, 0, 0, 0),
        ([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.8], 1, 0, 0, 1 / 4),
        ([1, 1], [0.9, 0.8], 0, 1, 1, 0),
        ([1, 1], [0.9, 0.2], 1, 1, 1 / 2, 0),
        ([0], [0.9], 1, 0, 0, 1),
        ([1], [0.1], 1, 0, 0, 0),
    ],
)
def test_one_class_only(labels, p_spam, errors, precision, recall, ham_blocked):
    """What one class cannot tell is 0 or None, never NaN, and nothing warns on stderr."""
    scores = score(labels, p_spam, 0.5)
    assert scores.roc_auc is None
    assert scores.mcc == 0
    assert scores.errors == errors
    assert (scores.precision, scores.recall, scores.ham_blocked) == pytest.approx((precision, recall, ham_blocked))


@pytest.mark.filterwarnings("error")
def test_all_ham_verdicts_score_the_share_of_ham():
    """The tutorial's test rows: 145 of 1,115 are spam, and nothing but ham is 87.00 %."""
    scores = score([0] * 970 + [1] * 145, [0.1] * 1115, 0.5)
    assert f"{scores.accuracy:.2%}" == "87.00%"
    assert scores.errors == scores.spam == 145
    assert (scores.precision, scores.recall, scores.f1, scores.mcc, scores.ham_blocked) == (0, 0, 0, 0, 0)
    assert scores.roc_auc == 0.5


@pytest.mark.filterwarnings("error")
def test_all_spam_verdicts():
    scores = score([0, 0, 0, 1], [0.9, 0.9, 0.9, 0.9], 0.5)
    assert (scores.precision, scores.recall, scores.mcc, scores.ham_blocked) == (0.25, 1, 0, 1)


def test_wilson_of_the_published_result():
    """22 errors of 1,115, worked with the closed formula: 97.03 % to 98.69 %."""
    low, high = wilson(1093, 1115)
    assert (low, high) == pytest.approx(wilson_by_formula(1093, 1115))
    assert (round(low, 4), round(high, 4)) == (0.9703, 0.9869)


@given(st.integers(1, 6000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_its_closed_formula(successes_of_n):
    successes, n = successes_of_n
    low, high = wilson(successes, n)
    assert (low, high) == pytest.approx(wilson_by_formula(successes, n), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


def test_scores_are_plain_json_numbers():
    scores = score(LABELS, P_SPAM, 0.5)
    assert json.loads(json.dumps(asdict(scores)))["accuracy_interval"] == list(scores.accuracy_interval)
    assert type(scores.n) is type(scores.spam) is type(scores.errors) is int
    assert type(scores.mcc) is type(scores.roc_auc) is type(scores.ham_blocked) is float
