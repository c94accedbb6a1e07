"""Verdicts on messages: a list of them, or any number that comes along."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from queue import Full, Queue
from threading import Event, Thread
from typing import Protocol, TypeVar

import numpy as np

from spamcli.model_config import ModelConfig
from spamcli.records import Record

WINDOW = 2048  # messages judged together, at most
REMEMBERED, LONGEST = 65_536, 1000  # messages that are kept with their verdicts, in case they come again; their characters
Item = TypeVar("Item")


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


def predict_records(
    model: Model, records: Iterable[Record], threshold: float | None = None
) -> Iterator[tuple[Record, Verdict | None]]:
    """Each record with the verdict on it, in order, as soon as it can be had; None for one that cannot be parsed.

    Memory is bounded: records are judged a window at a time, of what is there when the last one is done.
    """
    known: dict[str, Verdict] = {}
    with closing(windows(records)) as parts:
        for window in parts:
            texts = {record.text for record in window if record.text is not None}
            found = {text: known[text] for text in texts if text in known}
            new = sorted(texts - found.keys())
            judged = dict(zip(new, predict(model, new, threshold)))
            found |= judged
            known |= {text: verdict for text, verdict in judged.items() if len(text) <= LONGEST}
            for oldest in list(islice(known, max(0, len(known) - REMEMBERED))):
                del known[oldest]
            for record in window:
                yield record, None if record.text is None else found[record.text]


def windows(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of up to WINDOW items in order: of whatever a thread has read by now, and of at least one."""
    queue: Queue = Queue(2 * WINDOW)
    stopped = Event()

    def put(entry: tuple) -> None:
        while not stopped.is_set():
            try:
                return queue.put(entry, timeout=0.1)
            except Full:
                continue

    def read() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(())
        except BaseException as error:  # noqa: BLE001 - raised where the items are wanted
            put((None, error))

    Thread(target=read, daemon=True).start()
    window: list[Item] = []
    try:
        while True:
            entry = queue.get()
            if len(entry) == 1:
                window.append(entry[0])
            if window and (len(entry) != 1 or len(window) == WINDOW or queue.empty()):
                yield window
                window = []
            if len(entry) == 2:
                raise entry[1]
            if not entry:
                return
    finally:
        stopped.set()
