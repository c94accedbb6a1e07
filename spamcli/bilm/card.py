"""The README.md of a pretrained module: what it is, what it read, how well it predicts, how to make it again."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spamcli import __version__
from spamcli.bilm.model import BiLMConfig
from spamcli.characters import replace_surrogates
from spamcli.settings import PretrainingSettings


@dataclass(frozen=True)
class Perplexities:
    """On held-out lines: exp of the mean loss in nats, sentence ends included."""

    forward: float
    backward: float


@dataclass(frozen=True)
class Pretrained:
    """What a pretraining did.

    Attributes:
        perplexities: on `held_out` lines (or pieces of lines), over a softmax of `vocabulary` words.
        corpus: the files as they were named; files: path -> SHA-256; lines: distinct ones that were read or held out.
        excluded: path -> SHA-256 of labelled files; dropped: lines whose like stands in them.
        init: the module that it went on from, "" for none.
    """

    perplexities: Perplexities
    config: BiLMConfig
    settings: PretrainingSettings
    held_out: int
    vocabulary: int
    corpus: Sequence[str]
    files: dict[str, str]
    lines: int
    excluded: dict[str, str]
    dropped: int
    init: str


def module_card(done: Pretrained, about: str) -> str:
    """Markdown; `about` says whose text it is and under which licence."""
    settings = {**asdict(done.config), **asdict(done.settings)}
    text = f"""# An ELMo pretrained by spamcli {__version__}

A SavedModel with the signatures of TF-Hub's ELMo, `default` and `tokens` (Peters et al. 2018). Load it with
`tensorflow_hub.load(DIRECTORY)` or `tf.saved_model.load(DIRECTORY)`; strings go in.

Perplexity on {done.held_out:,} held-out lines (exp of the mean natural-log loss, sentence ends included):
{done.perplexities.forward:.1f} forward, {done.perplexities.backward:.1f} backward, over a vocabulary of {done.vocabulary:,}
lower-cased words with digits as 0, user names and links masked.

Text, {done.lines:,} distinct lines (a file named twice was read twice as often: {", ".join(done.corpus)}):

{_hashes(done.files)}"""
    if done.excluded:
        text += f"\n{done.dropped:,} lines were dropped because they, or their like, stand in:\n\n{_hashes(done.excluded)}"
    if done.init:
        text += f"\nIts weights went on from those of the module {done.init}.\n"
    text += f"\nMade by:\n\n    {command(done)}\n\nSettings:\n\n"
    text += "".join(f"- {name}: {value}\n" for name, value in settings.items())
    return replace_surrogates(text + (f"\n{about.strip()}\n" if about else ""))  # a file's name may be no UTF-8


def command(done: Pretrained) -> str:
    """What makes it again, from files of the same names in the working directory."""
    defaults = {**asdict(BiLMConfig()), **asdict(PretrainingSettings())}
    settings = {**asdict(done.config), **asdict(done.settings)}
    changed = {name: value for name, value in settings.items() if value != defaults[name] and name not in ("tokens", "seed")}
    words = ["spamcli", "pretrain", *done.corpus, "-o", "my-elmo"]
    words += ["--tokens", str(done.settings.tokens), "--seed", str(done.settings.seed)]
    words += [word for path in done.excluded for word in ("--exclude", Path(path).name)]
    words += ["--init", done.init] if done.init else []
    words += ["--config", json.dumps(changed)] if changed else []
    return shlex.join(words)


def _hashes(files: dict[str, str]) -> str:
    return "".join(f"- `{Path(path).name}`, sha256 `{sha256}`\n" for path, sha256 in files.items())
