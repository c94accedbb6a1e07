"""Checks of the ELMo inside, of trained models and of the data; a message has the same numbers in any company."""

import shlex
from collections.abc import Callable
from pathlib import Path

from spamcli.collection import is_spam_csv, is_uci
from spamcli.doctor.check import MISSING, OK, WARNING, Check
from spamcli.doctor.packages import TENSORFLOW, install
from spamcli.errors import DataError, NotFoundError, UnavailableError
from spamcli.model_config import ModelConfig, check_files, read_config, undisturbed
from spamcli.settings import BUILTIN

BUILTIN_FINGERPRINT = "2d926de61d16834efea28526c6bbc1b847e534936d56b238b49c4abdc9272828"  # of the ELMo inside the package
TOLERANCE = 1e-5  # of p_spam and pooled layers, a message's in one company against another
INT8_TOLERANCE = 0.1  # of p_spam alone in int8, where it moves: three times what was ever seen
MESSAGES = ("ok", "See you at the station at six", "WIN £500 now!!! call 09061 0000", "don't - I'll   wait (there)", "😀 ñandú")
LONG = "is this one as long as they come " * 8  # and still in one batch with the others


def data(path: Path, named: bool) -> Check:
    """The collection is there. Raises: DataError; NotFoundError, if a file that the user named is not there."""
    get = f"spamcli download -o {shlex.quote(str(path))}"
    if not path.is_file():
        if named:
            raise NotFoundError(f"{path}: no such file; {get}")
        return Check(MISSING, f"{path}: no collection there", get)
    content = path.read_bytes()
    if is_spam_csv(content) or is_uci(content):
        return Check(OK, f"{path}: the collection, verified")
    if named:
        return Check(WARNING, f"{path}: not the SMS Spam Collection, so it cannot be verified", "none, if it is your own")
    raise DataError(f"{path}: damaged, or another file than the collection; {get} --force")


def builtin() -> Check:
    """The ELMo inside is whole. Raises: DataError."""
    from spamcli import modules

    directory = modules.resolve(BUILTIN)
    found = modules.fingerprint(directory)
    if found != BUILTIN_FINGERPRINT:
        raise DataError(f"{directory}: damaged (fingerprint {found[:8]}, not {BUILTIN_FINGERPRINT[:8]}); install spamcli again")
    return Check(OK, f"the one inside is whole (fingerprint {found[:8]})")


def builtin_on_tensorflow() -> Check:
    from spamcli.elmo import ELMo

    elmo = ELMo(BUILTIN)
    return _steady(lambda texts: elmo.pooled_layers(texts).reshape(len(texts), -1), install(TENSORFLOW))


def model(directory: Path, named: bool) -> Check:
    """Every file is as its name, which holds its SHA-256, says. Raises: DataError; NotFoundError, if the user named it."""
    try:
        config, files = undisturbed(directory, _whole)
    except NotFoundError:
        if named:
            raise
        return Check(MISSING, f"{directory}: no model there", "spamcli train")
    return Check(OK, f"{directory}: config.json, {', '.join(sorted(files))} are as they were written ({config.fingerprint})")


def _whole(directory: Path) -> tuple[ModelConfig, dict[str, str]]:
    """The config, and the names of the files. Raises: NotFoundError; DataError."""
    config, _, files = read_config(directory)
    check_files(directory, files.values())
    return config, files


def on_onnxruntime(directory: Path) -> Check:
    """Raises: UnavailableError."""
    import numpy as np

    from spamcli.characters import TOKENIZERS
    from spamcli.runtime import Runtime

    config, _, files = read_config(directory)
    if "onnx" not in files:
        return Check(OK, "this model's ELMo has no ONNX form, so TensorFlow runs it")
    runtime, remedy = Runtime(directory), install(["onnxruntime"])
    if config.settings.precision == "int8":
        return _steady(lambda texts: runtime.p_spam(texts)[:, None], remedy, INT8_TOLERANCE)
    split = TOKENIZERS[runtime.config.elmo["tokenizer"]]

    def compute(texts):
        _, pooled = runtime.session.run([split(text) for text in texts], np.zeros(len(texts)))
        return np.column_stack([runtime.p_spam(texts), pooled.reshape(len(texts), -1)])

    return _steady(compute, remedy)


def on_tensorflow(directory: Path, elmo: str | None) -> Check:
    """Raises: DataError; NotFoundError; UnavailableError."""
    import numpy as np

    from spamcli import model_dir
    from spamcli.classifier import Features

    config = read_config(directory)[0]
    handle = _local(elmo or config.elmo["handle"], config.elmo["fingerprint"])
    if not handle:
        return Check(MISSING, f"its ELMo, {config.elmo['handle']}, is not in the cache", "none: it is fetched when it is used")
    trained = model_dir.load(directory, handle)

    def compute(texts):
        features = Features.of(trained.elmo, texts, static=trained.classifier.wide)
        return np.column_stack([trained.classifier.p_spam(features), features.pooled.reshape(len(texts), -1)])

    return _steady(compute, install(TENSORFLOW))


def _local(handle: str, fingerprint: str) -> str | None:
    """The same ELMo without a network: for a URL what was fetched from it, if it is there."""
    from spamcli import modules
    from spamcli.doctor.cache import fetched_modules

    if "://" not in handle:
        return handle
    return next((str(path) for path in fetched_modules() if modules.fingerprint(path) == fingerprint), None)


def _steady(compute: Callable, remedy: str, tolerance: float = TOLERANCE) -> Check:
    """Whether texts have the numbers, float [texts, n], that they have alone: in a batch, in another order, beside LONG."""
    import numpy as np

    alone = np.concatenate([compute([message]) for message in MESSAGES])
    together = compute(MESSAGES), compute(MESSAGES[::-1])[::-1], compute([LONG, *MESSAGES])[1:]
    difference = float(max(np.abs(numbers - alone).max() for numbers in together))
    if not difference <= tolerance:
        raise UnavailableError(f"a message's numbers move by {difference:.1g} with its company; {remedy}")
    return Check(OK, f"a message has the same numbers in any company, to {tolerance:g} (they move by {difference:.1g})")
