"""Every figure from a 2x2 table worked by hand, and the verdicts at its edges."""

import json
from dataclasses import asdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from spamcli.metrics import clopper_pearson, cluster_bootstrap, mcnemar, mean_scores, score, wilson

#         spam                ham
LABELS = [1, 1, 1, 1] + [0, 0, 0, 0, 0, 0]
P_SPAM = [0.9, 0.8, 0.7, 0.3] + [0.6, 0.5, 0.4, 0.2, 0.1, 0.0]
Z = 1.959963984540054  # of the normal distribution, 2.5 % above it


def wilson_by_formula(successes: int, n: int) -> tuple[float, float]:
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half


def exact_by_formula(successes: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's interval, from quantiles of the beta distribution."""
    low = beta.ppf(0.025, successes, n - successes + 1) if successes else 0.0
    return low, beta.ppf(0.975, successes + 1, n - successes) if successes < n else 1.0


def test_every_figure_of_a_2x2_table():
    """At .5: 3 of 4 spam caught, 2 of 6 ham blocked, so 3 errors of 10."""
    scores = asdict(score(LABELS, P_SPAM, 0.5))
    assert scores.pop("calibration_slope") and scores.pop("calibration_intercept")  # see below
    assert scores == {
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
        "average_precision": pytest.approx((1 + 1 + 1 + 4 / 7) / 4),  # precision where each spam is met
        "log_loss": pytest.approx(-np.log([0.9, 0.8, 0.7, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9, 1]).mean(), abs=1e-7),
        "brier": pytest.approx((0.01 + 0.04 + 0.09 + 0.49 + 0.36 + 0.25 + 0.16 + 0.04 + 0.01) / 10),
        "spam_caught": pytest.approx(3 / 4),
        "spam_caught_interval": pytest.approx(exact_by_formula(3, 4)),
        "spam_groups": (3, 4),
        "ham_blocked": pytest.approx(2 / 6),
        "ham_blocked_interval": pytest.approx(exact_by_formula(2, 6)),
        "ham_groups": (2, 6),
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
        ([0, 0, 0], [0.1, 0.2, 0.3], 0, None, None, 0),
        ([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.8], 1, None, None, 1 / 4),
        ([1, 1], [0.9, 0.8], 0, 1, 1, None),
        ([1, 1], [0.9, 0.2], 1, 1, 1 / 2, None),
        ([0], [0.9], 1, None, None, 1),
        ([1], [0.1], 1, 0, 0, None),
    ],
)
def test_one_class_only(labels, p_spam, errors, precision, recall, ham_blocked):
    """What one class cannot tell is None, never 0 or NaN, and nothing warns on stderr."""
    scores = score(labels, p_spam, 0.5)
    assert scores.roc_auc is None and scores.mcc is None and scores.calibration_slope is None
    assert scores.errors == errors
    assert (scores.precision, scores.recall, scores.ham_blocked) == (precision, recall, ham_blocked)
    assert (scores.spam_caught is None, scores.f1 is None) == (recall is None, recall is None)


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


@pytest.mark.parametrize(
    "successes, n, interval",
    [
        (0, 0, (0, 1)),
        (0, 10, (0, 1 - 0.025 ** (1 / 10))),
        (10, 10, (0.025 ** (1 / 10), 1)),
        (1, 1, (0.025, 1)),
        (5, 10, (0.18709, 0.81291)),
    ],
)
def test_clopper_pearson_by_its_closed_forms_and_the_tables(successes, n, interval):
    assert clopper_pearson(successes, n) == pytest.approx(interval, abs=1e-5)


