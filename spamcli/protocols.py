"""How messages are split into training and test: the tutorial's way, Almeida's, and one without copies."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import StratifiedGroupKFold

from spamcli.characters import as_seen
from spamcli.errors import DataError
from spamcli.messages import Messages

NEAR_COPY = 0.6  # Jaccard similarity of the sets of character 4-grams from which on two messages are near copies
MIN_GROUPS = 10  # of each class, so that training and its validation part have some, too
_TUTORIAL_TRAIN_ROWS = 4457  # the first 80 % of spam.csv's 5,572 rows
_ALMEIDA_TEST = 3900  # messages, the last of UCI's 5,574 lines


@dataclass(frozen=True)
class Split:
    """Training and test messages: frames with `text`, `label`, and `unseen` in test.

    A test message is unseen where no chain of near copies (see `near_copy_groups`) leads to a training message.
    """

    protocol: str
    seed: int  # moves `grouped` only
    train: pd.DataFrame
    test: pd.DataFrame

    @property
    def summary(self) -> dict:
        """Sizes, and a SHA-256 that tells whether another split puts the same messages on the same sides."""
        sides = "\0".join([*self.train["text"], "", *self.test["text"]])
        digest = hashlib.sha256(sides.encode("utf-8", "surrogatepass")).hexdigest()
        return {"train": len(self.train), "test": len(self.test), "sha256": digest}


@dataclass(frozen=True)
class Plan:
    """Which messages are learned from and which are tested, run by run; every run tests the same ones.

    Attributes:
        frame: messages with `text`, `label` and `unseen`, which is False where a near copy is always learned from.
        groups: of near copies, int [n].
        runs: for each run its pairs of positions to learn from and to test: int [m], int [k].
    """

    frame: pd.DataFrame
    groups: np.ndarray
    runs: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]

    def groups_of(self, learn: np.ndarray) -> np.ndarray:
        """Groups of near copies among the messages that are learned from, which no other message chains: int [learn]."""
        return near_copy_groups(self.frame["text"].iloc[learn].tolist())

    def sources_of(self, learn: np.ndarray) -> np.ndarray:
        """`sources` of the messages that are learned from: int [learn]."""
        return sources(self.frame.iloc[learn])

    @property
    def tested(self) -> np.ndarray:
        """Positions of the messages that are tested, in order."""
        return np.sort(np.concatenate([test for _, test in self.runs[0]]))


def default_protocol(messages: Messages) -> str:
    """`tutorial` for the verified spam.csv, `grouped` for any other file."""
    return "tutorial" if messages.form == "spam.csv" else "grouped"


def split(messages: Messages, protocol: str, seed: int) -> Split:
    """Split messages by a protocol of `settings.PROTOCOLS`.

    Raises: DataError, where the protocol is defined for the verified collection alone and this is something else.
    """
    frame = messages.frame
    if protocol == "tutorial":
        if messages.form != "spam.csv":
            raise DataError(f"{messages.path}: protocol tutorial is rows of the verified spam.csv; use --protocol grouped")
        in_train = (frame["row"] < _TUTORIAL_TRAIN_ROWS).to_numpy()
    elif protocol == "almeida2011":
        if messages.form not in ("spam.csv", "uci") or messages.reading["raw"]:
            raise DataError(
                f"{messages.path}: protocol almeida2011 is lines of the verified collection; use --protocol grouped"
            )
        in_train = np.arange(len(frame)) < len(frame) - _ALMEIDA_TEST
    elif protocol == "grouped":
        frame = distinct(frame)
    else:
        raise ValueError(f"unknown protocol. Received: {protocol!r}")
    groups = near_copy_groups(frame["text"])
    if protocol == "grouped":
        in_train = _one_fold(frame["label"], groups, seed, messages)
    test = frame[~in_train].assign(unseen=~np.isin(groups[~in_train], groups[in_train]))
    return Split(protocol, seed, frame[in_train].reset_index(drop=True), test.reset_index(drop=True))


def sources(train: pd.DataFrame) -> np.ndarray:
    """Which file each training message is from, 0 without `with_also`: int [n]."""
    return train["file"].to_numpy(int) if "file" in train else np.zeros(len(train), int)


def with_also(split: Split, also: Sequence[Messages]) -> Split:
    """The split with other labelled messages to learn from, but for near copies of its test messages.

    Training messages have a column `file` then: 0 for those of the split, k for the k-th of the others.
    """
    parts = [split.train.assign(file=0)]
    for number, messages in enumerate(also, start=1):
        new = unseen_by(split.test["text"].tolist(), messages.frame["text"].tolist())
        parts.append(messages.frame[new].assign(file=number))
    return replace(split, train=pd.concat(parts, ignore_index=True)) if also else split


def plan_with_also(plan: Plan, also: Sequence[Messages]) -> Plan:
    """The plan with other labelled messages to learn from, but for near copies of what a pair tests."""
    if not also:
        return plan
    own = len(plan.frame)
    others = [messages.frame.assign(file=number, unseen=False) for number, messages in enumerate(also, start=1)]
    frame = pd.concat([plan.frame.assign(file=0), *others], ignore_index=True)
    groups = near_copy_groups(frame["text"].tolist())

    def extended(learn: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([learn, own + np.flatnonzero(~np.isin(groups[own:], groups[test]))]), test

    return Plan(frame, groups, [[extended(*pair) for pair in pairs] for pairs in plan.runs])


def plan_of(split: Split, repeats: int = 1) -> Plan:
    """The plan of one split, the same in every run."""
    frame = pd.concat([split.train.assign(unseen=False), split.test], ignore_index=True)
    train = np.arange(len(frame)) < len(split.train)
    return Plan(frame, near_copy_groups(frame["text"]), [[(np.flatnonzero(train), np.flatnonzero(~train))]] * repeats)


def cross_validation(messages: Messages, num_folds: int, repeats: int, seed: int) -> Plan:
    """Protocol `grouped` in folds: each distinct message is tested by what saw neither it nor a near copy of it.

    Args:
        seed: of the first repeat's folds; the next has the next one.
    Raises: DataError, if there are too few groups.
    """
    frame = distinct(messages.frame).assign(unseen=True)
    groups, labels = near_copy_groups(frame["text"]), frame["label"].to_numpy()
    _check_groups(labels, groups, messages)
    most = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    if num_folds > most:
        raise DataError(
            f"{messages.path}: {num_folds} folds need as many groups of ham and of spam; it has {most}; ask for fewer"
        )
    return Plan(frame, groups, [list(folds(labels, groups, num_folds, seed + repeat)) for repeat in range(repeats)])


def _one_fold(labels, groups, seed, messages) -> np.ndarray:
    """Where the training messages are, of one stratified 80/20 split that keeps near copies together."""
    _check_groups(labels, groups, messages)
    in_train = np.zeros(len(labels), bool)
    in_train[validation_split(labels, groups, seed)[0]] = True
    return in_train


def _check_groups(labels, groups, messages: Messages) -> None:
    groups_of_class = [len(np.unique(groups[labels == label])) for label in (0, 1)]
    if min(groups_of_class) < MIN_GROUPS:
        raise DataError(
            f"{messages.path}: {groups_of_class[0]} ham and {groups_of_class[1]} spam once near copies are taken together "
            f"(digits masked); at least {MIN_GROUPS} of each are needed"
        )


def folds(labels: Sequence[int], groups: Sequence[int], n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the training and test messages of `n` folds, stratified, near copies together: int [m], int [k].

    The groups are put into random order here: before 1.8, scikit-learn's own shuffling lost the stratification.
    """
    _, groups = np.unique(groups, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(groups.max() + 1)[groups]
    return StratifiedGroupKFold(n_splits=n).split(shuffled, labels, shuffled)


def validation_split(labels: Sequence[int], groups: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of 80 % and 20 % of messages: the first of five folds."""
    return next(folds(labels, groups, 5, seed))


def normalise(text: str) -> str:
    """What two messages must share to count as the same: visible letters and digits alone, in lower case."""
    return "".join(character for character in as_seen(text).lower() if character.isalnum())


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Messages without repetitions (equal after `normalise`), the first of each kept."""
    return frame[~frame["text"].map(normalise).duplicated()].reset_index(drop=True)


def unseen_by(training: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Which texts no chain of near copies leads to a training message from: bool [texts]."""
    groups = near_copy_groups([*training, *texts])
    return ~np.isin(groups[len(training) :], groups[: len(training)])


def near_copy_groups(texts: Sequence[str], pairs: int = 2**23) -> np.ndarray:
    """Number of the group of each message; near copies, and near copies of those, share one: int [messages].

    Two messages are near copies when they are equal after `normalise`, or when the sets of character 4-grams of their
    words, every digit read as 0, have a Jaccard similarity of NEAR_COPY or more.

    Args:
        pairs: of messages that are compared at once; bounds the memory, moves nothing.
    """
    keys = [normalise(text) or number for number, text in enumerate(texts)]
    first: dict[str | int, int] = {}
    groups = np.array([first.setdefault(key, number) for number, key in enumerate(keys)], int)
    for rows, columns in _near_pairs(texts, max(1, pairs // max(1, len(texts)))):
        rows, columns = np.concatenate([np.arange(len(keys)), rows]), np.concatenate([groups, columns])
        edges = csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(len(keys), len(keys)))
        groups = connected_components(edges, directed=False)[1]
        groups = np.unique(groups, return_index=True)[1][groups]  # named by their first message
    return np.unique(groups, return_inverse=True)[1]


def _near_pairs(texts: Sequence[str], block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the pairs with Jaccard similarity NEAR_COPY or more, a block of messages against all at a time."""
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(4, 4), binary=True, dtype=np.int32, preprocessor=_mask_digits)
    try:
        grams = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's word for: not one 4-gram in all of them
        return
    sizes = np.asarray(grams.sum(axis=1)).ravel()
    for start in range(0, grams.shape[0], block):
        shared = (grams[start : start + block] @ grams.T).tocoo()
        union = sizes[shared.row + start] + sizes[shared.col] - shared.data
        near = shared.data >= NEAR_COPY * union
        yield shared.row[near] + start, shared.col[near]


def _mask_digits(text: str) -> str:
    return "".join("0" if character.isdigit() else character for character in text.lower())
