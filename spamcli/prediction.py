"""Verdicts on messages."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from spamcli.model_config import ModelConfig

WINDOW = 2048  # messages judged together


@dataclass(frozen=True)
class Verdict:
    """A message, `ham` or `spam`, and the probability of spam in [0, 1]."""

    text: str
    label: str
    p_spam: float


class Model(Protocol):
    """A trained model, on ONNX Runtime (`runtime.Runtime`) or on TensorFlow (`model_dir.TrainedModel`)."""

    config: ModelConfig

    def p_spam(self, texts: Sequence[str]) -> np.ndarray: ...


def predict(model: Model, texts: Sequence[str], threshold: float | None = None) -> list[Verdict]:
    """A verdict on each message, in order; any text gets one, also an empty one.

    Args:
        threshold: p_spam from which on the verdict is spam; the model's own by default.
    """
    threshold = model.config.settings.threshold if threshold is None else threshold
    return [
        Verdict(text, "spam" if p >= threshold else "ham", float(p)) for text, p in zip(texts, model.p_spam(texts), strict=True)
    ]


def predict_stream(model: Model, texts: Iterable[str], threshold: float | None = None) -> Iterator[Verdict]:
    """`predict` on any number of messages, a bounded window at a time."""
    texts = iter(texts)
    while window := list(islice(texts, WINDOW)):
        yield from predict(model, window, threshold)
