"""Spam or ham? Text messages told apart with contextual word representations (ELMo)."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras asks at its first import, and knows others
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime writes an id into the user's cache, and sends it

__version__ = "0.1.0"
__all__ = ["SpamClassifier", "Verdict"]


def __getattr__(name: str):
    """The public names, loaded when they are used: `spamcli --help` has no time for NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spamcli import prediction

    return getattr(prediction, name)
