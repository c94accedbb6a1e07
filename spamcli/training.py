"""Training: messages -> pooled layers -> a head fitted to them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import keras
import numpy as np
import tensorflow as tf

from spamcli import __version__, classifier
from spamcli.elmo import ELMo
from spamcli.errors import DataError
from spamcli.messages import Messages
from spamcli.model_dir import ModelConfig, TrainedModel
from spamcli.protocols import Split, near_copy_groups, validation_split
from spamcli.settings import THRESHOLD, HeadSettings

RECIPE = "tutorial"  # mean pooling, scalar mix, Dense 256 relu, sigmoid
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
    messages: Messages, split: Split, elmo: ELMo, settings: HeadSettings, seed: int, progress: Progress = silent
) -> tuple[TrainedModel, dict[str, float]]:
    """Fit a head to the training messages of a split; the test messages are not looked at.

    With `settings.epochs` None their number is chosen on a fifth of the training messages, near copies kept together;
    then all of them are fitted.

    Returns: the model, and the seconds of each phase.
    Raises: DataError, if no training message has a token.
    """
    seconds: dict[str, float] = {}
    texts, labels = split.train["text"].tolist(), split.train["label"].to_numpy()
    with timed(seconds, "encode"):
        pooled = elmo.pooled_layers(texts, lambda done, total: progress("ELMo, training messages", done, total))
    spoken = ~np.isnan(pooled).any(axis=(1, 2)) & (pooled.shape[2] > 0)
    if not spoken.any():
        raise DataError(f"{messages.path}: no training message has a token; check the text column")
    epochs = settings.epochs
    if epochs is None:
        with timed(seconds, "choose_epochs"):
            epochs = _choose_epochs(split, pooled, labels, spoken, settings, seed, progress)
    with timed(seconds, "fit"):
        shown = lambda epoch, head: progress("head", epoch, epochs)  # noqa: E731
        head = classifier.fit_head(pooled[spoken], labels[spoken], settings, epochs, seed, shown)
    s, gamma = classifier.mixing_weights(head)
    config = ModelConfig(
        elmo={"handle": elmo.handle, "fingerprint": elmo.fingerprint, "dim": pooled.shape[2]},
        data={"path": str(messages.path), "sha256": messages.sha256, "form": messages.form, **messages.reading},
        protocol=split.protocol,
        recipe=RECIPE,
        head={**asdict(replace(settings, epochs=epochs)), "epochs_chosen": settings.epochs is None},
        seed=seed,
        threshold=THRESHOLD,
        prior=float(labels.mean()),
        mixing={"s": s, "gamma": gamma},
        versions={"spamcli": __version__, "tensorflow": tf.__version__, "keras": keras.__version__},
    )
    return TrainedModel(elmo, head, config), seconds


def _choose_epochs(split, pooled, labels, spoken, settings, seed, progress) -> int:
    fit, validate = validation_split(labels, near_copy_groups(split.train["text"]), seed)
    fit, validate = fit[spoken[fit]], validate[spoken[validate]]
    shown = lambda epoch: progress("choosing epochs", epoch, classifier.EPOCHS_TRIED)  # noqa: E731
    return classifier.choose_epochs(pooled, labels, fit, validate, settings, seed, shown)
