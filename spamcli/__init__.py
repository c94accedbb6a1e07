"""Spam or ham? Text messages told apart with contextual word representations (ELMo)."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras asks at its first import, and knows others

__version__ = "0.1.0"
