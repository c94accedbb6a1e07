"""What made a trained model, and the config.json that says so. Nothing here is slow to load."""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from spamcli.errors import DataError, NotFoundError
from spamcli.files import finish, unfinished
from spamcli.settings import POOLINGS, PROTOCOLS, RECIPES, STATIC, ClassifierSettings

FORMAT = 6
CONFIG, CARD = "config.json", "README.md"
DEFAULT_CLASSIFIER = Path(__file__).parent / "assets" / "classifier"  # a model like any other, for those who train none
_FEW = 2**24  # bytes that any part may unpack to
MAX_HEADS = 100  # each of which takes a while to make
Model = TypeVar("Model")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that made a model; all of it is written to config.json.

    Attributes:
        elmo: handle, fingerprint (SHA-256 of the module), dim, tokenizer.
        data: path, sha256, form, raw, and the columns and labels that were asked for.
        also: name and sha256 of each other file that was learned from.
        split: how many messages train and test, and the SHA-256 of the two sides.
        classifier: the fields of `settings.ClassifierSettings`.
        mixing: s (after the softmax) and gamma.
        budget: the fields of `budget.Budget`, if thresholds were chosen by one.
        versions: of spamcli, tensorflow, keras, scikit-learn.
    """

    elmo: dict
    data: dict
    also: list[dict]
    protocol: str
    split: dict
    classifier: dict
    seed: int
    mixing: dict
    budget: dict | None
    versions: dict

    @property
    def reading(self) -> dict:
        """How the data was read: the keyword arguments of `messages.read_messages`."""
        return {name: self.data[name] for name in ("raw", "text_column", "label_column", "spam_labels", "skip_bad")}

    @property
    def settings(self) -> ClassifierSettings:
        return ClassifierSettings(**self.classifier)

    @property
    def fingerprint(self) -> str:
        """One line that names the settings behind a figure."""
        parts = {
            "protocol": self.protocol,
            "seed": self.seed,
            "elmo": self.elmo["fingerprint"][:8],
            "data": reading_fingerprint(self.data["sha256"], {**self.reading, "skipped": self.data["skipped"]}),
            **also_fingerprint(self.also),
            **self.settings.fingerprint,
            **self.versions,
        }
        return " | ".join(f"{name} {value}" for name, value in parts.items())


def write_config(directory: Path, values: dict) -> None:
    """Replace config.json: the fields of a ModelConfig, `learned` and `files`. The card of what it replaces goes with it."""
    values = json.loads(json.dumps(values))
    content = {"format": FORMAT, **values, "sha256": digest(values)}
    with unfinished(directory, ".json") as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        finish(partial, directory / CONFIG, outdated=directory / CARD)


def read_config(directory: Path) -> tuple[ModelConfig, dict, dict[str, str]]:
    """The config, the numbers that were learned beside it, and the names of the files: `undisturbed` is for who reads these.

    Raises: NotFoundError; DataError, if it is not as this version wrote it.
    """
    path = directory / CONFIG
    if not os.path.isfile(path):
        raise NotFoundError(f"{directory}: no model there; make one with `spamcli train --model {directory}`")
    try:
        read = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: not a model's config ({type(error).__name__}: {error}); train again") from error
    if read is None:
        raise DataError(f"{path}: damaged, or written by another version of spamcli; train again")
    return read


def _parsed(values: dict) -> tuple[ModelConfig, dict, dict[str, str]] | None:
    """What `read_config` returns; None, if it is damaged or another version's."""
    if values.pop("format") != FORMAT or values.pop("sha256") != digest(values):
        return None
    files, learned = values.pop("files"), values.pop("learned")
    learned["stack"] = tuple(learned["stack"])
    config = ModelConfig(**values)
    return (config, learned, files) if all(_checks(config, learned, files)) else None


