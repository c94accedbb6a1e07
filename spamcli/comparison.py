"""An evaluation beside others: baselines on the same messages, another model, the same messages under attack, less training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from spamcli import attacks, training, word_vectors
from spamcli.baselines import BASELINES, Baseline, at_equal_ham_blocked, fit_baseline
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.errors import DataError
from spamcli.evaluation import Evaluation
from spamcli.metrics import cluster_bootstrap, mcnemar, mean_scores, score
from spamcli.model_dir import TrainedModel
from spamcli.protocols import MIN_GROUPS, Plan, near_copy_groups
from spamcli.settings import ClassifierSettings
from spamcli.training import Progress, silent

ATTACKED = "chars"  # the baseline that stands beside us under attack
_BESIDE = ("errors", "accuracy", "mcc", "spam_caught", "ham_blocked")  # figures of a baseline that are reported
LEARNING_CURVE = (0.1, 0.2, 0.4, 0.7, 1.0)  # shares of the training groups


def beside_baselines(evaluation: Evaluation, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Each baseline, trained on what ours was trained on in every run, on the same test messages.

    Returns: for each its figures (of several runs the means), the spam it catches where, on these
        very messages, it may block as much ham as ours, its settings (of the first part), seconds of a run, and ours
        against it, see `_difference`. `best` marks the fewest errors on these very messages, chosen after the fact.
    """
    labels = evaluation.test["label"].to_numpy()
    every_part = {learn.tobytes(): (learn, test) for run in plan.runs for learn, test in run}  # which heads of one split share
    rows, jobs = [], len(BASELINES) * len(every_part)
    for name in BASELINES:
        fitted, scores, seconds = {}, {}, 0.0
        for key, (learn, test) in every_part.items():
            progress(f"baseline {name}", len(rows) * len(every_part) + len(fitted), jobs)
            fitted[key] = _fit(name, plan, learn, seed)
            start = time.perf_counter()
            scores[key] = fitted[key].scores(plan.frame["text"].iloc[test].tolist())
            seconds += time.perf_counter() - start
        margins = np.zeros([len(plan.runs), len(plan.frame)])
        for run, pairs in enumerate(plan.runs):
            for learn, test in pairs:
                margins[run, test] = scores[learn.tobytes()]
        margins = margins[:, plan.tested]
        verdicts = (margins > 0).astype(float)
        figures = mean_scores([score(labels, of_run, 0.5) for of_run in verdicts])
        runs_trained = len(every_part) / len(plan.runs[0])
        rows.append(
            {
                "name": name,
                "settings": next(iter(fitted.values())).settings,
                **{figure: getattr(figures, figure) for figure in _BESIDE},
                "caught_at_our_ham_blocked": _caught_at_ours(margins, evaluation),
                "train_seconds": sum(baseline.train_seconds for baseline in fitted.values()) / runs_trained,
                "predict_seconds": seconds / runs_trained,
                **_difference(evaluation.wrong, verdicts != labels, plan.groups[plan.tested], seed),
            }
        )
    fewest = min(row["errors"] for row in rows)
    return [{**row, "best": row["errors"] == fewest} for row in rows]


def _caught_at_ours(margins: np.ndarray, evaluation: Evaluation) -> float | None:
    """Spam caught by scores, float [runs, n], where as much ham as by ours is blocked: means of the runs; None without both."""
    labels, caught = evaluation.test["label"].to_numpy(), []
    if len(np.unique(labels)) < 2:
        return None
    for ours, theirs in zip(evaluation.p_spam >= evaluation.threshold, margins, strict=True):
        threshold = at_equal_ham_blocked(theirs, labels, ours[labels == 0].mean())
        caught.append((theirs >= threshold)[labels == 1].mean())
    return float(np.mean(caught))


def beside_model(evaluation: Evaluation, model: TrainedModel, other: TrainedModel, name: str, seed: int) -> dict:
    """Another model on the test messages that neither was trained on: figures of both, the difference, where they differ.

    Returns: the other's figures; `ours`; `known`: how many messages one of them was trained on, and the figures with them.
    Raises: DataError, if each message is known to one of them.
    """
    test, labels = evaluation.test, evaluation.test["label"].to_numpy()
    new = ~(model.memory.knows(test["text"]) | other.memory.knows(test["text"]))
    if not new.any():
        raise DataError(f"{name}: it or this model was trained on each of the test messages; name others with --test")
    theirs, ours = other.p_spam(test["text"].tolist()), evaluation.p_spam[0]
    threshold, every = other.config.settings.threshold, np.full(len(new), True)
    verdicts = theirs >= threshold

    def figures(rows: np.ndarray) -> tuple[dict, dict]:
        groups = None if evaluation.groups is None else evaluation.groups[rows]
        return asdict(score(labels[rows], theirs[rows], threshold, groups)), asdict(evaluation.scores_of(rows))

    their_figures, our_figures = figures(new)
    with_known = dict(zip(("theirs", "ours"), figures(every)))
    differ = np.flatnonzero(verdicts != (ours >= evaluation.threshold))
    listed = zip(test.iloc[differ][["row", "text", "label"]].to_dict("records"), ours[differ], theirs[differ])
    wrong, groups = verdicts != labels, near_copy_groups(test["text"])[new]
    return {
        "model": name,
        "fingerprint": other.config.fingerprint,
        **their_figures,
        "ours": our_figures,
        "known": {"n": int((~new).sum()), **with_known},
        **_difference(evaluation.wrong[:, new], wrong[None, new], groups, seed),
        "differ": [{**row, "ours": float(our), "theirs": float(their)} for row, our, their in listed],
    }


