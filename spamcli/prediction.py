"""Verdicts on messages: a list of them, or any number that comes along."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Protocol, TypeVar

import numpy as np

from spamcli.model_config import DEFAULT_CLASSIFIER, ModelConfig
from spamcli.records import Record
from spamcli.runtime import Runtime

WINDOW = 2048  # messages judged together, at most
CHARACTERS = 2**20  # in a window, or read ahead, from which on no other message comes in
REMEMBERED, LONGEST = 65_536, 1000  # messages that are kept with their verdicts, in case they come again; their characters
Item = TypeVar("Item")


@dataclass(frozen=True)
class Verdict:
    """A message, `ham`, `spam` or `unsure`, and the probability of spam in [0, 1]; None, if the verdict alone was asked for."""

    text: str
    label: str
    p_spam: float | None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a verdict.

    Attributes:
        threshold: p_spam from which on it is spam, and ham below; by default the model's own, with what is unsure.
        prior: share of spam among the messages that are judged; by default as among those that the model was trained on.
        verdict_only: no p_spam, but the same verdict; the ELMo reads only those messages whose verdict it can change.
    """

    threshold: float | None = None
    prior: float | None = None
    verdict_only: bool = False

    def __post_init__(self):
        if self.prior is not None and not 0 < self.prior < 1:
            raise ValueError(f"the prior is between 0 and 1. Received: {self.prior}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold is from 0 to 1. Received: {self.threshold}")

    @property
    def fingerprint(self) -> str:
        """What is not the model's own, to follow its fingerprint."""
        asked = {"asked threshold": self.threshold, "prior": self.prior}
        return "".join(f" | {name} {value}" for name, value in asked.items() if value is not None)


DEFAULT = Wanted()


class Model(Protocol):
    """A trained model, on ONNX Runtime (`runtime.Runtime`) or on TensorFlow (`model_dir.TrainedModel`)."""

    config: ModelConfig
    prior: float

    def p_spam(self, texts: Sequence[str], *args) -> np.ndarray: ...


def predict(model: Model, texts: Sequence[str], wanted: Wanted = DEFAULT) -> list[Verdict]:
    """A verdict on each message, in order; any text gets one, also an empty one.

    Raises: ValueError, if the messages are no strings, or one string and not several.
    """
    strange = texts if isinstance(texts, (str, bytes)) else next((text for text in texts if not isinstance(text, str)), "")
    if strange is texts or not isinstance(strange, str):
        raise ValueError(f"messages are a sequence of str. Received: {type(strange).__name__}")
    settings, prior = model.config.settings, model.prior if wanted.prior is None else wanted.prior

    def labels(p_spam: np.ndarray) -> list[str]:
        return [settings.verdict(p, wanted.threshold) for p in with_prior(p_spam, model.prior, prior)]

    def certain(bounds: np.ndarray) -> np.ndarray:
        return np.array([least == largest for least, largest in zip(*map(labels, bounds))], bool)

    p_spam = model.p_spam(texts, certain) if wanted.verdict_only and isinstance(model, Runtime) else model.p_spam(texts)
    shown = [None] * len(texts) if wanted.verdict_only else with_prior(p_spam, model.prior, prior).tolist()
    return [Verdict(*parts) for parts in zip(texts, labels(p_spam), shown, strict=True)]


def with_prior(p_spam: np.ndarray, trained: float, prior: float) -> np.ndarray:
    """p_spam, float [n], where `prior` of the messages are spam and not `trained`, as Bayes' rule has it; within [0, 1]."""
    if prior == trained:
        return p_spam
    ratio = np.clip(prior / (1 - prior) * (1 - trained) / trained, np.finfo(float).tiny, np.finfo(float).max / 2)
    return p_spam * ratio / (p_spam * ratio + (1 - p_spam))


class SpamClassifier:
    """Verdicts on messages, for programs: what `spamcli predict` does. Threads may share one.

    >>> from spamcli import SpamClassifier
    >>> classifier = SpamClassifier.load()
    >>> for verdict in classifier.predict(["See you at six", "WINNER! Claim your £1000 prize, call 09061 700 000 now"]):
    ...     print(verdict.label, round(verdict.p_spam, 1))
    ham 0.0
    spam 1.0
    """

    def __init__(self, model: Model):
        self.model = model

    @classmethod
    def load(cls, directory: Path | str | None = None) -> "SpamClassifier":
        """A trained model, from its directory; by default the one that the package holds.

        Raises: NotFoundError; DataError, if anything in it is damaged or unknown, or only TensorFlow can run it.
        """
        return cls(Runtime(DEFAULT_CLASSIFIER if directory is None else Path(directory)))

    def predict(
        self, texts: Iterable[str], threshold: float | None = None, prior: float | None = None, verdict_only: bool = False
    ) -> list[Verdict]:
        """A verdict on each message, in order. The other arguments are the fields of `Wanted`.

        Args:
            texts: any number of str: a list, a generator, a pandas Series, whatever its index.
        Raises: ValueError, if they are something else.
        """
        texts = texts if isinstance(texts, (str, bytes)) else list(texts)
        return predict(self.model, texts, Wanted(threshold, prior, verdict_only))


def predict_records(
    model: Model, records: Iterable[Record], wanted: Wanted = DEFAULT
) -> Iterator[tuple[Record, Verdict | None]]:
    """Each record with the verdict on it, in order, as soon as it can be had; None for one that cannot be parsed.

    Memory is bounded: records are judged a window at a time, of what is there when the last one is done.
    """
    known: dict[str, Verdict] = {}
    with closing(windows(records, lambda record: record.size)) as parts:
        for window in parts:
            texts = {record.text for record in window if record.text is not None}
            found = {text: known[text] for text in texts if text in known}
            new = sorted(texts - found.keys())
            judged = dict(zip(new, predict(model, new, wanted)))
            found |= judged
            known |= {text: verdict for text, verdict in judged.items() if len(text) <= LONGEST}
            for oldest in list(islice(known, max(0, len(known) - REMEMBERED))):
                del known[oldest]
            for record in window:
                yield record, None if record.text is None else found[record.text]


class _Waiting(Queue):
    """Entries whose second part is a size: full with 2 * WINDOW of them, or CHARACTERS in all."""

    def __init__(self):
        super().__init__(2 * WINDOW)
        self.size = 0

    def _qsize(self) -> int:
        return self.maxsize if self.size >= CHARACTERS else super()._qsize()

    def _put(self, entry: tuple) -> None:
        super()._put(entry)
        self.size += entry[1]

    def _get(self) -> tuple:
        entry = super()._get()
        self.size -= entry[1]
        return entry


def windows(items: Iterable[Item], size: Callable[[Item], int] = lambda item: 0) -> Iterator[list[Item]]:
    """Lists of up to WINDOW items in order: of whatever a thread has read by now, and of at least one.

    Args:
        size: characters of an item; a list ends with the one that makes CHARACTERS full.
    """
    queue = _Waiting()
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
                put(([item], size(item), None))
                if stopped.is_set():
                    return
            put(([], 0, None))
        except BaseException as error:  # noqa: BLE001 - raised where the items are wanted
            put(([], 0, error))

    Thread(target=read, daemon=True).start()
    window: list[Item] = []
    characters = 0
    try:
        while True:
            item, length, error = queue.get()
            window += item
            characters += length
            if window and (not item or len(window) == WINDOW or characters >= CHARACTERS or queue.empty()):
                yield window
                window, characters = [], 0
            if error:
                raise error
            if not item:
                return
    finally:
        stopped.set()
