"""Why a verdict: what each word and each layer speaks for, what would flip it, which training messages are nearest.

A word contributes what the log-odds of spam lose when it is left out and the biLM reads the rest again. Words act together,
so contributions need not add up to the log-odds of the message; an Explanation states both.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import accumulate, combinations

import numpy as np

from spamcli.characters import as_seen
from spamcli.classifier import Classifier, Features
from spamcli.elmo import NUM_LAYERS
from spamcli.model_dir import TrainedModel

MAX_WORDS = 200  # left out one by one; of more, runs of several, so that at most MAX_WORDS ** 2 tokens are read for it
PAIRED_WORDS = 40  # up to so many, every two are left out together in search of a flip
PAIRED_CHARACTERS = 2**22  # and so many characters at most are read for it, about
TOGETHER = 2**20  # characters that are read together; bounds the memory
NEAREST = 3  # training messages

Span = tuple[int, int]  # start and end in a text
Deletion = frozenset[int]  # positions of the words that are left out


@dataclass(frozen=True)
class Word:
    """A token, or a run of tokens left out together: text[start:end]. A positive contribution speaks for spam."""

    token: str
    start: int
    end: int
    contribution: float


@dataclass(frozen=True)
class Flip:
    """Words (positions, tokens) without which the verdict is another one, and p_spam then; none of them can be put back.

    `smallest`: it is known that no fewer tokens will do; else these are the fewest that were found.
    """

    words: list[int]
    tokens: list[str]
    label: str
    p_spam: float
    smallest: bool


@dataclass(frozen=True)
class Layer:
    """A layer's weight s in the mix, and what the log-odds lose without it, the other weights scaled up to sum to 1.

    Where layers are normalised, it is their normalised numbers that are mixed.
    """

    s: float
    contribution: float


@dataclass(frozen=True)
class Neighbour:
    """A training message: data row in its file, ham or spam, cosine of the mixed vectors, its text where that is known.

    `file` is the data's name, or that of a file that was also learned from.
    """

    file: str
    row: int
    label: str
    cosine: float
    text: str | None


@dataclass(frozen=True)
class Explanation:
    """Why a message has its verdict.

    Attributes:
        text: what is visible of the message, as `characters.as_seen` has it.
        log_odds: of spam, log(p_spam / (1 - p_spam)), exact also where p_spam is rounded to 1.
        prior_log_odds: of a message without tokens.
        words: in order; `words_together` tokens each, the last perhaps fewer.
        flip: None, if none was looked for or found.
        layers: char-CNN, LSTM 1, LSTM 2; gamma: the scale of their mix.
        static: what n-grams or word vectors add to the log-odds, biases aside; None, if the classifier has neither.
        foreign: to the classifier (`Classifier.static`), so log_odds are prior_log_odds at most; words without which they are
            held there as well contribute 0.
        nearest: training messages, the nearest first.
    """

    text: str
    label: str
    p_spam: float
    threshold: float
    log_odds: float
    prior_log_odds: float
    words: list[Word]
    words_together: int
    flip: Flip | None
    layers: list[Layer]
    gamma: float
    static: float | None
    foreign: bool
    nearest: list[Neighbour]

    @property
    def sum_of_contributions(self) -> float:
        """Of the words; were they additive, it would be log_odds - prior_log_odds."""
        return sum(word.contribution for word in self.words)

    def to_dict(self) -> dict:
        """What --json prints; keys are stable."""
        return {**asdict(self), "sum_of_contributions": self.sum_of_contributions}


def explain(
    model: TrainedModel,
    text: str,
    threshold: float | None = None,
    max_words: int = MAX_WORDS,
    flip: bool = True,
    training_texts: Sequence[str] | None = None,
) -> Explanation:
    """Explain the verdict on a message; any text has an explanation, also an empty one.

    Args:
        threshold: p_spam from which on the verdict is spam; the model's own by default.
        max_words: more are left out in runs of several, so that at most max_words ** 2 tokens are read for it.
        flip: look for a deletion that flips the verdict, some ten times the work of all the rest.
        training_texts: of the user's own file (see `model_dir.read_split`), for a model that keeps none.
    """
    if training_texts is not None and len(training_texts) != len(model.memory.rows):
        raise ValueError(f"the model has {len(model.memory.rows)} training messages. Received: {len(training_texts)}")
    own, threshold = threshold, model.config.settings.threshold if threshold is None else threshold
    text = as_seen(text)
    spans, together = runs(token_spans(text, model.elmo.tokenize), max_words)
    message = _Message(model, text, spans, threshold)
    singles = [frozenset([word]) for word in range(len(spans))]
    whole = message.read([frozenset(), *singles, frozenset(range(len(spans)))])[np.array([0])]
    odds = [message.log_odds[deletion] for deletion in (frozenset(), *singles, frozenset(range(len(spans))))]
    static, foreign = model.classifier.static(whole) if whole.spoken[0] else (np.zeros(1), np.zeros(1, bool))
    return Explanation(
        text=text,
        label=model.config.settings.verdict(message.p_spam[frozenset()], own),
        p_spam=message.p_spam[frozenset()],
        threshold=threshold,
        log_odds=odds[0],
        prior_log_odds=odds[-1],
        words=[Word(text[a:b], a, b, odds[0] - left) for (a, b), left in zip(spans, odds[1:-1], strict=True)],
        words_together=together,
        flip=_flip(message, own, together, max_words) if flip else None,
        layers=_layers(model.classifier, whole),
        gamma=model.classifier.mixing["gamma"],
        static=float(static[0]) if model.classifier.wide else None,
        foreign=bool(foreign[0]),
        nearest=_nearest(model, whole, training_texts),
    )


def token_spans(text: str, tokenize: Callable[[str], list[str]]) -> list[Span]:
    """Where the tokens of a text without lone surrogates are in it."""
    spans, end = [], 0
    for token in tokenize(text):
        start = text.index(token, end)  # only separators are skipped, and no token begins with one
        end = start + len(token)
        spans.append((start, end))
    return spans


def runs(spans: Sequence[Span], max_words: int) -> tuple[list[Span], int]:
    """The spans, or runs of so many together that max_words ** 2 bounds runs times tokens; and how many in one."""
    if max_words < 1:
        raise ValueError(f"max_words is at least 1. Received: {max_words}")
    number = min(max_words, max_words**2 // max(1, len(spans))) or 1
    together = -(-len(spans) // number) or 1
    parts = [spans[i : i + together] for i in range(0, len(spans), together)]
    return [(part[0][0], part[-1][1]) for part in parts], together


def without(text: str, spans: Sequence[Span], words: Iterable[int]) -> str:
    """A text with a space in place of some of its words, so that no other two are glued together: the other tokens stay."""
    edges = [0, *(edge for word in sorted(words) for edge in spans[word]), len(text)]
    return " ".join(text[start:end] for start, end in zip(edges[::2], edges[1::2]))


def shades(explanation: Explanation) -> list[tuple[str, float]]:
    """The whole text in pieces, each with its strength in [-1, 1]: 1 and -1 for the strongest word, 0 between words."""
    strongest = max((abs(word.contribution) for word in explanation.words), default=0) or 1
    pieces, end = [], 0
    for word in explanation.words:
        pieces += [(explanation.text[end : word.start], 0.0), (word.token, word.contribution / strongest)]
        end = word.end
    return [(piece, strength) for piece, strength in [*pieces, (explanation.text[end:], 0.0)] if piece]


class _Message:
    """A message as the model judges it without some of its words; whatever was read once is remembered."""

    def __init__(self, model: TrainedModel, text: str, spans: Sequence[Span], threshold: float):
        self.model, self.text, self.spans, self.threshold = model, text, spans, threshold
        self.p_spam: dict[Deletion, float] = {}
        self.log_odds: dict[Deletion, float] = {}
        _ = model.elmo.signature  # loaded before the copy, once for both
        self.elmo = copy(model.elmo)
        self.elmo.cache = None  # which is for whole messages

    @property
    def is_spam(self) -> bool:
        return self.p_spam[frozenset()] >= self.threshold

    def read(self, deletions: Sequence[Deletion]) -> Features:
        """What each deletion leaves; returns the features of the first ones."""
        several, read = max(1, TOGETHER // max(1, len(self.text))), None
        for start in range(0, len(deletions), several):
            some = deletions[start : start + several]
            texts = [without(self.text, self.spans, deletion) for deletion in some]
            features = Features.of(self.elmo, texts, static=self.model.classifier.wide)
            log_odds = self.model.classifier.log_odds(features)
            self.p_spam |= zip(some, self.model.classifier.probabilities(log_odds, features).tolist())
            self.log_odds |= zip(some, log_odds.tolist())
            read = read or features
        return read

    def ranked(self, deletions: Sequence[Deletion]) -> list[Deletion]:
        """Deletions, those first that leave least of the present verdict."""
        self.read([deletion for deletion in deletions if deletion not in self.p_spam])
        return sorted(deletions, key=self.log_odds.get, reverse=not self.is_spam)

    def flipped_by(self, deletions: Sequence[Deletion]) -> list[Deletion]:
        """Those of the deletions that leave the other verdict, ranked."""
        return [deletion for deletion in self.ranked(deletions) if (self.p_spam[deletion] >= self.threshold) != self.is_spam]


def _flip(message: _Message, own: float | None, words_together: int, max_words: int) -> Flip | None:
    """Leave out each word; every two; then, since exact search is exponential, greedily, and put back what can be."""
    n = len(message.spans)
    singles = [frozenset([word]) for word in range(n)]
    pairs = (
        [frozenset(pair) for pair in combinations(range(n), 2)]
        if words_together == 1 and n <= PAIRED_WORDS and n**2 * len(message.text) < PAIRED_CHARACTERS
        else []
    )
    found = message.flipped_by(singles) or message.flipped_by(pairs)
    step = -(-words_together * n**3 // (3 * max_words**2))  # bounds the tokens read, n ** 2 * tokens / (3 * step)
    deletion = found[0] if found else _greedy(message, step)
    if deletion is None:
        return None
    words = sorted(_needed(message, deletion))
    smallest = words_together == 1 and len(words) <= (3 if pairs else 2)
    tokens = [message.text[slice(*message.spans[word])] for word in words]
    p_spam = message.p_spam[frozenset(words)]
    return Flip(words, tokens, message.model.config.settings.verdict(p_spam, own), p_spam, smallest)


def _greedy(message: _Message, step: int) -> Deletion | None:
    """Leave out the words that carry the verdict most until it flips, `step` of them before the others are read again."""
    words, deletion = frozenset(range(len(message.spans))), frozenset()
    while rest := words - deletion:
        nested = list(accumulate(message.ranked([deletion | {word} for word in rest])[:step], frozenset.union))
        if found := message.flipped_by(nested):
            return min(found, key=len)
        deletion = nested[-1]
    return None


def _needed(message: _Message, deletion: Deletion) -> Deletion:
    """A deletion that flips, without the words that can be put back."""
    while fewer := message.flipped_by([deletion - {word} for word in deletion]):
        nested = list(accumulate(fewer, frozenset.intersection))  # one word put back, two, three
        deletion = min(message.flipped_by(nested), key=len)
    return deletion


def _layers(classifier: Classifier, message: Features) -> list[Layer]:
    """The mix without layer j, weights scaled up, is the mix in which the mean of the others stands in its place."""
    s = classifier.mixing["s"]
    if not message.spoken[0]:
        return [Layer(weight, 0.0) for weight in s]
    mixes = np.repeat(classifier.normalised(message.pooled), NUM_LAYERS + 1, axis=0)  # [4, 3, dim], the last one unchanged
    for j in range(NUM_LAYERS):
        mixes[j, j] = np.average(np.delete(mixes[-1], j, axis=0), axis=0, weights=np.delete(s, j))
    deep = classifier.deep(mixes)
    *odds, whole = classifier.stacked(deep, message[np.zeros(NUM_LAYERS + 1, int)])
    return [Layer(weight, float(whole - dropped)) for weight, dropped in zip(s, odds, strict=True)]


def _nearest(model: TrainedModel, message: Features, texts: Sequence[str] | None) -> list[Neighbour]:
    """Training messages by the cosine of the mixed vectors. None are near no tokens."""
    if not message.spoken[0]:
        return []
    memory = model.memory
    places = memory.nearest(model.classifier.mixed(message.pooled)[0], NEAREST)
    known = memory.texts if texts is None else texts
    names = [model.config.data["path"], *(file["name"] for file in model.config.also)]
    return [
        Neighbour(
            file=names[memory.files[place]],
            row=int(memory.rows[place]),
            label="spam" if memory.labels[place] else "ham",
            cosine=min(cosine, 1.0),
            text=None if known is None else known[place],
        )
        for place, cosine in places
        if memory.vectors[place].any()
    ]
