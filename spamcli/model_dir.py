"""A trained model, and the directory that holds it: config.json with all that made it, and the Keras head."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from spamcli import classifier  # noqa: F401  registers ScalarMix, which loading a head needs
from spamcli.classifier import p_spam
from spamcli.elmo import ELMo
from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.messages import Messages
from spamcli.settings import MAX_BATCH_TOKENS

FORMAT = 1
_CONFIG = "config.json"


@dataclass(frozen=True)
class ModelConfig:
    """Everything that made a model; all of it is written to config.json.

    Attributes:
        elmo: handle, fingerprint (SHA-256 of the module), dim.
        data: path, sha256, form, raw, and the columns and labels that were asked for.
        head: epochs, batch_size, hidden, learning_rate; epochs as trained, `epochs_chosen` if on a validation part.
        prior: share of spam in training, the verdict on a message without tokens.
        mixing: s (after the softmax) and gamma.
        versions: spamcli, tensorflow, keras.
    """

    elmo: dict
    data: dict
    protocol: str
    recipe: str
    head: dict
    seed: int
    threshold: float
    prior: float
    mixing: dict
    versions: dict

    @property
    def reading(self) -> dict:
        """How the data was read: the keyword arguments of `messages.read_messages`."""
        return {name: self.data[name] for name in ("raw", "text_column", "label_column", "spam_labels")}

    def check_data(self, messages: Messages) -> None:
        """Raises: DataError, if this is not the file that the model was trained on, whose other rows are its test rows."""
        if messages.sha256 != self.data["sha256"]:
            raise DataError(
                f"{messages.path}: not the file that the model was trained on ({self.data['path']}, "
                f"sha256 {self.data['sha256'][:8]}...), so its test rows are unknown; name that one with --data"
            )

    @property
    def fingerprint(self) -> str:
        """One line that differs whenever something differs that can move a figure."""
        reading = [name if value is True else f"{name} {value}" for name, value in self.reading.items() if value]
        parts = {
            "protocol": self.protocol,
            "seed": self.seed,
            "threshold": self.threshold,
            "elmo": self.elmo["fingerprint"][:8],
            "data": ", ".join([self.data["sha256"][:8], *reading]),
            "recipe": self.recipe,
            "epochs": self.head["epochs"],
            "batch": self.head["batch_size"],
            "spamcli": self.versions["spamcli"],
            "tensorflow": self.versions["tensorflow"],
        }
        return " | ".join(f"{name} {value}" for name, value in parts.items())


@dataclass(frozen=True)
class TrainedModel:
    """An ELMo, a head on top of it, and how they were made."""

    elmo: ELMo
    head: keras.Model
    config: ModelConfig

    def p_spam(
        self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> np.ndarray:
        """Probability of spam of each message: float64 [messages]."""
        return p_spam(self.head, self.elmo.pooled_layers(texts, progress), self.config.prior)


def save(model: TrainedModel, directory: Path) -> None:
    """Write a model. The head's file is named after its content, so config.json, replaced last, is the moment of change.

    Raises: WriteError.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        partial = directory / f".head.{os.getpid()}.keras"
        try:
            model.head.save(partial)
            digest = _sha256(partial)
            _replace(partial, directory / f"head-{digest[:16]}.keras")
        finally:
            partial.unlink(missing_ok=True)
        files = {f"head-{digest[:16]}.keras": digest}
        content = json.dumps({"format": FORMAT, **asdict(model.config), "files": files}, indent=2) + "\n"
        partial = directory / f".config.{os.getpid()}.json"
        try:
            partial.write_text(content, encoding="utf-8")
            _replace(partial, directory / _CONFIG)
        finally:
            partial.unlink(missing_ok=True)
        for old in set(directory.glob("head-*.keras")) - {directory / name for name in files}:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"{directory}: the model cannot be written ({error.strerror}); name another place with --model"
        ) from error


def load(
    directory: Path, elmo: str | None = None, cache: Path | None = None, max_batch_tokens: int = MAX_BATCH_TOKENS
) -> TrainedModel:
    """Read a model back, verified.

    Args:
        elmo: handle of the same module elsewhere; by default the handle it was trained with.
    Raises: NotFoundError; DataError, if anything in it is damaged or unknown, or the ELMo is not the one it was trained with.
    """
    config, files = _read_config(directory)
    encoder = ELMo(elmo or config.elmo["handle"], cache, max_batch_tokens)
    if encoder.fingerprint != config.elmo["fingerprint"]:
        raise DataError(
            f"{directory}: trained with another ELMo than {encoder.handle} is now "
            f"({config.elmo['fingerprint'][:8]}, not {encoder.fingerprint[:8]}); train again, or pass that one with --elmo"
        )
    (name, digest), *_ = files.items()
    path = directory / name
    if Path(name).name != name or not path.is_file() or _sha256(path) != digest:
        raise DataError(f"{path}: missing, or not as it was written; train again")
    try:
        head = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a head that this version can read; train again") from error
    return TrainedModel(encoder, head, config)


def _read_config(directory: Path) -> tuple[ModelConfig, dict[str, str]]:
    path = directory / _CONFIG
    if not path.is_file():
        raise NotFoundError(f"{directory}: no model there; make one with `spamcli train --model {directory}`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise DataError(f"{path}: written by another version of spamcli; train again")
        files = dict(values.pop("files"))
        config = ModelConfig(**values)
        if len(files) != 1:
            raise DataError(f"{path}: {len(files)} files listed where one head is expected; train again")
        return config, files
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a model's config ({type(error).__name__}: {error}); train again") from error


def _replace(partial: Path, final: Path) -> None:
    """Move a finished file into place, on disk before it is seen."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, final)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
