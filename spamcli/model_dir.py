"""A trained model, and the directory that holds it: config.json with all that made it, the heads, the n-grams, its memory."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from spamcli.classifier import Classifier, Features  # and ScalarMix is registered, which loading the heads needs
from spamcli.elmo import ELMo
from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.files import finish, unfinished
from spamcli.memory import Memory
from spamcli.messages import read_bytes, read_messages, reading_fingerprint
from spamcli.ngrams import Linear
from spamcli.protocols import Split, split
from spamcli.settings import PROTOCOLS, RECIPES, STATIC, ClassifierSettings

FORMAT = 3
CONFIG = "config.json"


@dataclass(frozen=True)
class ModelConfig:
    """Everything that made a model; all of it is written to config.json.

    Attributes:
        elmo: handle, fingerprint (SHA-256 of the module), dim.
        data: path, sha256, form, raw, and the columns and labels that were asked for.
        split: how many messages train and test, and the SHA-256 of the two sides.
        classifier: the fields of `settings.ClassifierSettings`.
        mixing: s (after the softmax) and gamma.
        versions: of spamcli, tensorflow, keras, scikit-learn.
    """

    elmo: dict
    data: dict
    protocol: str
    split: dict
    classifier: dict
    seed: int
    mixing: dict
    versions: dict

    @property
    def reading(self) -> dict:
        """How the data was read: the keyword arguments of `messages.read_messages`."""
        return {name: self.data[name] for name in ("raw", "text_column", "label_column", "spam_labels")}

    @property
    def settings(self) -> ClassifierSettings:
        return ClassifierSettings(**self.classifier)

    def read_split(self, path: Path) -> Split:
        """The messages that the model was trained and tested on, from the file that holds them.

        Raises: NotFoundError; DataError, if the file is another one or is split otherwise now.
        """
        if hashlib.sha256(read_bytes(path)).hexdigest() != self.data["sha256"]:
            raise DataError(
                f"{path}: not the file that the model was trained on ({self.data['path']}, "
                f"sha256 {self.data['sha256'][:8]}...), so its test rows are unknown; name that one with --data"
            )
        again = split(read_messages(path, **self.reading), self.protocol, self.seed)
        if again.summary != self.split:
            raise DataError(
                f"{path}: protocol {self.protocol} splits it otherwise than when the model was trained "
                f"(with {self.versions}), so training rows would be tested; train again"
            )
        return again

    @property
    def fingerprint(self) -> str:
        """One line that names the settings behind a figure."""
        parts = {
            "protocol": self.protocol,
            "seed": self.seed,
            "elmo": self.elmo["fingerprint"][:8],
            "data": reading_fingerprint(self.data["sha256"], self.reading),
            **self.settings.fingerprint,
            **self.versions,
        }
        return " | ".join(f"{name} {value}" for name, value in parts.items())


@dataclass(frozen=True)
class TrainedModel:
    """An ELMo, a classifier on top of it, how they were made, and what is remembered of the training messages."""

    elmo: ELMo
    classifier: Classifier
    config: ModelConfig
    memory: Memory

    def p_spam(self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
        """Probability of spam of each message: float64 [messages]."""
        return self.classifier.p_spam(Features.of(self.elmo, texts, progress))


def save(model: TrainedModel, directory: Path) -> None:
    """Write a model. Its files have names of their own, so config.json, replaced last, is the moment of change.

    Raises: WriteError.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        replaced = _files_named(directory)
        classifier = model.classifier
        files = {
            "heads": _write(directory, "heads", ".keras", classifier.heads.save),
            "memory": _write(directory, "memory", ".npz", model.memory.save),
        }
        if classifier.wide:
            files["ngrams"] = _write(directory, "ngrams", ".npz", classifier.wide.save)
        learned = {"stack": classifier.stack, "prior": classifier.prior}
        content = {"format": FORMAT, **asdict(model.config), "learned": learned, "files": files}
        with unfinished(directory, ".json") as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            finish(partial, directory / CONFIG)
        for old in replaced - set(files.values()):
            (directory / old).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"{directory}: the model cannot be written ({error.strerror}); name another place with --model"
        ) from error


def write_card(directory: Path, card: str) -> None:
    """Put a README.md beside a model; nothing reads it but people.

    Raises: WriteError.
    """
    try:
        with unfinished(directory, ".md") as partial:
            partial.write_text(card, encoding="utf-8", errors="replace")
            finish(partial, directory / "README.md")
    except OSError as error:
        raise WriteError(f"{directory}: the model's card cannot be written ({error.strerror}); free some space") from error


