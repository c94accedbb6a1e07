"""A trained model, and its directory: config.json with all that made it, the heads, what stands beside them, its memory."""

import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from spamcli.classifier import Classifier, Features, build_heads
from spamcli.elmo import ELMo
from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.files import alone, finish, unfinished
from spamcli.invented import read_also
from spamcli.memory import Memory
from spamcli.messages import Messages, read_bytes, read_messages
from spamcli.model_config import (
    CARD,
    CONFIG,
    ModelConfig,
    check_files,
    check_size,
    check_unpacked,
    read_config,
    reading,
    sha256,
    undisturbed,
    write_config,
)
from spamcli.ngrams import Wide
from spamcli.protocols import Split, split, with_also
from spamcli.settings import INVENTED, POOLINGS, ClassifierSettings

_PART = re.compile(r"[a-z]+-[0-9a-f]{64}\.(?:keras|npz|onnx)")  # the name of a model's file


@dataclass(frozen=True)
class TrainedModel:
    """An ELMo, a classifier on top of it, how they were made, and what is remembered of the training messages.

    Attributes:
        onnx: the same as one ONNX file, where it was just made; None, if it was loaded or the module cannot be converted.
    """

    elmo: ELMo
    classifier: Classifier
    config: ModelConfig
    memory: Memory
    onnx: bytes | None = None

    @property
    def prior(self) -> float:
        """Share of spam among the training messages."""
        return self.classifier.prior

    def p_spam(self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
        """Probability of spam of each message: float64 [messages]."""
        return self.classifier.p_spam(Features.of(self.elmo, texts, progress, self.classifier.wide))


def read_split(config: ModelConfig, path: Path) -> Split:
    """The messages that the model was trained and tested on, from the file that holds them.

    Raises: NotFoundError; DataError, if the file is another one or is split otherwise now.
    """
    if hashlib.sha256(read_bytes(path)).hexdigest() != config.data["sha256"]:
        raise DataError(
            f"{path}: not the file that the model was trained on ({config.data['path']}, "
            f"sha256 {config.data['sha256'][:8]}...), so its test rows are unknown; name that one with --data"
        )
    again = with_also(split(read_messages(path, **config.reading), config.protocol, config.seed), read_also_again(config))
    if again.summary != config.split:
        raise DataError(
            f"{path}: protocol {config.protocol} splits it otherwise than when the model was trained "
            f"(with {config.versions}), so training rows would be tested; train again"
        )
    return again


def data_path(config: ModelConfig) -> Path:
    """Where the file was that the model was trained on. Raises: NotFoundError, if none is there; another may have made it."""
    path = Path(config.data["path"])
    if not os.path.isfile(path):
        raise NotFoundError(f"{path}: the file that the model was trained on is not there; name it with --data")
    return path


def read_also_again(config: ModelConfig) -> list[Messages]:
    """The other messages that the model learned from.

    Raises: what reading them raises; DataError, if they are others now.
    """
    also = []
    for file in config.also:
        if file["name"] != INVENTED and not os.path.isfile(file["name"]):  # what a stranger's model names may be anything
            raise NotFoundError(
                f"{file['name']}: the model also learned from it, and it is not there; put it back, or measure with --test FILE"
            )
        also.append(read_also(file["name"]))
    for file, messages in zip(config.also, also, strict=True):
        if messages.sha256 != file["sha256"]:
            raise DataError(f"{file['name']}: not as it was when the model also learned from it; train again")
    return also


def save(model: TrainedModel, directory: Path) -> None:
    """Write a model. Its files have names of their own, so config.json, replaced last, is the moment of change.

    Raises: WriteError.
    """
    classifier, files = model.classifier, {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with alone(directory), _swept(directory):
            files["heads"] = _write(directory, "heads", ".keras", classifier.heads.save)
            files["memory"] = _write(directory, "memory", ".npz", model.memory.save)
            if classifier.wide:
                files["wide"] = _write(directory, "wide", ".npz", classifier.wide.save)
            if model.onnx:
                files["onnx"] = _write(directory, "model", ".onnx", lambda path: path.write_bytes(model.onnx))
            learned = {"stack": classifier.stack, "prior": classifier.prior}
            write_config(directory, {**asdict(model.config), "learned": learned, "files": files})
    except OSError as error:
        raise WriteError(
            f"{directory}: the model cannot be written ({error.strerror}); free some space, or name another place with --model"
        ) from error


@contextmanager
def _swept(directory: Path) -> Iterator[None]:
    """Afterwards no part of a model is there but those that config.json names; nobody else may be writing one."""
    try:
        yield
    finally:
        with suppress(DataError):  # what config.json of another version names is not to be judged here
            named = read_config(directory)[2].values() if (directory / CONFIG).exists() else ()
            for path in directory.iterdir():
                if _PART.fullmatch(path.name) and path.name not in named:
                    path.unlink(missing_ok=True)


def write_card(directory: Path, card: str, config: ModelConfig) -> None:
    """Put a README.md beside the model of that config, unless another has replaced it; nothing reads it but people.

    Raises: WriteError.
    """
    try:
        with alone(directory), unfinished(directory, ".md") as partial:
            partial.write_text(card, encoding="utf-8", errors="replace")
            if read_config(directory)[0].fingerprint == config.fingerprint:
                finish(partial, directory / CARD)
    except OSError as error:
        raise WriteError(f"{directory}: the model's card cannot be written ({error.strerror}); free some space") from error


def _write(directory: Path, part: str, suffix: str, save: Callable[[Path], None]) -> str:
    """Write a part of a model under a name that holds its SHA-256; returns the name."""
    with unfinished(directory, suffix) as partial:
        save(partial)
        name = f"{part}-{sha256(partial)}{suffix}"
        finish(partial, directory / name)
    return name


def check_place(directory: Path) -> None:
    """Raises: WriteError, if a model cannot be written there or would replace a file that is not a model's."""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            directory.lstat()
    except OSError as error:  # a name that is too long, a folder that is locked
        raise WriteError(f"{directory}: cannot be written ({error.strerror}); name another place with --model") from error
    existing = next(place for place in (directory, *directory.absolute().parents) if os.path.lexists(place))
    if not os.path.isdir(existing):
        raise WriteError(f"{existing}: is a file, or a link to nothing; --model names a directory")
    if not os.access(existing, os.W_OK):
        raise WriteError(f"{existing}: cannot be written; name another place with --model")
    config, card = directory / CONFIG, directory / CARD
    a_models = os.path.isfile(config) and os.access(config, os.R_OK) and b'"fingerprint"' in config.read_bytes()
    for path in (config, card):
        if os.path.lexists(path) and not a_models:
            raise WriteError(f"{path}: is not a model's, and would be replaced; name another place with --model")


def load(
    directory: Path,
    elmo: str | None = None,
    cache: Path | None = None,
    max_batch_tokens: int | None = None,
    trust_module: bool = False,
) -> TrainedModel:
    """Read a model back, verified.

    Args:
        elmo: handle of the same module elsewhere; by default the handle it was trained with.
        trust_module: as `ELMo` takes it.
    Raises: NotFoundError; DataError, if anything in it is damaged or unknown, or the ELMo is not the one it was trained with.
    """
    config, classifier, memory = undisturbed(directory, _read)
    try:
        handle, pooling = elmo or config.elmo["handle"], config.settings.pooling
        encoder = ELMo(handle, cache, max_batch_tokens, trust_module=trust_module, pooling=pooling)
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
    """Config, classifier and memory."""
    config, learned, files = read_config(directory)
    check_files(directory, files.values())
    dim = config.elmo["dim"] * POOLINGS[config.settings.pooling]
    heads = _heads(directory / files["heads"], len(config.mixing["s"]), dim, config.settings)
    wide = Wide.load(directory / files["wide"], len(learned["stack"]) - 2) if "wide" in files else None
    memory = Memory.load(directory / files["memory"], 1 + len(config.also), dim)
    return config, Classifier(heads, wide, **learned), memory


def _heads(path: Path, num_layers: int, dim: int, settings: ClassifierSettings) -> keras.Model:
    """Made by the settings; the file gives the weights, and nothing else that is in it is read.

    Raises: DataError, if it does not have them.
    """
    check_unpacked(path)
    with reading(path):
        check_size(path, 4 * dim * settings.hidden * settings.heads, 2)
        with zipfile.ZipFile(path) as file, h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
            shapes = []
            weights.visititems(lambda _, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None)
        heads = build_heads(num_layers, dim, settings)
        if Counter(shapes) != Counter(tuple(variable.shape) for variable in heads.weights):
            raise ValueError("other weights than its settings say")
        heads.load_weights(path)
    return heads
