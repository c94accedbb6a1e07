"""The verbs that write, tiny: what each is given, how it is run for real, and how to see what it left."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from conftest import ROOT, TINY_MESSAGES  # which also keeps TensorFlow from chatting

from spamcli import model_config, modules, records, runtime, sources
from spamcli.messages import read_messages

SMALL = {"char_dim": 4, "filters": [[1, 4], [3, 8]], "cells": 8, "projection": 4, "samples": 10}
SMALL |= {"checkpoint_seconds": 0}  # one after each batch


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Attributes:
        state: what its folder holds: "old", what was there before, or "new"; raises, if it is neither, whole.
        old: files that the command replaces.
        every: try all its points, not a sample; refuses: what is there already is not written again.
        keeps: what it keeps for its next run where it fails.
    """

    name: str
    arguments: list[str]
    state: Callable[[Path], str]
    old: dict[str, bytes] = field(default_factory=dict)
    every: bool = False
    refuses: bool = False
    keeps: str = ""


def verbs() -> list[Verb]:
    """All of them; their folder holds what `make_inputs` writes."""
    pretrain = ["pretrain", "corpus.txt", "-o", "elmo", "--tokens", "1000", "--config", json.dumps(SMALL), "--resume"]
    judge = ["predict", "--model", "model", "-f", "tiny.csv", "-o"]
    download = ["download", "--offline", "--source"]
    mine, csv, parquet = b"label,text\nham,mine\n", "judged.csv", "judged.parquet"
    found = [
        Verb("download", [*download, "copy.csv", "-o", "data/spam.csv"], _downloaded, every=True),
        Verb("download --force", [*download, "copy.csv", "--force"], _downloaded, {"data/spam.csv": mine}, every=True),
        Verb("download zip", [*download, "copy.zip"], _downloaded, every=True),
        Verb("predict csv", [*judge, csv], lambda here: _judged(here / csv, mine), {csv: mine}, every=True),
        Verb("predict parquet", [*judge, parquet], lambda here: _judged(here / parquet, mine), {parquet: mine}, every=True),
        Verb("import", ["import", "weights.hdf5", "options.json", "-o", "elmo"], _imported, every=True, refuses=True),
        Verb("train", ["train", *"--data tiny.csv --elmo module --epochs 1 --seed 2 --model model".split()], _trained),
        Verb("pretrain", pretrain, _pretrained, refuses=True, keeps="here/elmo.checkpoint.npz"),
        Verb("evaluate", ["evaluate", "--model", "model", "--report", "page.html"], _reported, {"page.html": mine}),
    ]
    return [verb for verb in found if (ROOT / "data" / sources.UCI_NAME).is_file() or "copy.zip" not in verb.arguments]


def run(box: Path, arguments: list[str], under: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """The command in box/here, with home, caches and temporary files beside it; `under` is a command that starts it."""
    places = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
    for place in ("here", *places.values()):
        (box / place).mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    always_alike = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    return subprocess.run(
        [*under, sys.executable, "-m", "spamcli", *arguments],
        cwd=box / "here",
        env=kept | always_alike | {name: str(box / place) for name, place in places.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def make_inputs(folder: Path, spam_csv: Path) -> Path:
    """What the verbs read: messages, copies of the collection, weights; a module and a model, made by the command line."""
    from test_importing import OPTIONS, random_weights, write

    here = folder / "here"
    here.mkdir(parents=True)
    shutil.copy(TINY_MESSAGES, here / "tiny.csv")
    (here / "corpus.txt").write_text("\n".join(read_messages(TINY_MESSAGES).frame["text"]), encoding="utf-8")
    shutil.copyfile(spam_csv, here / "copy.csv")
    if (ROOT / "data" / sources.UCI_NAME).is_file():
        with zipfile.ZipFile(here / "copy.zip", "w") as archive:
            archive.write(ROOT / "data" / sources.UCI_NAME, sources.UCI_NAME)
    write(here, OPTIONS, random_weights(OPTIONS))
    train = "train --data tiny.csv --elmo module --epochs 1 --seed 1 --model model"
    for command in ("import weights.hdf5 options.json -o module", train):
        assert run(folder, command.split()).returncode == 0
    return here


def _downloaded(here: Path) -> str:
    """spam.csv is verified, and so is the other file, if it is there."""
    path, beside = here / "data" / "spam.csv", here / "data" / sources.UCI_NAME
    known = {beside: (sources.Sources().uci_sha256,), path: (sources.Sources().spam_csv_sha256,)}
    shown = [path for path in (here / "data").glob("[!.]*")]
    verified = [hashlib.sha256(each.read_bytes()).hexdigest() in known[each] for each in shown]
    if path.exists() and len(path.read_bytes()) < 100:
        return "old"
    assert all(verified)
    return "new" if path.exists() else "old"


def _judged(path: Path, old: bytes) -> str:
    if path.read_bytes() == old:
        return "old"
    judged = list(records.read(str(path), None, None, lambda file: file))
    assert [record.values["label"] in ("ham", "spam") for record in judged] == [True] * len(read_messages(TINY_MESSAGES).frame)
    return "new"


def _imported(here: Path) -> str:
    if not (here / "elmo").exists():
        return "old"
    assert modules.fingerprint(here / "elmo") == modules.fingerprint(here / "module")
    return "new"


def _trained(here: Path) -> str:
    """All files are those that config.json names, or wait to be swept, and none is torn; the card is this model's."""
    model = here / "model"
    config, _, files = model_config.read_config(model)
    model_config.check_files(model, [path.name for path in model.glob("[!.]*-*")])
    assert {path.name for path in model.glob("[!.]*") if "-" not in path.name} <= {"config.json", "README.md"}
    assert np.isfinite(runtime.Runtime(model).p_spam(["hello"])).all()
    assert not (model / "README.md").exists() or f"seed {config.seed}" in (model / "README.md").read_text(encoding="utf-8")
    return {1: "old", 2: "new"}[config.seed]


def _pretrained(here: Path) -> str:
    """The checkpoint and the module are whole, where they are there."""
    from spamcli.bilm.export import read_bilm

    if (here / "elmo.checkpoint.npz").exists():
        with np.load(here / "elmo.checkpoint.npz") as arrays:
            assert all(arrays[name].size for name in arrays.files)
    if not (here / "elmo").exists():
        return "old"
    names = [{path.relative_to(here / name) for path in (here / name).rglob("*")} for name in ("elmo", "module")]
    assert names[0] == names[1] and read_bilm(here / "elmo")
    return "new" if not (here / "elmo.checkpoint.npz").exists() else "old"


def _reported(here: Path) -> str:
    page = (here / "page.html").read_text(encoding="utf-8")
    assert len(page) < 100 or (page.startswith("<!doctype html>") and page.endswith("</html>"))
    return "old" if len(page) < 100 else "new"
