"""A threshold that keeps the ham that is blocked within a budget, however p_spam is distributed."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from spamcli.errors import DataError

CONFIDENCE = 0.95  # that the budget holds, one-sided
DIGITS = 6  # of a threshold, which is rounded up


@dataclass(frozen=True)
class Budget:
    """What a threshold was chosen by.

    Attributes:
        threshold: the lowest p_spam that the budget allows the verdict spam from.
        ham: groups of near copies of ham whose out-of-fold p_spam chose it; blocked: those of them at it or above.
        bound: with CONFIDENCE at most this share is, near copies counted once, of ham exchangeable with the training ham
            and by scores that are made as these were.
    """

    threshold: float
    ham: int
    blocked: int
    bound: float


def choose(p_spam: np.ndarray, labels: np.ndarray, groups: np.ndarray, max_ham_blocked: float) -> Budget:
    """The lowest threshold of which the exact upper bound of the ham that it blocks is within a budget.

    Above the (k + 1)-th highest of n, the share of all ham that is higher has a Beta(k + 1, n - k) distribution,
    whatever that of p_spam is; k is the largest whose 95 % quantile is within the budget (Clopper and Pearson 1934).

    Args:
        p_spam: of messages by what has not seen them, float [n]; labels: int [n]; groups: of near copies, int [n], each of
            which counts once, by its highest.
        max_ham_blocked: share of ham, between 0 and 1.
    Raises: DataError, if there is too little ham to tell.
    """
    ham = labels == 0
    _, group = np.unique(groups[ham], return_inverse=True)
    highest = np.zeros(group.max() + 1)
    np.maximum.at(highest, group, p_spam[ham])
    n = len(highest)
    needed = math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-max_ham_blocked))
    if n < needed:
        raise DataError(
            f"--max-ham-blocked {max_ham_blocked:g}: to tell takes {needed:,} ham messages that are no near copies of one "
            f"another, and the training messages have {n:,}; add ham, or allow more"
        )
    bounds = beta.ppf(CONFIDENCE, np.arange(n) + 1, n - np.arange(n))
    blocked = int(np.searchsorted(bounds, max_ham_blocked, side="right")) - 1
    threshold = math.floor(np.sort(highest)[::-1][blocked] * 10**DIGITS + 1) / 10**DIGITS
    return Budget(min(1.0, threshold), n, blocked, float(bounds[blocked]))


def choose_for_each(
    p_spam: np.ndarray, labels: np.ndarray, groups: np.ndarray, files: np.ndarray, max_ham_blocked: float
) -> Budget:
    """The highest of the thresholds that each file's ham asks for, so that the budget holds for all of them.

    Args:
        files: which file each message is from, int [n]; else as `choose` has it.
    """
    with_ham = [files == file for file in np.unique(files[labels == 0])]
    budgets = [choose(p_spam[rows], labels[rows], groups[rows], max_ham_blocked) for rows in with_ham]
    return max(budgets, key=lambda budget: budget.threshold)
