"""Measuring: a saved model on messages it was not trained on, or a recipe, trained afresh in every fold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from spamcli import training, word_vectors
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.errors import DataError
from spamcli.messages import Messages
from spamcli.metrics import Scores, mean_scores, score
from spamcli.model_config import read_config
from spamcli.model_dir import TrainedModel
from spamcli.protocols import Plan, Split, near_copy_groups, unseen_by
from spamcli.runtime import Runtime
from spamcli.settings import EVEN, POOLINGS, SEED, ClassifierSettings
from spamcli.training import Progress, silent, timed


@dataclass(frozen=True)
class Evaluation:
    """p_spam of messages that were not learned from, and what it amounts to.

    Attributes:
        protocol: how the messages were chosen; fingerprint: all settings that move a figure, in one line.
        test: frame of the messages: `text`, `label`, `row`, and `unseen` (no near copy in training), unless that is unknown.
        groups: of near copies, int [n], where the protocol counts in groups; else None.
        p_spam: float64 [runs, n]; a saved model is one run, a recipe has one for each seed or repeat.
        details: what else --json tells of how it was made.
        seconds: of each phase.
    """

    protocol: str
    fingerprint: str
    test: pd.DataFrame
    groups: np.ndarray | None
    p_spam: np.ndarray
    threshold: float
    details: dict
    seconds: dict[str, float]

    @property
    def scores(self) -> Scores:
        return self.scores_of(np.full(len(self.test), True))

    @property
    def unseen(self) -> Scores | None:
        """On the messages without a near copy in training; None, if there are none or nobody knows which."""
        unseen = self.test.get("unseen")
        return self.scores_of(unseen.to_numpy()) if unseen is not None and unseen.any() else None

    def scores_of(self, rows: np.ndarray, threshold: float | None = None) -> Scores:
        """The figures of some messages (bool [n]); of several runs the mean."""
        labels, groups = self.test["label"].to_numpy()[rows], None if self.groups is None else self.groups[rows]
        threshold = self.threshold if threshold is None else threshold
        runs = [score(labels, p_spam[rows], threshold, groups) for p_spam in self.p_spam]
        return runs[0] if len(runs) == 1 else mean_scores(runs)

    @property
    def wrong(self) -> np.ndarray:
        """Which messages have the wrong verdict: bool [runs, n]."""
        return (self.p_spam >= self.threshold) != self.test["label"].to_numpy()

    def messages(self) -> list[dict]:
        """Each test message without its text; p_spam is the mean of the runs."""
        rows = self.test.drop(columns="text").to_dict("records")
        lengths = self.test["text"].map(lambda text: len(text.split()))
        means = self.p_spam.mean(axis=0)
        return [{**row, "p_spam": float(p), "length": int(n)} for row, p, n in zip(rows, means, lengths)]

    def to_dict(self) -> dict:
        """What --json prints; keys are stable, shares are fractions."""
        unseen, none = self.unseen, 0 if "unseen" in self.test else None
        values = {
            "protocol": self.protocol,
            **asdict(self.scores),
            **self.details,
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "unseen": asdict(unseen) if unseen else {"n": none, "accuracy": None, "errors": none},
        }
        if self.threshold != EVEN:
            values["at_half"] = asdict(self.scores_of(np.full(len(self.test), True), EVEN))
        if len(self.p_spam) > 1:
            values["runs"] = [asdict(score(self.test["label"], p_spam, self.threshold, self.groups)) for p_spam in self.p_spam]
        return values


def evaluate(model: TrainedModel, split: Split, progress: Progress = silent) -> Evaluation:
    """Measure a model on the test messages of the split it was trained with; nothing is learned."""
    config = model.config
    groups = near_copy_groups(split.test["text"]) if split.protocol == "grouped" else None
    return _measured(model, config.protocol, config.fingerprint, split.test, groups, {}, progress)


def evaluate_file(
    model: TrainedModel, messages: Messages, training_texts: Sequence[str] | None = None, progress: Progress = silent
) -> Evaluation:
    """Measure a model on a labelled file. Messages that it was trained on are left out, and measured apart.

    Args:
        training_texts: where they are at hand, to tell which messages have a near copy among them.
    Returns: an Evaluation whose `details["known"]` has the number of messages left out and the figures with them.
    Raises: DataError, if all are known.
    """
    frame = messages.frame
    known = model.memory.knows(frame["text"])
    if known.all():
        raise DataError(f"{messages.path}: the model was trained on all of these messages; name others")
    if training_texts is not None:
        frame = frame.assign(unseen=unseen_by(training_texts, frame["text"]))
    fingerprint = f"protocol file | test {messages.fingerprint} | model: {model.config.fingerprint}"
    every = _measured(model, "file", fingerprint, frame, near_copy_groups(frame["text"]), {}, progress)
    details = {**every.details, "file": {"path": str(messages.path), "sha256": messages.sha256, "skipped": messages.skipped}}
    details["known"] = {"n": int(known.sum()), "with_them": asdict(every.scores)}
    test = frame[~known].reset_index(drop=True)
    return replace(every, test=test, groups=every.groups[~known], p_spam=every.p_spam[:, ~known], details=details)


def _measured(model, protocol, fingerprint, test, groups, details, progress) -> Evaluation:
    config, seconds = model.config, {}
    with timed(seconds, "test"):
        p_spam = model.p_spam(test["text"].tolist(), lambda done, total: progress("ELMo, test messages", done, total))
    settings = config.settings
    if settings.threshold_ham is not None and settings.threshold_ham < settings.threshold:
        unsure = (p_spam >= settings.threshold_ham) & (p_spam < settings.threshold)
        band = {"threshold_ham": settings.threshold_ham, "threshold_spam": settings.threshold}
        details = {**details, "unsure": {**band, "n": int(unsure.sum()), "spam": int(test["label"][unsure].sum())}}
    if config.budget:
        details = {**details, "budget": {"max_ham_blocked": settings.max_ham_blocked, **config.budget}}
    about = {"mixing": config.mixing, "elmo": config.elmo, "recipe": settings.recipe, "epochs": settings.epochs}
    details = {**about, "seed": config.seed, **details}
    return Evaluation(protocol, fingerprint, test, groups, p_spam[None], settings.threshold, details, seconds)


def beside_onnx(evaluation: Evaluation, directory: Path) -> dict | None:
    """What a saved model's ONNX file, which `predict` runs, makes of the same messages; None, if it has none.

    Returns: errors; differ: how many verdicts are others; largest: difference of p_spam.
    """
    if "onnx" not in read_config(directory)[2]:
        return None
    (p_spam,), theirs = evaluation.p_spam, Runtime(directory).p_spam(evaluation.test["text"].tolist())
    verdicts = theirs >= evaluation.threshold
    return {
        "errors": int((verdicts != evaluation.test["label"].to_numpy()).sum()),
        "differ": int((verdicts != (p_spam >= evaluation.threshold)).sum()),
        "largest": float(np.abs(theirs - p_spam).max()),
    }


@dataclass(frozen=True)
class Recipe:
    """What trains a classifier: an ELMo, settings and a seed; of each run the next seed."""

    elmo: ELMo
    settings: ClassifierSettings
    seed: int = SEED

    @property
    def fingerprint(self) -> str:
        """The settings behind a figure, but for the messages."""
        parts = {"elmo": self.elmo.fingerprint[:8], **self.settings.fingerprint, **training.versions()}
        return " | ".join(f"{name} {value}" for name, value in parts.items())


def evaluate_recipe(recipe: Recipe, plan: Plan, protocol: str, about: str, progress: Progress = silent) -> Evaluation:
    """Train afresh inside every training part of a plan and measure on its test part; no model is written.

    All that is learned is learned inside the training messages.

    Args:
        protocol, about: name of the protocol, and the settings behind the plan, in one line.
    """
    texts, labels, seconds = plan.frame["text"].tolist(), plan.frame["label"].to_numpy(), {}
    with timed(seconds, "encode"):
        vectors = word_vectors.of(recipe.settings)
        features = Features.of(recipe.elmo, texts, lambda done, total: progress("ELMo", done, total), vectors)
    p_spam = np.zeros([len(plan.runs), len(texts)])
    jobs = [(run, *parts) for run, pairs in enumerate(plan.runs) for parts in pairs]
    for number, (run, learn, test) in enumerate(jobs):
        progress("training afresh", number, len(jobs))
        with timed(seconds, "train"):
            seed = (recipe.seed + run) % 2**32
            groups, files = plan.groups_of(learn), plan.sources_of(learn)
            classifier = training.learn(features[learn], labels[learn], groups, recipe.settings, seed, files)
        with timed(seconds, "test"):
            p_spam[run, test] = classifier.p_spam(features[test])
    tested = plan.tested
    groups = plan.groups[tested] if protocol == "grouped" else None
    details = {
        "elmo": {
            "handle": recipe.elmo.handle,
            "fingerprint": recipe.elmo.fingerprint,
            "dim": features.pooled.shape[2] // POOLINGS[recipe.elmo.pooling],
        },
        "recipe": recipe.settings.recipe,
        "epochs": recipe.settings.epochs,
        "seed": recipe.seed,
        "runs_of": about,
    }
    fingerprint = f"protocol {protocol} | {about} | {recipe.fingerprint}"
    test = plan.frame.iloc[tested].drop(columns="file", errors="ignore").reset_index(drop=True)
    return Evaluation(protocol, fingerprint, test, groups, p_spam[:, tested], recipe.settings.threshold, details, seconds)
