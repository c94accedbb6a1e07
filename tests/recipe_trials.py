"""What the default recipe is chosen by: `make recipe-trials`; a line of docs/accuracy.md's table for each variation.

Nested: inside the training part of each fold of the grouped protocol, variations are compared by cross-validation, and the
simplest within one standard error of the best is chosen. Only then it is trained on that part, and measured on the test part.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.special import logit

from spamcli import modules, training
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.messages import read_messages
from spamcli.protocols import cross_validation, folds
from spamcli.settings import POOLINGS, RECIPES

ROOT = Path(__file__).parents[1]
OUTER, INNER = 5, 3  # folds
DEFAULT = RECIPES["wide-and-deep"]
VARIATIONS = {  # the simplest first; the default is within it, not beside it
    "tutorial": RECIPES["tutorial"],
    "without n-grams": replace(DEFAULT, static="none"),
    "3 heads": replace(DEFAULT, heads=3),
    "64 hidden units": replace(DEFAULT, hidden=64),
    "without dropout": replace(DEFAULT, dropout=0.0, hidden_dropout=0.0),
    "layers not normalised": replace(DEFAULT, normalise=False),
    "default": DEFAULT,
    "10 epochs": replace(DEFAULT, epochs=10),
    "40 epochs": replace(DEFAULT, epochs=40),
    "10 heads": replace(DEFAULT, heads=10),
    "mean and maximum": replace(DEFAULT, pooling="mean+max"),
}


def main(names: list[str]) -> None:
    plan = cross_validation(read_messages(ROOT / "data" / "spam.csv"), OUTER, repeats=1, seed=1)
    texts, labels = plan.frame["text"].tolist(), plan.frame["label"].to_numpy()
    cache = modules.cache_directory() / "pooled"
    features = {pooling: Features.of(ELMo(cache=cache, pooling=pooling), texts) for pooling in POOLINGS}
    variations = {name: VARIATIONS[name] for name in names or VARIATIONS}
    inner_errors, chosen = {name: [] for name in variations}, []
    outer_errors = {"chosen": 0, "default": 0}

    def errors(settings, learn: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Which test messages get the wrong verdict: bool [test]."""
        known = features[settings.pooling]
        classifier = training.learn(known[learn], labels[learn], plan.groups[learn], settings, 1)
        return (classifier.log_odds(known[test]) >= logit(settings.threshold)) != labels[test]

    for learn, test in plan.runs[0]:
        parts = [(learn[inside], learn[held_out]) for inside, held_out in folds(labels[learn], plan.groups[learn], INNER, 1)]
        wrong = {}
        for name, settings in variations.items():
            wrong[name] = np.concatenate([errors(settings, *part) for part in parts]).astype(float)
            inner_errors[name].append(int(wrong[name].sum()))
            print(f"{name}: {inner_errors[name]}", file=sys.stderr, flush=True)
        best = min(wrong, key=lambda name: wrong[name].sum())
        standard_error = {name: np.sqrt(len(learn)) * np.std(wrong[name] - wrong[best]) for name in wrong}
        chosen.append(next(name for name in wrong if wrong[name].sum() - wrong[best].sum() <= standard_error[name]))
        outer_errors["chosen"] += int(errors(variations[chosen[-1]], learn, test).sum())
        outer_errors["default"] += int(errors(DEFAULT, learn, test).sum())

    print(f"| {len(labels):,} messages, {INNER} folds inside each of {OUTER} training parts | errors | mean | chosen |")
    print("|---|---|---|---|")
    for name, found in inner_errors.items():
        print(f"| {name} | {', '.join(map(str, found))} | {np.mean(found):.1f} | {chosen.count(name) or ''} |")
    print(f"\nTested: {outer_errors['chosen']} errors of what was chosen in each, {outer_errors['default']} of the default.")


if __name__ == "__main__":
    main(sys.argv[1:])
