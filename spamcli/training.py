"""Training: messages -> their features -> a classifier fitted to them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace

import keras
import numpy as np
import sklearn
import tensorflow as tf
from scipy.special import expit, logit

from spamcli import __version__, budget, conversion, word_vectors
from spamcli.classifier import Classifier, Features, fit_classifier
from spamcli.elmo import ELMo
from spamcli.errors import DataError
from spamcli.memory import Memory
from spamcli.messages import Messages
from spamcli.model_config import ModelConfig
from spamcli.model_dir import TrainedModel
from spamcli.protocols import Split, near_copy_groups, sources
from spamcli.settings import EVEN, POOLINGS, ClassifierSettings

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the wall-clock seconds of a block to `seconds[phase]`."""
    start = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start


def train(
    messages: Messages,
    split: Split,
    elmo: ELMo,
    settings: ClassifierSettings,
    seed: int,
    progress: Progress = silent,
    keep_messages: bool = False,
    also: Mapping[str, Messages] | None = None,
) -> tuple[TrainedModel, dict[str, float]]:
    """Fit a classifier to the training messages of a split; the test messages are not looked at.

    Args:
        keep_messages: the model remembers the training messages' text, too.
        also: by name, what the split's training messages hold beside those of `messages`, see `protocols.with_also`.
    Returns: the model, whose thresholds are learned if the settings have a budget, and the seconds of each phase.
    Raises: DataError, if no training message has a token, or there are too few, also for the budget; UnavailableError, if
        ONNX Runtime does not agree with TensorFlow; what `word_vectors.of` raises.
    """
    seconds: dict[str, float] = {}
    texts, labels = split.train["text"].tolist(), split.train["label"].to_numpy()
    with timed(seconds, "encode"):
        vectors = word_vectors.of(settings)
        features = Features.of(elmo, texts, lambda done, total: progress("ELMo, training messages", done, total), vectors)
    if not features.spoken.any():
        raise DataError(f"{messages.path}: no training message has a token; check the text column")
    with timed(seconds, "fit"):
        groups, files = near_copy_groups(texts), sources(split.train)
        classifier = learn(features, labels, groups, settings, seed, files, progress)
    found = None
    if settings.max_ham_blocked is not None:
        with timed(seconds, "budget"):
            p_spam = out_of_fold(classifier, features, labels, groups, settings, seed, files, progress)
            found = budget.choose_for_each(p_spam, labels, groups, files, settings.max_ham_blocked)
            settings = replace(settings, threshold=found.threshold, threshold_ham=min(EVEN, found.threshold))
    config = ModelConfig(
        elmo={
            "handle": elmo.handle,
            "fingerprint": elmo.fingerprint,
            "dim": features.pooled.shape[2] // POOLINGS[elmo.pooling],
            "tokenizer": elmo.tokenizer,
        },
        data={
            "path": str(messages.path),
            "sha256": messages.sha256,
            "form": messages.form,
            **messages.reading,
            "skipped": messages.skipped,
        },
        also=[{"name": name, "sha256": file.sha256} for name, file in (also or {}).items()],
        protocol=split.protocol,
        split=split.summary,
        classifier=asdict(settings),
        seed=seed,
        mixing=classifier.mixing,
        budget=asdict(found) if found else None,
        versions=versions(),
    )
    memory = Memory.of(
        texts, split.train["row"], sources(split.train), labels, classifier.mixed(features.pooled), keep_messages
    )
    with timed(seconds, "convert"):
        converted = conversion.convert(elmo, classifier, texts, elmo.cache_directory, settings.precision)
    return TrainedModel(elmo, classifier, config, memory, converted), seconds


def versions() -> dict[str, str]:
    """Of all that moves a number."""
    libraries = {"tensorflow": tf, "keras": keras, "scikit-learn": sklearn}
    return {"spamcli": __version__, **{name: library.__version__ for name, library in libraries.items()}}


def learn(
    features: Features,
    labels: np.ndarray,
    groups: np.ndarray,
    settings: ClassifierSettings,
    seed: int,
    files: np.ndarray | None = None,
    progress: Progress = silent,
) -> Classifier:
    """A classifier fitted to the messages that have tokens.

    Args:
        labels, groups: int [n]; int [n], of near copies.
        files: which file each message is from, int [n]; all from one by default.
    Raises: DataError, if there are too few groups for the heads.
    """
    spoken = np.flatnonzero(features.spoken)
    least = min(len(np.unique(groups[spoken][labels[spoken] == label])) for label in (0, 1))
    if least < settings.heads:
        raise DataError(
            f"the training messages have {least} groups of near copies of a class, and {settings.heads} heads need as many; "
            "add messages, or train with --recipe tutorial"
        )

    def shown(epoch: int) -> None:
        progress("classifier", epoch, settings.epochs)

    files = np.zeros(len(labels), int) if files is None else files
    classifier = fit_classifier(features[spoken], labels[spoken], groups[spoken], settings, seed, files[spoken], shown)
    prior, unseen = float(labels.mean()), None  # of all of them
    if classifier.unseen is not None:
        unseen = np.full(len(labels), logit(prior))
        unseen[spoken] = classifier.unseen
    return replace(classifier, prior=prior, unseen=unseen)


REPEATS = 3  # of the folds whose scores a budget is kept by


def out_of_fold(first: Classifier, features, labels, groups, settings, seed, files, progress: Progress = silent) -> np.ndarray:
    """p_spam of each training message by heads and linear parts that have not seen it, by the mean log-odds of REPEATS.

    Args:
        first: what `learn` made with the other arguments; each repeat has other folds.
    Returns: float64 [n].
    """
    others = [learn(features, labels, groups, settings, (seed + more) % 2**32, files, progress) for more in range(1, REPEATS)]
    return expit(np.mean([classifier.unseen for classifier in (first, *others)], axis=0))
