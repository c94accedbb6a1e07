"""What is reported of verdicts on labelled messages, and how sure it is. Spam is positive; all are fractions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics as sk

CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True)
class Scores:
    """Figures of a classifier on n messages.

    Attributes:
        accuracy_interval: Wilson's interval.
        spam_caught: share of spam with the verdict spam (recall); ham_blocked: share of ham with the verdict spam.
        mcc: Matthews' correlation coefficient, 0 without both classes; roc_auc: None without both classes.
    """

    n: int
    spam: int
    errors: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    precision: float
    recall: float
    f1: float
    mcc: float
    roc_auc: float | None
    spam_caught: float
    ham_blocked: float
    threshold: float


def score(labels: Sequence[int], p_spam: Sequence[float], threshold: float) -> Scores:
    """Measure p_spam (float [n]) against labels (0 ham, 1 spam; int [n]); the verdict is spam from `threshold` on."""
    labels, p_spam = np.asarray(labels), np.asarray(p_spam)
    verdicts = (p_spam >= threshold).astype(int)
    n, errors = len(labels), int((verdicts != labels).sum())
    ham, spam = labels == 0, labels == 1
    both = ham.any() and spam.any()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, verdicts, average="binary", zero_division=0.0)
    return Scores(
        n=n,
        spam=int(spam.sum()),
        errors=errors,
        accuracy=1 - errors / n,
        accuracy_interval=wilson(n - errors, n),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        mcc=float(sk.matthews_corrcoef(labels, verdicts)) if both else 0.0,
        roc_auc=float(sk.roc_auc_score(labels, p_spam)) if both else None,
        spam_caught=float(recall),
        ham_blocked=float(verdicts[ham].mean()) if ham.any() else 0.0,
        threshold=threshold,
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
