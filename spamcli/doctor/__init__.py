"""What is wrong with this machine's packages, runtimes, cache, models and data; what can be made again is repaired."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from spamcli.doctor import cache, models, packages
from spamcli.doctor.check import FAILED, OK, Apart, Check
from spamcli.model_config import DEFAULT_CLASSIFIER

READABLE = "let this user read it"  # where files are all that a check needs


def examine(model: Path, data: Path, elmo: str | None = None, named: Collection[str] = ()) -> Iterator[Check]:
    """All checks, each as soon as it is done; what is damaged in the cache is removed on the way.

    Args:
        elmo: handle of the model's ELMo, if it has moved.
        named: `model` or `data` or both, where the user named it: it has to be there then, and data may be the user's own.
    """
    found = [("model", model, elmo), ("default classifier", DEFAULT_CLASSIFIER, None)]
    with Apart() as apart:
        yield apart("versions", packages.versions)
        yield (required := apart("packages", packages.requirements))
        apart.remedy = required.remedy or apart.remedy
        remedies = [required.remedy or packages.install(names) for names in (["onnxruntime"], packages.TENSORFLOW)]
        yield (onnxruntime := apart("onnxruntime", packages.onnxruntime, remedy=remedies[0]))
        yield (tensorflow := apart("tensorflow", packages.tensorflow, remedy=remedies[1]))
        yield (builtin := apart("elmo", models.builtin))
        yield apart("data", models.data, data, "data" in named, remedy=READABLE)
        yield apart("disk", cache.disk)
        yield apart("cache", cache.verify)
        if OK == tensorflow.status == builtin.status:
            yield (works := apart("elmo on tensorflow", models.builtin_on_tensorflow))
            if works.status == OK:  # else it would not be a module's own fault that it does not load
                yield apart("modules", cache.load_modules, remedy="spamcli doctor --clear")
        for name, directory, handle in found:
            yield (whole := apart(name, models.model, directory, name in named, remedy=READABLE))
            if OK == whole.status == onnxruntime.status:
                yield apart(f"{name} on onnxruntime", models.on_onnxruntime, directory)
            if OK == whole.status == tensorflow.status:
                yield apart(f"{name} on tensorflow", models.on_tensorflow, directory, handle)


def clear() -> Check:
    """Remove all that spamcli put into its cache folder, and nothing else."""
    with Apart() as apart:
        return apart("cache", cache.clear)


def exit_code(checks: Iterable[Check]) -> int:
    """That of the first check that failed; 0, if none did."""
    return next((check.exit_code for check in checks if check.status == FAILED), 0)
