"""Fixtures: tiny and real. Nothing here reaches the network, and nothing touches the user's own caches."""

import json
import os
import shutil
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from click.testing import CliRunner

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would what tests start
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does

no_strace = not shutil.which("strace") and os.environ.get("CI") != "true"  # where it can be had, so a failure there
needs_strace = pytest.mark.skipif(no_strace, reason="needs strace")

ROOT = Path(__file__).parents[1]
TINY_MESSAGES = ROOT / "tests" / "tiny_messages.csv"


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory, monkeypatch):
    """Every test has its own cache folder, and no SPAMCLI_* or TFHUB_* of the user's."""
    for name in list(os.environ):
        if name.startswith(("SPAMCLI_", "TFHUB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def spam_csv() -> Path:
    """The real collection, as the tutorial has it."""
    for path in (ROOT / "data" / "spam.csv", ROOT.parent / "shared" / "data" / "spam.csv"):
        if path.is_file():
            return path
    reason = "data/spam.csv is not there; get it with `spamcli download`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_elmo(tmp_path_factory) -> Path:
    """A module of our own with random weights: 4 numbers a direction, tokens split at punctuation."""
    import tensorflow as tf

    from spamcli.bilm.export import export
    from spamcli.bilm.model import BiLM, BiLMConfig

    tf.random.set_seed(3)
    directory = tmp_path_factory.mktemp("modules") / "tiny"
    export(BiLM(BiLMConfig(char_dim=4, filters=((1, 4), (2, 4)), cells=8, projection=4)), directory, card="A tiny ELMo.\n")
    return directory


@pytest.fixture(scope="session")
def model(tiny_elmo, tmp_path_factory) -> Path:
    """A model on the tiny ELMo, trained through the command line; to be read, never changed."""
    from spamcli.cli import main

    directory = tmp_path_factory.mktemp("models") / "tiny"
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 2, "--model", directory]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return directory


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run the command line in an empty folder: cli("train", "--json") -> click's result."""
    from spamcli.cli import main

    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **settings: CliRunner().invoke(main, [str(a) for a in arguments], **settings)


def edit_config(directory: Path, change) -> None:
    """Change config.json as if it had been written so: its own hash is right."""
    from spamcli.model_config import CONFIG, write_config

    values = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    change(values)
    write_config(directory, {name: value for name, value in values.items() if name not in ("format", "sha256")})
