"""Training: messages -> pooled layers -> a head fitted to them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import keras
import numpy as np
import sklearn
import tensorflow as tf

from spamcli import __version__, classifier
from spamcli.elmo import ELMo, has_tokens
from spamcli.errors import DataError
from spamcli.memory import Memory
from spamcli.messages import Messages
from spamcli.model_dir import ModelConfig, TrainedModel
from spamcli.protocols import Split, near_copy_groups, validation_split
from spamcli.settings import RECIPE, THRESHOLD, HeadSettings

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
    settings: HeadSettings,
    seed: int,
    progress: Progress = silent,
    keep_messages: bool = False,
) -> tuple[TrainedModel, dict[str, float]]:
    """Fit a head to the training messages of a split; the test messages are not looked at.

    With `settings.epochs` None their number is chosen on a fifth of the training messages, near copies kept together;
    then all of them are fitted.

    Args:
        keep_messages: the model remembers the training messages' text, too.
    Returns: the model, and the seconds of each phase.
    Raises: DataError, if no training message has a token.
    """
    seconds: dict[str, float] = {}
    texts, labels = split.train["text"].tolist(), split.train["label"].to_numpy()
    with timed(seconds, "encode"):
        pooled = elmo.pooled_layers(texts, lambda done, total: progress("ELMo, training messages", done, total))
    if not has_tokens(pooled).any():
        raise DataError(f"{messages.path}: no training message has a token; check the text column")
    fitted = settings
    if settings.epochs is None:
        with timed(seconds, "choose_epochs"):
            fitted = replace(settings, epochs=choose_epochs(pooled, labels, near_copy_groups(texts), settings, seed, progress))
    with timed(seconds, "fit"):
        head = fit(pooled, labels, fitted, seed, progress)
    s, gamma = classifier.mixing_weights(head)
    config = ModelConfig(
        elmo={"handle": elmo.handle, "fingerprint": elmo.fingerprint, "dim": pooled.shape[2]},
        data={"path": str(messages.path), "sha256": messages.sha256, "form": messages.form, **messages.reading},
        protocol=split.protocol,
        split=split.summary,
        recipe=RECIPE,
        head={**asdict(fitted), "epochs_chosen": settings.epochs is None},
        seed=seed,
        threshold=THRESHOLD,
        prior=float(labels.mean()),
        mixing={"s": s, "gamma": gamma},
        versions=versions(),
    )
    mixed = np.einsum("j,njd->nd", s, pooled)
    memory = Memory.of(texts, split.train["row"], labels, mixed, keep_messages)
    return TrainedModel(elmo, head, config, memory), seconds


def versions() -> dict[str, str]:
    """Of all that moves a number."""
    libraries = {"tensorflow": tf, "keras": keras, "scikit-learn": sklearn}
    return {"spamcli": __version__, **{name: library.__version__ for name, library in libraries.items()}}


def learn(pooled, labels, groups, settings: HeadSettings, seed: int) -> keras.Model:
    """A head, its number of epochs chosen if the settings leave it open; arguments as in `choose_epochs`."""
    epochs = settings.epochs or choose_epochs(pooled, labels, groups, settings, seed)
    return fit(pooled, labels, replace(settings, epochs=epochs), seed)


def fit(pooled, labels, settings: HeadSettings, seed: int, progress: Progress = silent) -> keras.Model:
    """A head fitted to the messages that have tokens, for `settings.epochs`; arguments as in `choose_epochs`."""
    spoken = has_tokens(pooled)

    def shown(epoch: int, head: keras.Model) -> None:
        progress("head", epoch, settings.epochs)

    return classifier.fit_head(pooled[spoken], labels[spoken], settings, settings.epochs, seed, shown)


def choose_epochs(pooled, labels, groups, settings: HeadSettings, seed: int, progress: Progress = silent) -> int:
    """The number of epochs, chosen on a fifth of the messages, near copies kept together.

    Args:
        pooled, labels: float32 [n, 3, dim], int [n]; groups: of near copies, int [n].
    Raises: DataError, if too few messages have tokens.
    """
    spoken = has_tokens(pooled)
    learn, validate = (part[spoken[part]] for part in validation_split(labels, groups, seed))
    if not (len(learn) and len(validate)):
        raise DataError("too few distinct messages to choose the number of epochs on; name it with --epochs")

    def shown(epoch: int) -> None:
        progress("choosing epochs", epoch, classifier.EPOCHS_TRIED)

    return classifier.choose_epochs(pooled, labels, learn, validate, settings, seed, shown)
