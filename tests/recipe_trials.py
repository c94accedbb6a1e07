"""What decides on the default recipe: `make recipe-trials`; a line of docs/accuracy.md's table for each variation.

All of it is cross-validation inside the tutorial's training rows; the test rows are never read.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from spamcli import evaluation, modules
from spamcli.elmo import ELMo
from spamcli.messages import read_messages
from spamcli.metrics import score
from spamcli.protocols import cross_validation, split
from spamcli.settings import RECIPES

ROOT = Path(__file__).parents[1]
DEFAULT = RECIPES["wide-and-deep"]
VARIATIONS = {
    "default": DEFAULT,
    "without n-grams": replace(DEFAULT, static="none"),
    "batches of 60, 30 epochs at 0.001": replace(DEFAULT, batch_size=60, epochs=30, learning_rate=1e-3),
    "10 epochs": replace(DEFAULT, epochs=10),
    "without dropout": replace(DEFAULT, dropout=0.0, hidden_dropout=0.0),
    "layers not normalised": replace(DEFAULT, normalise=False),
    "3 heads": replace(DEFAULT, heads=3),
    "10 heads": replace(DEFAULT, heads=10),
    "64 hidden units": replace(DEFAULT, hidden=64),
    "tutorial": RECIPES["tutorial"],
}


def main(names: list[str]) -> None:
    collection = read_messages(ROOT / "data" / "spam.csv")
    train = replace(collection, frame=split(collection, "tutorial", 1).train)
    plan = cross_validation(train, num_folds=5, repeats=3, seed=1)
    elmo, labels = ELMo(cache=modules.cache_directory() / "pooled"), plan.frame["label"].to_numpy()
    print(f"| {len(labels):,} messages | errors at its threshold | at 0.5 | ham blocked | spam caught | log loss |")
    print("|---|---|---|---|---|---|")
    for name in names or VARIATIONS:
        recipe = evaluation.Recipe(elmo, VARIATIONS[name])
        measured = evaluation.evaluate_recipe(recipe, plan, "grouped", "tutorial's training rows")
        runs = [score(labels, p_spam, measured.threshold) for p_spam in measured.p_spam]
        even = [score(labels, p_spam, 0.5).errors for p_spam in measured.p_spam]
        errors = [run.errors for run in runs]
        cells = [
            name,
            f"{np.mean(errors):.1f} ({', '.join(map(str, errors))})",
            f"{np.mean(even):.1f} ({', '.join(map(str, even))})",
            *(f"{np.mean([getattr(run, figure) for run in runs]):.2%}" for figure in ("ham_blocked", "spam_caught")),
            f"{np.mean([run.log_loss for run in runs]):.4f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
