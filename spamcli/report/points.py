"""What the figures of the page are drawn from."""

from typing import NamedTuple

import numpy as np

from spamcli.metrics import wilson

LENGTHS = (5, 10, 20, 30, 50)  # words, each the last of its bin


class Bin(NamedTuple):
    """Messages of like score or length: how many, the share (spam, or judged rightly) with its interval, and where."""

    at: float | str
    n: int
    share: float
    low: float
    high: float


def operating_points(labels: np.ndarray, p_spam: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ham blocked, spam caught and precision at every threshold that is some message's p_spam, highest first; float [t]."""
    order = np.argsort(-p_spam, kind="stable")
    last = np.flatnonzero(np.diff(p_spam[order], append=-1.0))  # of the messages with the same p_spam
    flagged, caught = last + 1, np.cumsum(labels[order])[last]
    return (flagged - caught) / (labels == 0).sum(), caught / labels.sum(), caught / flagged


def calibration_bins(labels: np.ndarray, p_spam: np.ndarray, num_bins: int = 10) -> list[Bin]:
    """Of equally wide bins of p_spam those with messages: at the mean p_spam, the share of spam."""
    bins = np.minimum((p_spam * num_bins).astype(int), num_bins - 1)
    rows = [bins == number for number in np.unique(bins)]
    return [_bin(float(p_spam[inside].mean()), labels[inside] == 1) for inside in rows]


def length_bins(lengths: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Of the bins of LENGTHS those with messages: the share that is judged rightly (bool [n])."""
    names = [f"{low + 1}–{high}" for low, high in zip((-1, *LENGTHS), LENGTHS)] + [f"{LENGTHS[-1] + 1}+"]
    bins = np.searchsorted(LENGTHS, lengths)
    return [_bin(names[number], right[bins == number]) for number in np.unique(bins)]


def _bin(at: float | str, hits: np.ndarray) -> Bin:
    return Bin(at, len(hits), float(hits.mean()), *wilson(int(hits.sum()), len(hits)))
