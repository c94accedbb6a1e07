"""Whether learning from attacked copies of messages pays: `make attack-trials`; a table of docs/accuracy.md.

Inside the tutorial's training rows, by cross-validation: beside each message that is learned from, a copy of it, rewritten by a
random tactic, but never by the one that is measured then. The character SVM learns from the very same copies.
"""

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.metrics import roc_auc_score

from spamcli import modules, training
from spamcli.attacks import TACTICS, attack
from spamcli.baselines import at_equal_ham_blocked, fit_baseline
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.messages import read_messages
from spamcli.protocols import distinct, folds, near_copy_groups, split
from spamcli.settings import RECIPES

ROOT = Path(__file__).parents[1]
FOLDS, SHARE, BLOCKED, SEED = 3, 0.2, 0.002, 1
SETTINGS = RECIPES["wide-and-deep"]


def copies(texts: np.ndarray, labels: np.ndarray, left_out: str | None) -> tuple[list[str], np.ndarray]:
    """One rewritten copy of each message, its two parts if it was split; and whose it is, a position of `texts`."""
    tactics = [tactic for tactic in TACTICS if tactic != left_out]
    drawn = np.random.default_rng(SEED).integers(len(tactics), size=len(texts))
    words = sorted({word for text in texts[labels == 0] for word in text.split()})
    parts = [attack([text], tactics[number], SHARE, SEED, words)[0] for text, number in zip(texts, drawn)]
    return [part for message in parts for part in message], np.repeat(np.arange(len(texts)), [len(part) for part in parts])


def judges(texts: np.ndarray, labels: np.ndarray, groups: np.ndarray, elmo: ELMo) -> dict:
    """Ours, and the SVM: messages -> log-odds or scores above the threshold."""
    classifier = training.learn(Features.of(elmo, list(texts)), labels, groups, SETTINGS, SEED)
    baseline = fit_baseline("chars", list(texts), labels, groups, SEED)
    odds = np.log(SETTINGS.threshold / (1 - SETTINGS.threshold))
    return {"ours": lambda asked: classifier.log_odds(Features.of(elmo, asked)) - odds, "SVM": baseline.scores}


def highest(judge, parts: Sequence[Sequence[str]]) -> np.ndarray:
    scores = judge([part for message in parts for part in message])
    return np.maximum.reduceat(scores, np.cumsum([0, *(len(message) for message in parts[:-1])]))


def main() -> None:
    frame = distinct(split(read_messages(ROOT / "data" / "spam.csv"), "tutorial", 1).train)
    texts, labels = frame["text"].to_numpy(object), frame["label"].to_numpy()
    groups, elmo = near_copy_groups(list(texts)), ELMo(cache=modules.cache_directory() / "pooled")
    parts = list(folds(labels, groups, FOLDS, SEED))
    scores = {}  # by tactic, None for messages as they are, and judge

    def measure(learn: np.ndarray, test: np.ndarray, tactic: str | None, known: dict, name: str) -> None:
        words = sorted({word for text in texts[test][labels[test] == 0] for word in text.split()})
        asked = attack(texts[test], tactic, SHARE, SEED, words) if tactic else [(text,) for text in texts[test]]
        for judge, judged in known.items():
            scores.setdefault((tactic, f"{judge}{name}"), np.zeros(len(texts)))[test] = highest(judged, asked)

    for learn, test in parts:
        plain = judges(texts[learn], labels[learn], groups[learn], elmo)
        for tactic in (None, *TACTICS):
            measure(learn, test, tactic, plain, "")
            more, whose = copies(texts[learn], labels[learn], tactic)
            rows = np.concatenate([learn, learn[whose]])
            learned = np.concatenate([texts[learn], np.array(more, object)])
            measure(learn, test, tactic, judges(learned, labels[rows], groups[rows], elmo), ", copies")
    names = ("ours", "ours, copies", "SVM", "SVM, copies")
    print(f"| {len(texts):,} messages, {FOLDS} folds, {SHARE:.0%} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for tactic in (None, *TACTICS):
        cells = []
        for name in names:
            found = scores[tactic, name]
            equal = found >= at_equal_ham_blocked(found, labels, BLOCKED)
            errors = np.count_nonzero((found >= 0) != labels)
            cells.append(f"{equal[labels == 1].mean():.1%}, {errors} errors, AUC {roc_auc_score(labels, found):.4f}")
        print(f"| {tactic or 'as they are'} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