def _write(directory: Path, part: str, suffix: str, save: Callable[[Path], None]) -> str:
    """Write a part of a model under a name that holds its SHA-256; returns the name."""
    with unfinished(directory, suffix) as partial:
        save(partial)
        name = f"{part}-{_sha256(partial)}{suffix}"
        finish(partial, directory / name)
    return name


def check_place(directory: Path) -> None:
    """Raises: WriteError, if a model cannot be written there or would replace a file that is not a model's."""
    existing = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise WriteError(f"{existing}: is a file; --model names a directory")
    if not os.access(existing, os.W_OK):
        raise WriteError(f"{existing}: cannot be written; name another place with --model")
    if (directory / CONFIG).exists() and b'"fingerprint"' not in (directory / CONFIG).read_bytes():
        raise WriteError(f"{directory / CONFIG}: is not a model's, and would be replaced; name another place with --model")


def load(
    directory: Path, elmo: str | None = None, cache: Path | None = None, max_batch_tokens: int | None = None
) -> TrainedModel:
    """Read a model back, verified.

    Args:
        elmo: handle of the same module elsewhere; by default the handle it was trained with.
    Raises: NotFoundError; DataError, if anything in it is damaged or unknown, or the ELMo is not the one it was trained with.
    """
    config, classifier, memory = _read(directory)
    try:
        encoder = ELMo(elmo or config.elmo["handle"], cache, max_batch_tokens)
    except NotFoundError as error:
        raise NotFoundError(
            f"{directory}: the ELMo that it needs is not there; name its place with --elmo or SPAMCLI_ELMO ({error})"
        ) from error
    if encoder.fingerprint != config.elmo["fingerprint"]:
        raise DataError(
            f"{directory}: trained with another ELMo than {encoder.handle} is now "
            f"({config.elmo['fingerprint'][:8]}, not {encoder.fingerprint[:8]}); train again, or pass that one by --elmo"
        )
    return TrainedModel(encoder, classifier, config, memory)


def _read(directory: Path) -> tuple[ModelConfig, Classifier, Memory]:
    """Config, classifier and memory; read again if somebody else has just replaced them."""
    config, learned, files = _read_config(directory)
    if not all((directory / name).is_file() for name in files.values()):
        config, learned, files = _read_config(directory)
    for path in (directory / name for name in files.values()):
        if not path.is_file() or _sha256(path) != path.stem.partition("-")[2]:
            raise DataError(f"{path}: missing, or not as it was written; train again")
    path = directory / files["heads"]
    try:
        heads = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not heads that this version can read; train again") from error
    wide = Linear.load(directory / files["ngrams"]) if "ngrams" in files else None
    return config, Classifier(heads, wide, **learned), Memory.load(directory / files["memory"])


def _read_config(directory: Path) -> tuple[ModelConfig, dict, dict[str, str]]:
    """The config, the numbers that were learned beside it, and the names of the files."""
    path = directory / CONFIG
    if not path.is_file():
        raise NotFoundError(f"{directory}: no model there; make one with `spamcli train --model {directory}`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = values.pop("format") == FORMAT
        files, learned = values.pop("files"), values.pop("learned")
        learned["stack"] = tuple(learned["stack"])
        config = ModelConfig(**values)
        settings = config.settings
        parts = {"heads", "memory", "ngrams"} if settings.static == "ngrams" else {"heads", "memory"}
        known = known and files.keys() == parts and all(Path(name).name == name for name in files.values())
        known = known and settings.recipe in RECIPES and settings.static in STATIC and config.protocol in PROTOCOLS
        known = known and learned.keys() == {"stack", "prior"} and len(learned["stack"]) == 3
        numbers = *learned["stack"], learned["prior"], settings.threshold, settings.epochs, config.seed, config.mixing["gamma"]
        known = known and all(isinstance(number, (int, float)) for number in numbers)
        known = known and all(isinstance(config.elmo[key], str) for key in ("handle", "fingerprint"))
        known = known and bool(config.reading and config.fingerprint and config.split["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a model's config ({type(error).__name__}: {error}); train again") from error
    if not known:
        raise DataError(f"{path}: written by another version of spamcli; train again")
    return config, learned, files


def _files_named(directory: Path) -> set[str]:
    """The files that the present config names, which the next one makes superfluous."""
    try:
        return set(_read_config(directory)[2].values())
    except (NotFoundError, DataError):
        return set()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
