"""Checks of versions, of the packages that spamcli needs, and of the two runtimes."""

import platform
import re
import shlex
import sys
from collections.abc import Collection
from importlib import import_module, metadata

from spamcli import __version__
from spamcli.doctor.check import OK, WARNING, Check, one_line
from spamcli.errors import UnavailableError

TENSORFLOW = ("tensorflow", "tensorflow-hub", "tf_keras", "keras", "tf2onnx")  # what `tensorflow` imports
SHOWN = ("tensorflow", "keras", "onnxruntime", "tf2onnx", "numpy", "scikit-learn")  # whose versions move numbers
IMPORTED_AS = {"scikit-learn": "sklearn", "setuptools": "pkg_resources"}


def versions() -> Check:
    parts = [f"spamcli {__version__}", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    return Check(OK, ", ".join(parts + [f"{package} {_version(package) or 'missing'}" for package in SHOWN]))


def requirements() -> Check:
    """What setup.cfg asks for is there, in the versions that it asks for, and can be imported.

    Raises: UnavailableError, if one is missing or broken; another version is a warning, since it may do.
    """
    from packaging.requirements import Requirement

    required = _required()
    if not required:
        return Check(WARNING, "spamcli is not installed, so what it needs is not known", "python -m pip install .")
    broken = {package: why for package in required if (why := _broken(package))}
    if broken:
        raise UnavailableError(f"{', '.join(f'{package} {why}' for package, why in broken.items())}; {install(broken)}")
    specified = {package: Requirement(line).specifier for package, line in required.items()}
    other = [package for package, asked in specified.items() if not asked.contains(_version(package), prereleases=True)]
    if other:
        wrong = ", ".join(f"{package} is {_version(package)}, not {specified[package]}" for package in other)
        return Check(WARNING, wrong, _pip(required[package] for package in other))
    return Check(OK, f"all {len(required)} that spamcli needs")


def install(packages: Collection[str]) -> str:
    """The command that installs packages, as spamcli needs them; again, if all of them are there."""
    required = _required()
    wanted = [required.get(package, package) for package in packages]
    return _pip(["--force-reinstall", *wanted] if all(map(_version, packages)) else wanted)


def _pip(arguments) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _required() -> dict[str, str]:
    """Package -> requirement; nothing, if spamcli is run from its folder."""
    try:
        lines = [line for line in metadata.requires("spamcli") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        lines = []
    return {re.match(r"[\w.-]+", line)[0]: line for line in lines}


def _broken(package: str) -> str:
    """Why a package cannot be used; those of the runtimes are imported by checks of their own."""
    if not _version(package):
        return "is missing"
    try:
        if package not in (*TENSORFLOW, "onnxruntime"):
            import_module(IMPORTED_AS.get(package, package.replace("-", "_")))
    except Exception as error:  # a broken package raises whatever it likes
        return f"cannot be imported ({one_line(error)})"
    return ""


def onnxruntime() -> Check:
    """Imports, and computes the sigmoid of 0. Raises: UnavailableError."""
    import numpy as np
    import onnxruntime
    from onnxruntime.datasets import get_example

    session = onnxruntime.InferenceSession(get_example("sigmoid.onnx"), providers=["CPUExecutionProvider"])
    (half,) = session.run(None, {"x": np.zeros([3, 4, 5], np.float32)})
    if not (half == 0.5).all():
        raise UnavailableError(f"computes a sigmoid of {half.flat[0]:g} at 0; {install(['onnxruntime'])}")
    return Check(OK, f"{onnxruntime.__version__} imports and computes")


def tensorflow() -> Check:
    """Imports, with what is used beside it, and computes a product of matrices. Raises: UnavailableError."""
    import keras
    import tensorflow as tf
    import tensorflow_hub
    import tf2onnx

    product = tf.function(tf.matmul)(tf.constant([[1.0, 2.0]]), tf.constant([[3.0], [4.0]])).numpy().item()
    if product != 11:
        raise UnavailableError(f"computes 1 * 3 + 2 * 4 = {product:g}; {install(TENSORFLOW)}")
    others = ", ".join(f"{module.__name__} {module.__version__}" for module in (keras, tensorflow_hub, tf2onnx))
    return Check(OK, f"{tf.__version__} imports and computes, with {others}")
