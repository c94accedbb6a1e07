"""Training: messages -> pooled layers -> a head fitted to them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import keras
import sklearn
import tensorflow as tf

from spamcli import __version__, classifier
from spamcli.elmo import ELMo, has_tokens
from spamcli.errors import DataError
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
    spoken = has_tokens(pooled)
    if not spoken.any():
        raise DataError(f"{messages.path}: no training message has a token; check the text column")
    epochs = settings.epochs
    if epochs is None:
        with timed(seconds, "choose_epochs"):
            epochs = _choose_epochs(split, pooled, labels, spoken, settings, seed, progress)
    with timed(seconds, "fit"):
        head = classifier.fit_head(
            pooled[spoken], labels[spoken], settings, epochs, seed, lambda epoch, head: progress("head", epoch, epochs)
        )
    s, gamma = classifier.mixing_weights(head)
    config = ModelConfig(
        elmo={"handle": elmo.handle, "fingerprint": elmo.fingerprint, "dim": pooled.shape[2]},
        data={"path": str(messages.path), "sha256": messages.sha256, "form": messages.form, **messages.reading},
        protocol=split.protocol,
        split=split.summary,
        recipe=RECIPE,
        head={**asdict(replace(settings, epochs=epochs)), "epochs_chosen": settings.epochs is None},
        seed=seed,
        threshold=THRESHOLD,
        prior=float(labels.mean()),
        mixing={"s": s, "gamma": gamma},
        versions={
            "spamcli": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "scikit-learn": sklearn.__version__,
        },
    )
    return TrainedModel(elmo, head, config), seconds


def _choose_epochs(split, pooled, labels, spoken, settings, seed, progress) -> int:
    fit, validate = validation_split(labels, near_copy_groups(split.train["text"]), seed)
    fit, validate = fit[spoken[fit]], validate[spoken[validate]]
    if not (len(fit) and len(validate)):
        raise DataError("too few distinct messages to choose the number of epochs on; name it with --epochs")

    def shown(epoch: int) -> None:
        progress("choosing epochs", epoch, classifier.EPOCHS_TRIED)

    return classifier.choose_epochs(pooled, labels, fit, validate, settings, seed, shown)