def wrong(both: int, ours: int, theirs: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Who is wrong where, of the four counts of a table."""
    return (
        [True] * (both + ours) + [False] * (theirs + neither),
        [True] * both + [False] * ours + [True] * theirs + [False] * neither,
    )


@pytest.mark.parametrize(
    "ours, theirs, p",
    [
        (10, 2, 2 * (1 + 12 + 66) / 2**12),  # .0386
        (2, 10, 2 * (1 + 12 + 66) / 2**12),
        (0, 5, 2 / 2**5),
        (0, 6, 2 / 2**6),  # the first below .05
        (4, 4, 1),
        (1, 0, 1),
        (0, 0, 1),
    ],
)
@pytest.mark.parametrize("both, neither", [(0, 0), (7, 1000)])
def test_mcnemar_by_hand(ours, theirs, p, both, neither):
    """Only the messages that one alone gets wrong have a say."""
    assert mcnemar(*wrong(both, ours, theirs, neither)) == pytest.approx(p)


def test_bootstrap_of_messages_that_are_all_alone():
    """n messages and a gain of .05: the interval is the normal distribution's, nearly."""
    ours, theirs = wrong(both=10, ours=20, theirs=40, neither=330)
    low, high = cluster_bootstrap([ours], [theirs], np.arange(400), seed=1, resamples=20_000)
    half = Z * sqrt((60 / 400 - 0.05**2) / 400)
    assert (low, high) == pytest.approx((0.05 - half, 0.05 + half), abs=0.003)
    low, high = cluster_bootstrap([theirs], [ours], np.arange(400), seed=1, resamples=20_000)
    assert (low, high) == pytest.approx((-0.05 - half, -0.05 + half), abs=0.003)


def test_bootstrap_of_messages_that_are_all_one_group():
    """There is nothing to draw from, so nothing varies."""
    ours, theirs = wrong(both=10, ours=20, theirs=40, neither=330)
    assert cluster_bootstrap([ours], [theirs], [7] * 400, seed=1) == pytest.approx((0.05, 0.05))


def test_bootstrap_by_hand():
    """A group of one message with a gain and one of three without: 1, 1/4, 1/4 or 0, as likely each."""
    ours, theirs, groups = [False] * 4, [True, False, False, False], [5, 3, 3, 3]
    assert cluster_bootstrap([ours], [theirs], groups, seed=1) == (0, 1)
    middle = [cluster_bootstrap([ours], [theirs], groups, seed, resamples=1)[0] for seed in range(400)]
    values, counts = np.unique(middle, return_counts=True)
    assert list(values) == [0, 0.25, 1]
    assert counts / 400 == pytest.approx([0.25, 0.5, 0.25], abs=0.06)


def test_copies_of_a_message_tell_the_bootstrap_nothing_new():
    """Each message three times, in its group: the same interval. Taken for independent, they would narrow it."""
    ours, theirs = (np.array(part) for part in wrong(both=10, ours=20, theirs=40, neither=330))
    groups = np.random.default_rng(0).permutation(400)
    once = cluster_bootstrap([ours], [theirs], groups, seed=1)
    assert cluster_bootstrap(np.tile(ours, 3)[None], np.tile(theirs, 3)[None], np.tile(groups, 3), seed=1) == pytest.approx(
        once
    )
    low, high = cluster_bootstrap(np.tile(ours, 3)[None], np.tile(theirs, 3)[None], np.arange(1200), seed=1)
    assert (high - low) * sqrt(3) == pytest.approx(once[1] - once[0], rel=0.1)


def test_bootstrap_is_the_plain_one_with_loops():
    rng = np.random.default_rng(3)
    ours, theirs, groups = rng.random(90) < 0.2, rng.random(90) < 0.3, rng.integers(0, 30, 90)
    gains = {group: (theirs[groups == group].astype(int) - ours[groups == group]) for group in set(groups)}
    drawn = ([gains[group] for group in rng.choice(list(gains), len(gains))] for _ in range(10_000))
    plain = np.quantile([np.concatenate(sample).mean() for sample in drawn], [0.025, 0.975])
    assert cluster_bootstrap([ours], [theirs], groups, seed=1, resamples=10_000) == pytest.approx(plain, abs=0.01)


def test_bootstrap_of_several_runs_is_of_their_mean():
    """Two runs alike are one; where they contradict each other, less is gained, and less varies."""
    ours, theirs = (np.array(part) for part in wrong(both=10, ours=20, theirs=40, neither=330))
    once = cluster_bootstrap([ours], [theirs], np.arange(400), seed=1)
    assert cluster_bootstrap([ours, ours], [theirs, theirs], np.arange(400), seed=1) == once
    low, high = cluster_bootstrap([ours, theirs], [theirs, ours], np.arange(400), seed=1)
    assert (low, high) == (0, 0)
    low, high = cluster_bootstrap([ours, ours], [theirs, ours], np.arange(400), seed=1)
    assert (low, high) == pytest.approx((once[0] / 2, once[1] / 2))


def test_bootstrap_is_seeded():
    ours, theirs = wrong(both=10, ours=20, theirs=40, neither=330)
    first, again, other = (cluster_bootstrap([ours], [theirs], np.arange(400), seed) for seed in (1, 1, 2))
    assert first == again != other
    assert json.loads(json.dumps(first)) == list(first)


def test_two_that_make_the_same_errors_do_not_differ():
    ours, theirs = wrong(both=10, ours=0, theirs=0, neither=330)
    assert cluster_bootstrap([ours], [theirs], np.arange(340) // 2, seed=1) == (0, 0)


def test_calibration_solves_the_equations_of_logistic_regression():
    """Where p' = sigmoid(slope * log-odds + intercept), the errors label - p' sum to 0, also weighed by the log-odds."""
    p_spam = np.clip(P_SPAM, 1e-7, 1)
    log_odds = np.log(p_spam / (1 - p_spam))
    scores = score(LABELS, P_SPAM, 0.5)
    fitted = 1 / (1 + np.exp(-scores.calibration_slope * log_odds - scores.calibration_intercept))
    np.testing.assert_allclose([(LABELS - fitted).sum(), ((LABELS - fitted) * log_odds).sum()], 0, atol=1e-3)


def test_perfect_calibration_has_slope_1_and_intercept_0():
    """Of ten messages with p_spam .2 two are spam, of ten with .7 seven."""
    p_spam, labels = [0.2] * 10 + [0.7] * 10, [1] * 2 + [0] * 8 + [1] * 7 + [0] * 3
    scores = score(labels, p_spam, 0.5)
    assert (scores.calibration_slope, scores.calibration_intercept) == pytest.approx((1, 0), abs=1e-3)
    too_sure = score(labels, [0.2**2 / (0.2**2 + 0.8**2)] * 10 + [0.7**2 / (0.7**2 + 0.3**2)] * 10, 0.5)
    assert too_sure.calibration_slope == pytest.approx(0.5, abs=1e-3)


def test_no_slope_fits_best_where_a_threshold_separates():
    assert score([0, 0, 1], [0.1, 0.2, 0.3], 0.5).calibration_slope is None
    assert score([0, 0, 1], [0.8, 0.9, 0.3], 0.5).calibration_slope is None  # the wrong way round
    assert score([0, 0, 1, 1], [0.1, 0.3, 0.3, 0.9], 0.5).calibration_slope is None  # but for one value
    assert score([0, 1, 0], [0.4, 0.4, 0.4], 0.5).calibration_slope is None  # which is all there is


@pytest.mark.filterwarnings("error")
def test_a_slope_is_found_where_classes_overlap_at_all():
    assert score([0, 0, 1, 1], [0.1, 0.31, 0.3, 0.9], 0.5).calibration_slope > 0


def test_intervals_count_groups_of_near_copies():
    """Spam of groups 0, 0, 1: one of group 0 is missed, so 1 of 2 is caught; ham of groups 2, 2, 3: 1 of 2 is blocked."""
    labels, p_spam, groups = [1, 1, 1, 0, 0, 0], [0.9, 0.1, 0.9, 0.9, 0.1, 0.1], [0, 0, 1, 2, 2, 3]
    scores = score(labels, p_spam, 0.5, groups)
    assert scores.spam_caught == pytest.approx(2 / 3) and scores.ham_blocked == pytest.approx(1 / 3)
    assert (scores.spam_groups, scores.ham_groups) == ((1, 2), (1, 2))
    assert scores.spam_caught_interval == pytest.approx(exact_by_formula(1, 2))
    assert scores.ham_blocked_interval == pytest.approx(exact_by_formula(1, 2))


def test_mean_of_runs():
    runs = [score([0, 0, 1, 1], p_spam, 0.5) for p_spam in ([0.1, 0.2, 0.8, 0.9], [0.1, 0.6, 0.3, 0.9])]
    mean = mean_scores(runs)
    assert (mean.n, mean.spam, mean.errors, mean.accuracy) == (4, 2, 1.0, 0.75)
    assert mean.accuracy_interval[0] == pytest.approx((runs[0].accuracy_interval[0] + runs[1].accuracy_interval[0]) / 2)
    assert mean.calibration_slope is None  # as in the first run
