"""Pretraining from text files to a module on disk: read, learn, checkpoint, stop and go on, export."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from spamcli.bilm import corpus as text
from spamcli.bilm import reading
from spamcli.bilm.card import Pretrained, module_card
from spamcli.bilm.export import export, read_bilm, refuse_existing
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.bilm.training import Pretraining, Progress, read_identity
from spamcli.errors import DataError, NotFoundError, UnavailableError, WriteError
from spamcli.messages import Messages
from spamcli.modules import resolve
from spamcli.settings import BUILTIN, PretrainingSettings


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT, SIGTERM or SIGHUP came; the first is waited with until all is saved, a second one acts at once.

    Then the caller's handler gets it. What the caller had ignored, as a shell does for what runs in its background, is ignored.
    """
    received = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def receive(number, frame):
        received.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, receive)
    try:
        yield lambda: bool(received)
    except KeyboardInterrupt:
        if received and callable(before[received[0]]):
            before[received[0]](received[0], None)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pretrain(
    corpus: Sequence[str | Path],
    directory: Path,
    config: BiLMConfig = BiLMConfig(),
    settings: PretrainingSettings = PretrainingSettings(),
    *,
    resume: bool = False,
    time_budget: float | None = None,
    init: Path | None = None,
    exclude: Sequence[Messages] = (),
    about: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Pretrained:
    """Pretrain a biLM on text and write it as a module; the checkpoint stands beside it until then.

    Args:
        corpus: files, patterns or `-`, as `reading.read_text` takes them.
        time_budget: seconds; replaces `settings.tokens` by as many as can be read in that time, measured at the start.
        init: a module written by spamcli, whose encoder goes on learning; its sizes replace `config`'s default.
        exclude: labelled messages whose like must not be read.
        about: Markdown for the card: whose text this is, and under which licence.
    Raises: NotFoundError, DataError; WriteError, also if `directory` exists or a checkpoint is there without `resume`;
        KeyboardInterrupt after SIGINT, SIGTERM or SIGHUP, the checkpoint written.
    """
    if not directory.name:  # this folder, or the root
        refuse_existing(directory)
    checkpoint = directory.with_name(directory.name + ".checkpoint.npz")
    begun, held = os.path.exists(checkpoint), False
    if not (begun and resume):
        refuse_existing(directory)
    if begun and not resume:
        raise WriteError(f"{checkpoint}: a checkpoint is there; go on from it with --resume, or delete it")
    config, weights = _initial(init, config)
    lines = reading.read_text(corpus)
    kept = reading.without(lines, [message for messages in exclude for message in messages.frame["text"]])
    limits = settings.max_message_tokens, settings.vocabulary, settings.min_sources
    read = text.build(kept, config.tokenizer, config.max_characters, *limits)
    to_read, held_out = text.hold_out(read, settings.held_out, settings.seed)

    def begin() -> Pretraining:
        return Pretraining(config, settings, read.counts, weights, read.sha256)

    if time_budget:
        settings = replace(settings, tokens=_tokens_in(time_budget, checkpoint, begin, to_read))
    training = begin()

    def report(now: Progress) -> None:
        left = timedelta(seconds=round(max(0, settings.tokens - now.tokens) / now.tokens_per_second))
        progress(f"loss {now.loss:.2f}, {now.tokens_per_second:,.0f} tokens/s, {left} left", now.tokens, settings.tokens)

    with _stop_signals() as stopped:  # also while the module is written, which takes seconds
        if begun:
            training.restore(checkpoint)
            held = _holds(directory, training.bilm)  # a run was killed that had only its checkpoint left to delete
            if not held:
                with _resumable(checkpoint):
                    refuse_existing(directory)
        elif os.path.exists(checkpoint):
            raise WriteError(f"{checkpoint}: another run has begun to write it; name another directory with -o")
        else:
            training.save(checkpoint)  # a place that cannot be written is better known now than after the first hour
        with _resumable(checkpoint):
            training.train(to_read, report, lambda: training.save(checkpoint), stopped)
        if not all(np.isfinite(weight.numpy()).all() for weight in training.bilm.weights.values()):
            raise DataError(f"{checkpoint}: weights are not finite any more; delete it, and begin with a lower learning_rate")
        done = Pretrained(
            perplexities=training.perplexities(held_out),
            config=config,
            settings=settings,
            held_out=len(held_out.lines),
            vocabulary=len(read.counts),
            corpus=[Path(name).name for name in corpus],
            files=kept.files,
            lines=len(kept.times),
            excluded={str(messages.path): messages.sha256 for messages in exclude},
            dropped=len(lines.times) - len(kept.times),
            init=_name(init) if init else "",
        )
        if not held:
            with _resumable(checkpoint):
                export(training.bilm, directory, module_card(done, about))
        checkpoint.unlink(missing_ok=True)
    return done


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """What to do about what cannot be written is another thing now that a checkpoint is there."""
    try:
        yield
    except WriteError as error:
        what = str(error).rpartition("; ")[0] or error
        raise WriteError(f"{what}; put that right, and the same command with --resume goes on from {checkpoint}") from error


def _initial(init: Path | None, config: BiLMConfig) -> tuple[BiLMConfig, dict | None]:
    """Sizes and weights to begin with; of a module, its own."""
    if init is None:
        return config, None
    bilm = read_bilm(init)
    if config not in (BiLMConfig(), bilm.config):
        raise DataError("--init brings its own sizes; leave them out of --config")
    return bilm.config, {name: variable.numpy() for name, variable in bilm.weights.items()}


def _holds(directory: Path, bilm: BiLM) -> bool:
    """Whether it is a module with these weights, as far as its storage keeps them."""
    try:
        theirs = read_bilm(directory)
    except (NotFoundError, UnavailableError):
        return False
    same = (np.allclose(theirs.weights[name], weight, 1e-3, 1e-6) for name, weight in bilm.weights.items())
    return theirs.config == bilm.config and all(same)


def _name(init: Path) -> str:
    return BUILTIN if init == resolve(BUILTIN) else init.resolve().name


def _tokens_in(seconds: float, checkpoint: Path, begin: Callable[[], Pretraining], corpus: text.Corpus) -> int:
    """How many tokens can be read in that time; of a run that goes on, as many as it began with."""
    if checkpoint.exists():
        return read_identity(checkpoint).get("tokens", 1)  # without any it is refused later
    return max(1, int(min(begin().speed(corpus, seconds=min(20.0, seconds / 20)) * seconds, 1e12)))
