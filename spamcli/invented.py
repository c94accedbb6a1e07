"""The labelled messages of our own invention that the package holds: one part to learn from, another that only measures."""

from pathlib import Path

from spamcli.messages import Messages, read_messages
from spamcli.settings import INVENTED

_FILES = Path(__file__).parent / "assets" / "messages"
TRAINING, MEASURING = _FILES / "training.csv", _FILES / "measuring.csv"


def read_also(name: str) -> Messages:
    """Labelled messages to learn from beside others: a file's, or for `invented` the package's.

    Raises: what `messages.read_messages` raises.
    """
    return read_messages(TRAINING if name == INVENTED else Path(name), both_classes=False)


def tested(name: Path) -> Path:
    """The file that `--test` names; for `invented` the part that only measures."""
    return MEASURING if str(name) == INVENTED else name