def _checks(config: ModelConfig, learned: dict, files: dict[str, str]) -> Iterator[bool]:
    """Whether each thing is what is relied upon later; what is asked first guards what comes behind."""
    settings = config.settings
    parts = {"heads", "memory"} if settings.static == "none" else {"heads", "memory", "wide"}
    yield files.keys() - {"onnx"} == parts and all(Path(name).name == name for name in files.values())
    yield settings.recipe in RECIPES and settings.pooling in POOLINGS and config.protocol in PROTOCOLS
    yield isinstance(settings.static, str) and isinstance(settings.vectors, str)
    yield (settings.static in STATIC) == (not settings.vectors)
    yield learned.keys() == {"stack", "prior"} and len(learned["stack"]) == 2 + STATIC.get(settings.static, 1)
    numbers = *learned["stack"], learned["prior"], config.seed, *config.mixing["s"], config.mixing["gamma"]
    numbers += *(config.budget or {}).values(), config.split["train"], config.split["test"]
    yield all(isinstance(number, (int, float)) and abs(number) < 1e12 for number in numbers)
    yield config.classifier == asdict(settings)
    yield all(_has_type(getattr(settings, field.name), field.type) for field in fields(settings))
    yield settings.heads <= MAX_HEADS
    yield 0 < learned["prior"] < 1 and 0 <= (settings.threshold_ham or 0) <= settings.threshold <= 1
    yield isinstance(config.seed, int) and 0 <= config.seed < 2**32 and len(config.mixing["s"]) == 3
    yield isinstance(config.elmo["dim"], int) and 0 < config.elmo["dim"] < 1e6
    paths = config.data["path"], *(file["name"] for file in config.also), *config.data["spam_labels"]
    yield all(isinstance(path, str) and "\0" not in path for path in paths)
    yield config.budget is None or config.budget.keys() == {"threshold", "ham", "blocked", "bound"}
    yield all(file.keys() == {"name", "sha256"} for file in config.also)
    yield all(isinstance(config.elmo[key], str) for key in ("handle", "fingerprint", "tokenizer"))
    yield bool(config.reading and config.fingerprint and config.split["sha256"])


def _has_type(value: object, kind: type) -> bool:
    """Whether a value is of a field's type; a whole number will do for a float."""
    return isinstance(value, kind) or (type(value) is int and isinstance(0.0, kind))


def digest(values: dict) -> str:
    """SHA-256 of what config.json says, but for its format and this."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def undisturbed(directory: Path, read: Callable[[Path], Model]) -> Model:
    """What `read` makes of a model's directory; once more, if another model has taken its place meanwhile."""
    before = _config_bytes(directory)
    try:
        return read(directory)
    except (DataError, OSError):
        if _config_bytes(directory) == before:
            raise
    return read(directory)


def _config_bytes(directory: Path) -> bytes | None:
    try:
        return (directory / CONFIG).read_bytes()
    except OSError:
        return None


def verified(path: Path) -> bytes:
    """A file of a model. Raises: DataError, if it is not as its name, which holds its SHA-256, says."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name may have a zero in it
        raise DataError(f"{path}: cannot be read ({error}); train again") from error
    if hashlib.sha256(data).hexdigest() != path.stem.partition("-")[2]:
        raise DataError(f"{path}: not as it was written; train again")
    return data


def check_files(directory: Path, names: Iterable[str]) -> None:
    """Raises: DataError, as `verified` does."""
    for name in names:
        verified(directory / name)


def check_unpacked(path: Path, times: int = 16) -> None:
    """Raises: DataError, if a part, which is a zip, is none or unpacks to more than so many times its size."""
    with reading(path), zipfile.ZipFile(path) as file:
        check_size(path, sum(member.file_size for member in file.infolist()), times)


def check_arrays(path: Path, times: int = 16) -> None:
    """The same of an .npz; and no array is said to be larger than what is there. Raises: DataError."""
    from numpy.lib import format  # not above: `doctor` reads configs where NumPy is broken

    check_unpacked(path, times)
    with reading(path), zipfile.ZipFile(path) as file:
        for member in file.infolist():
            with file.open(member) as array:
                if format.read_magic(array) != (1, 0):  # which is what NumPy writes
                    raise ValueError("another version of an array")
                shape, _, dtype = format.read_array_header_1_0(array)
                if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > member.file_size:
                    raise ValueError("an array is said to be larger than it is")


def check_size(path: Path, unpacked: int, times: int) -> None:
    """Raises: ValueError, if so many bytes are more than so many times a file, and no few."""
    if unpacked > _FEW + times * path.stat().st_size:
        raise ValueError(f"unpacks to {unpacked:,} bytes")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises: DataError, whatever else reading a file of a model raises: of a crafted one that may be anything."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # zip, lzma, tokenize, Keras, ONNX Runtime and NumPy raise whatever they like
        raise DataError(f"{path}: damaged ({type(error).__name__}); train again") from error


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def also_fingerprint(also: Iterable[dict]) -> dict[str, str]:
    """What was learned from beside the data, if anything."""
    hashes = ", ".join(file["sha256"][:8] for file in also)
    return {"also": hashes} if hashes else {}


def reading_fingerprint(sha256: str, reading: dict) -> str:
    """What was read, and how, if not by default."""
    unusual = [name if value is True else f"{name} {value}" for name, value in reading.items() if value]
    return ", ".join([sha256[:8], *unusual])
