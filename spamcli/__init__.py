"""Spam or ham? Text messages told apart with contextual word representations (ELMo)."""

__version__ = "0.1.0"
