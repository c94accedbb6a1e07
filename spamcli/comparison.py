"""An evaluation beside others: baselines on the same messages, another model, the same messages under attack, less training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from spamcli import attacks, training
from spamcli.baselines import BASELINES, Baseline, at_equal_ham_blocked, fit_baseline
from spamcli.classifier import p_spam
from spamcli.elmo import ELMo
from spamcli.evaluation import Evaluation
from spamcli.metrics import cluster_bootstrap, mcnemar, score
from spamcli.model_dir import TrainedModel
from spamcli.protocols import MIN_GROUPS, Plan, near_copy_groups
from spamcli.settings import HeadSettings
from spamcli.training import Progress, silent

ATTACKED = "chars"  # the baseline that stands beside us under attack
LEARNING_CURVE = (0.1, 0.2, 0.4, 0.7, 1.0)  # shares of the training groups


def beside_baselines(evaluation: Evaluation, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Each baseline, trained on what ours was trained on (the first run's parts), on the same test messages.

    Returns: for each its figures, its settings (of the first part), seconds, and ours against it: McNemar's exact p, and
        the 95 % interval of its error rate minus ours, near copies resampled together. `best` marks the fewest errors.
    """
    labels = evaluation.test["label"].to_numpy()
    rows, jobs = [], len(BASELINES) * len(plan.runs[0])
    for name in BASELINES:
        scores, fitted, seconds = np.zeros(len(plan.frame)), [], 0.0
        for learn, test in plan.runs[0]:
            progress(f"baseline {name}", len(rows) * len(plan.runs[0]) + len(fitted), jobs)
            fitted.append(_fit(name, plan, learn, seed))
            start = time.perf_counter()
            scores[test] = fitted[-1].scores(plan.frame["text"].iloc[test].tolist())
            seconds += time.perf_counter() - start
        verdicts = (scores[plan.tested] > 0).astype(float)
        figures = score(labels, verdicts, 0.5)
        names = ("errors", "accuracy", "mcc", "spam_caught", "ham_blocked")
        rows.append(
            {
                "name": name,
                "settings": fitted[0].settings,
                **{figure: getattr(figures, figure) for figure in names},
                "train_seconds": sum(baseline.train_seconds for baseline in fitted),
                "predict_seconds": seconds,
                **_difference(evaluation, verdicts != labels, plan.groups[plan.tested], seed),
            }
        )
    fewest = min(row["errors"] for row in rows)
    return [{**row, "best": row["errors"] == fewest} for row in rows]


def beside_model(evaluation: Evaluation, other: TrainedModel, name: str, seed: int) -> dict:
    """Another model on the same test messages: its figures, ours against it, and the messages on which they differ."""
    test, labels = evaluation.test, evaluation.test["label"].to_numpy()
    theirs = other.p_spam(test["text"].tolist())
    figures = score(labels, theirs, other.config.threshold)
    verdicts, ours = theirs >= other.config.threshold, evaluation.p_spam[0]
    differ = np.flatnonzero(verdicts != (ours >= evaluation.threshold))
    listed = zip(test.iloc[differ][["row", "text", "label"]].to_dict("records"), ours[differ], theirs[differ])
    return {
        "model": name,
        "fingerprint": other.config.fingerprint,
        "known": int(other.memory.knows(test["text"]).sum()),
        **asdict(figures),
        **_difference(evaluation, verdicts != labels, near_copy_groups(test["text"]), seed),
        "differ": [{**row, "ours": float(our), "theirs": float(their)} for row, our, their in listed],
    }


def _difference(evaluation: Evaluation, theirs_wrong: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    ours_wrong = (evaluation.p_spam[0] >= evaluation.threshold) != evaluation.test["label"].to_numpy()
    interval = cluster_bootstrap(ours_wrong, theirs_wrong, groups, seed)
    return {"mcnemar": mcnemar(ours_wrong, theirs_wrong), "difference_interval": interval}


def under_attack(model: TrainedModel, evaluation: Evaluation, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Spam caught and ham blocked, ours and the baseline's, when ham and spam are rewritten by every tactic.

    Each at its own threshold; `ours_at_their_ham_blocked` is the spam that we catch where our threshold is set so that no
    more ham is blocked than theirs under the same tactic. Padding draws from the words of the test part's ham.
    """
    texts, labels = evaluation.test["text"].tolist(), evaluation.test["label"].to_numpy()
    ((learn, _),) = plan.runs[0]
    baseline = _fit(ATTACKED, plan, learn, seed)
    words = sorted({word for text, label in zip(texts, labels) if label == 0 for word in text.split()})
    tactics = [tactic for tactic in attacks.TACTICS if words or tactic != "padding"]
    jobs = [("none", 0.0), *((tactic, share) for tactic in tactics for share in attacks.SHARES)]
    rows = []
    for number, (tactic, share) in enumerate(jobs):
        progress(f"attack: {tactic}", number, len(jobs))
        parts = [(text,) for text in texts] if tactic == "none" else attacks.attack(texts, tactic, share, seed, words)
        ours, theirs = (_highest(judge, parts) for judge in (model.p_spam, baseline.scores))
        their_figures = _caught_and_blocked(theirs, labels, np.nextafter(0, 1))
        threshold = at_equal_ham_blocked(ours, labels, their_figures["ham_blocked"])
        rows.append(
            {
                "tactic": tactic,
                "share": share,
                "ours": _caught_and_blocked(ours, labels, evaluation.threshold),
                "baseline": their_figures,
                "ours_at_their_ham_blocked": _caught_and_blocked(ours, labels, threshold)["spam_caught"],
            }
        )
    return rows


def _highest(judge: Callable[[Sequence[str]], np.ndarray], parts: Sequence[Sequence[str]]) -> np.ndarray:
    """The highest score of the parts of each message: float64 [messages]."""
    scores = judge([part for message in parts for part in message])
    return np.maximum.reduceat(scores, np.cumsum([0, *(len(message) for message in parts[:-1])]))


def _caught_and_blocked(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    """Shares of spam and of ham with the verdict spam; 0 of none."""
    spam, ham = (float((scores >= threshold)[labels == label].sum()) / max(1, (labels == label).sum()) for label in (1, 0))
    return {"spam_caught": float(spam), "ham_blocked": float(ham)}


def _fit(name: str, plan: Plan, learn: np.ndarray, seed: int) -> Baseline:
    part = plan.frame.iloc[learn]
    return fit_baseline(name, part["text"].tolist(), part["label"].to_numpy(), plan.groups_of(learn), seed)


def learning_curve(elmo: ELMo, settings: HeadSettings, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Errors on the test part after learning from a share of the training groups, drawn once, each share in the next."""
    ((learn, test),) = plan.runs[0]
    labels = plan.frame["label"].to_numpy()
    pooled = elmo.pooled_layers(plan.frame["text"].tolist())
    groups = plan.groups_of(learn)
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    rows = []
    for number, share in enumerate(LEARNING_CURVE):
        progress("learning curve", number, len(LEARNING_CURVE))
        part = learn[np.isin(groups, order[: round(share * len(order))])]
        if any(len(np.unique(plan.groups[part][labels[part] == label])) < MIN_GROUPS for label in (0, 1)):
            continue  # too few to choose the number of epochs on
        head = training.learn(pooled[part], labels[part], plan.groups_of(part), settings, seed)
        figures = score(labels[test], p_spam(head, pooled[test], float(labels[part].mean())), 0.5)
        rows.append({"n": len(part), **{name: getattr(figures, name) for name in ("errors", "accuracy", "accuracy_interval")}})
    return rows
