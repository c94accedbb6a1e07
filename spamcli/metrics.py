"""What is reported of verdicts on labelled messages, and how sure it is. Spam is positive; all are fractions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import logit
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True)
class Scores:
    """Figures of a classifier on n messages. Of several runs, means: of the counts and of the bounds, too.

    Attributes:
        accuracy_interval: Wilson's interval.
        precision: 0 where no verdict is spam. None without both classes: mcc (Matthews' correlation coefficient), roc_auc,
            average_precision, calibration_slope and calibration_intercept, the last two also where no finite slope fits
            best: one threshold separates the classes, or every p_spam is the same.
        spam_caught: share of spam with the verdict spam (recall); ham_blocked: share of ham with the verdict spam. None
            of none; so are precision, recall and F1 without spam.
            Their intervals are exact (Clopper and Pearson), counted in groups of near copies where groups are known:
            a group of spam is caught if all of it is, a group of ham blocked if any of it is.
        spam_groups, ham_groups: how many are caught, or blocked, and how many there are; without groups, of messages.
        log_loss: in nats; brier: mean squared error of p_spam.
        calibration_slope, calibration_intercept: of the logistic regression of the label on the log-odds of p_spam; 1
            and 0 are perfect, a slope below 1 means too sure of itself.
    """

    n: int
    spam: int
    errors: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    precision: float | None
    recall: float | None
    f1: float | None
    mcc: float | None
    roc_auc: float | None
    average_precision: float | None
    log_loss: float
    brier: float
    calibration_slope: float | None
    calibration_intercept: float | None
    spam_caught: float | None
    spam_caught_interval: tuple[float, float]
    spam_groups: tuple[float, float]
    ham_blocked: float | None
    ham_blocked_interval: tuple[float, float]
    ham_groups: tuple[float, float]
    threshold: float


def score(labels: Sequence[int], p_spam: Sequence[float], threshold: float, groups: Sequence[int] | None = None) -> Scores:
    """Measure p_spam (float [n]) against labels (0 ham, 1 spam; int [n]); the verdict is spam from `threshold` on.

    Args:
        groups: of near copies, int [n]; without them each message is its own.
    """
    labels, p_spam = np.asarray(labels), np.asarray(p_spam, np.float64)
    verdicts = (p_spam >= threshold).astype(int)
    n, errors = len(labels), int((verdicts != labels).sum())
    ham, spam = labels == 0, labels == 1
    both = ham.any() and spam.any()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, verdicts, average="binary", zero_division=0.0)
    groups = np.arange(n) if groups is None else np.asarray(groups)
    missed, blocked = groups[spam & (verdicts == 0)], groups[ham & (verdicts == 1)]
    num_spam, num_ham = len(np.unique(groups[spam])), len(np.unique(groups[ham]))
    spam_groups, ham_groups = (num_spam - len(np.unique(missed)), num_spam), (len(np.unique(blocked)), num_ham)
    slope, intercept = calibration(labels, p_spam) if both else (None, None)
    return Scores(
        n=n,
        spam=int(spam.sum()),
        errors=errors,
        accuracy=1 - errors / n,
        accuracy_interval=wilson(n - errors, n),
        precision=float(precision) if spam.any() else None,
        recall=float(recall) if spam.any() else None,
        f1=float(f1) if spam.any() else None,
        mcc=float(sk.matthews_corrcoef(labels, verdicts)) if both else None,
        roc_auc=float(sk.roc_auc_score(labels, p_spam)) if both else None,
        average_precision=float(sk.average_precision_score(labels, p_spam)) if both else None,
        log_loss=float(sk.log_loss(labels, _inner(p_spam), labels=[0, 1])),
        brier=float(sk.brier_score_loss(labels, p_spam, pos_label=1)),
        calibration_slope=slope,
        calibration_intercept=intercept,
        spam_caught=float(recall) if spam.any() else None,
        spam_caught_interval=clopper_pearson(*spam_groups),
        spam_groups=spam_groups,
        ham_blocked=float(verdicts[ham].mean()) if ham.any() else None,
        ham_blocked_interval=clopper_pearson(*ham_groups),
        ham_groups=ham_groups,
        threshold=threshold,
    )


def mean_scores(runs: Sequence[Scores]) -> Scores:
    """The mean of every figure over runs on the same messages; None where a run has none."""

    def mean(values):
        if isinstance(values[0], tuple):
            return tuple(map(mean, zip(*values)))
        return None if None in values else float(np.mean(values))

    means = {field.name: mean([getattr(run, field.name) for run in runs]) for field in fields(Scores)}
    return Scores(**{**means, "n": runs[0].n, "spam": runs[0].spam})


def calibration(labels: np.ndarray, p_spam: np.ndarray) -> tuple[float | None, float | None]:
    """Slope and intercept of the logistic regression of labels (int [n]) on the log-odds of p_spam (float [n])."""
    log_odds = logit(_inner(p_spam))
    spam, ham = log_odds[labels == 1], log_odds[labels == 0]
    if spam.min() >= ham.max() or spam.max() <= ham.min():  # equal at a single value: the slope still grows without bound
        return None, None
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(log_odds[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _inner(p_spam: np.ndarray) -> np.ndarray:
    """Off 0 and 1, where a single message would make log loss and log-odds infinite."""
    return np.clip(p_spam, 1e-7, 1 - 1e-7)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def clopper_pearson(successes: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share; all of 0 to 1 where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def mcnemar(ours_wrong: Sequence[bool], theirs_wrong: Sequence[bool]) -> float:
    """McNemar's exact two-sided p: how probable so uneven a share of the errors that only one makes, were both as good.

    Args:
        ours_wrong, theirs_wrong: bool [n], on the same messages.
    """
    ours_wrong, theirs_wrong = np.asarray(ours_wrong, bool), np.asarray(theirs_wrong, bool)
    only_ours = np.count_nonzero(ours_wrong & ~theirs_wrong)
    only_one = np.count_nonzero(ours_wrong ^ theirs_wrong)
    return float(binomtest(only_ours, only_one).pvalue) if only_one else 1.0


def cluster_bootstrap(
    ours_wrong: np.ndarray, theirs_wrong: np.ndarray, groups: Sequence[int], seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile interval of their error rate minus ours (positive: we are better), groups resampled whole.

    Args:
        ours_wrong, theirs_wrong: bool [runs, n] on the same messages; of several runs it is the mean difference's.
        groups: int [n].
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    gains = np.asarray(theirs_wrong, int).sum(axis=0) - np.asarray(ours_wrong, int).sum(axis=0)
    gains = np.bincount(groups, gains).astype(int)  # [groups]
    # Groups of one gain and size are alike: drawing how many of each kind costs no memory to speak of.
    kinds, alike = np.unique(np.stack([gains, sizes]), axis=1, return_counts=True)  # [2, kinds], [kinds]
    drawn = np.random.default_rng(seed).multinomial(len(sizes), alike / len(sizes), size=resamples)  # [resamples, kinds]
    differences = (drawn @ kinds[0]) / (drawn @ kinds[1]) / len(ours_wrong)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