def _difference(ours_wrong: np.ndarray, theirs_wrong: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Ours against theirs, bool [runs, n] each, run by run on the same messages.

    Returns: `mcnemar`, the exact p (of several runs the median), and `difference_interval`, the 95 % interval of their
        error rate minus ours (of several runs of the mean), near copies resampled together.
    """
    p = [mcnemar(ours, theirs) for ours, theirs in zip(ours_wrong, theirs_wrong, strict=True)]
    interval = cluster_bootstrap(ours_wrong, theirs_wrong, groups, seed)
    return {"mcnemar": float(np.median(p)), "difference_interval": interval}


def under_attack(model: TrainedModel, evaluation: Evaluation, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Spam caught and ham blocked, ours and the baseline's, when ham and spam are rewritten by every tactic.

    Each at its own threshold, which knows of no attack; `ours_at_their_ham_blocked` is the spam that we catch where our
    threshold is set, on these very messages, so that no more ham is blocked than theirs under the same tactic; None
    without ham. Padding draws from the words of the test part's other ham.
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
        figures = {
            "ours": _caught_and_blocked(ours >= evaluation.threshold, evaluation),
            "baseline": _caught_and_blocked(theirs > 0, evaluation),
        }
        blocked, equal = figures["baseline"]["ham_blocked"], None
        if blocked is not None:
            threshold = at_equal_ham_blocked(ours, labels, blocked)
            equal = _caught_and_blocked(ours >= threshold, evaluation)["spam_caught"]
        rows.append({"tactic": tactic, "share": share, **figures, "ours_at_their_ham_blocked": equal})
    return rows


def _highest(judge: Callable[[Sequence[str]], np.ndarray], parts: Sequence[Sequence[str]]) -> np.ndarray:
    """The highest score of the parts of each message: float64 [messages]."""
    scores = judge([part for message in parts for part in message])
    return np.maximum.reduceat(scores, np.cumsum([0, *(len(message) for message in parts[:-1])]))


def _caught_and_blocked(verdicts: np.ndarray, evaluation: Evaluation) -> dict:
    """Shares of spam and of ham with the verdict spam (bool [n]), and their intervals; None of none."""
    figures = score(evaluation.test["label"].to_numpy(), verdicts.astype(float), 0.5, evaluation.groups)
    names = ("spam_caught", "spam_caught_interval", "ham_blocked", "ham_blocked_interval")
    return {name: getattr(figures, name) for name in names}


def _fit(name: str, plan: Plan, learn: np.ndarray, seed: int) -> Baseline:
    part = plan.frame.iloc[learn]
    return fit_baseline(name, part["text"].tolist(), part["label"].to_numpy(), plan.groups_of(learn), seed)


def learning_curve(elmo: ELMo, settings: ClassifierSettings, plan: Plan, seed: int, progress: Progress = silent) -> list[dict]:
    """Errors on the test part after learning from a share of the training groups, drawn once, each share in the next."""
    ((learn, test),) = plan.runs[0]
    labels = plan.frame["label"].to_numpy()
    features = Features.of(elmo, plan.frame["text"].tolist(), static=word_vectors.of(settings))
    groups = plan.groups_of(learn)
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    rows = []
    for number, share in enumerate(LEARNING_CURVE):
        progress("learning curve", number, len(LEARNING_CURVE))
        part = learn[np.isin(groups, order[: round(share * len(order))])]
        if any(len(np.unique(plan.groups[part][labels[part] == label])) < MIN_GROUPS for label in (0, 1)):
            continue  # too few for folds
        classifier = training.learn(features[part], labels[part], plan.groups_of(part), settings, seed, plan.sources_of(part))
        figures = score(labels[test], classifier.p_spam(features[test]), settings.threshold)
        rows.append({"n": len(part), **{name: getattr(figures, name) for name in ("errors", "accuracy", "accuracy_interval")}})
    return rows
