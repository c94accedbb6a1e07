"""What decides on the classifier inside the package: `make scenario-trials`; a line of docs/accuracy.md's table for each.

Learned from: the tutorial's training rows and the invented messages to learn from, but for the scenarios held out, on which
it is measured; each scenario is held out once. The tutorial's test rows and the measuring part are never read.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from spamcli import budget, invented, modules, training
from spamcli.baselines import at_equal_ham_blocked, fit_baseline
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.messages import read_messages
from spamcli.protocols import near_copy_groups, split
from spamcli.settings import RECIPES

ROOT = Path(__file__).parents[1]
FOLDS = 6  # of scenarios
BUDGETS = (0.005, 0.01, 0.015, 0.02)


def read() -> tuple[pd.DataFrame, np.ndarray]:
    """Messages with `label`, `text`, `file` (1 the invented ones), and the fold that tests each, -1 for none."""
    collection = split(read_messages(ROOT / "data" / "spam.csv"), "tutorial", 1).train.assign(file=0)
    pack = read_messages(invented.TRAINING).frame.assign(file=1)
    scenarios = pd.read_csv(invented.TRAINING, keep_default_na=False)["scenario"]
    shuffled = np.random.default_rng(1).permutation(scenarios.unique())
    fold = scenarios.map({name: number % FOLDS for number, name in enumerate(shuffled)})
    return pd.concat([collection, pack], ignore_index=True), np.concatenate([np.full(len(collection), -1), fold])


def shown(name: str, labels: np.ndarray, scores: np.ndarray, verdicts: list[np.ndarray]) -> None:
    """A line: AUC, spam caught where 2 % of the ham is blocked, and blocked and caught by each verdict."""
    equal = scores >= at_equal_ham_blocked(scores, labels, 0.02)
    parts = [f"{verdict[labels == 0].mean():.1%} / {verdict[labels == 1].mean():.1%}" for verdict in verdicts]
    print(
        f"| {name} | {roc_auc_score(labels, scores):.3f} | {equal[labels == 1].mean():.1%} | {' | '.join(parts)} |", flush=True
    )


def main(baselines: bool) -> None:
    frame, fold = read()
    texts, labels, files = frame["text"].tolist(), frame["label"].to_numpy(), frame["file"].to_numpy()
    features, tested = Features.of(ELMo(cache=modules.cache_directory() / "pooled"), texts), fold >= 0
    groups, settings = near_copy_groups(texts), RECIPES["wide-and-deep"]
    columns = " | ".join(f"blocked / caught within {share:.2%}" for share in BUDGETS)
    print(f"| {tested.sum():,} messages | AUC | caught at 2 % | {columns} |\n|---|---|---|{'---|' * len(BUDGETS)}")
    for name, learned in {"both": fold >= -1, "the collection alone": fold == -1, "the invented ones alone": fold >= 0}.items():
        scores, theirs = np.zeros(len(texts)), np.zeros(len(texts))
        blocked = {share: np.zeros(len(texts), bool) for share in BUDGETS}
        parts = [(np.flatnonzero(learned & (fold != number)), np.flatnonzero(fold == number)) for number in range(FOLDS)]
        for learn, test in parts:
            classifier = training.learn(features[learn], labels[learn], groups[learn], settings, 1, files[learn])
            scores[test], unseen = classifier.log_odds(features[test]), expit(classifier.unseen)
            for share in BUDGETS:
                threshold = budget.choose_for_each(unseen, labels[learn], groups[learn], files[learn], share).threshold
                blocked[share][test] = expit(scores[test]) >= threshold
        shown(name, labels[tested], scores[tested], [blocked[share][tested] for share in BUDGETS])
        for learn, test in parts if baselines else []:
            baseline = fit_baseline("chars", [texts[i] for i in learn], labels[learn], groups[learn], 1)
            theirs[test] = baseline.scores([texts[i] for i in test])
        if baselines:
            shown(f"{name}: TF-IDF characters, SVM", labels[tested], theirs[tested], [theirs[tested] > 0] * len(BUDGETS))


if __name__ == "__main__":
    main(baselines="--without-baselines" not in sys.argv[1:])
