"""Checks of the cache folder, all of which can be made or fetched again: what is damaged in it is removed.

$TFHUB_CACHE_DIR, where modules are kept that others may have fetched, is left alone.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from spamcli.doctor.check import OK, REPAIRED, WARNING, Check, one_line, refused
from spamcli.errors import UnavailableError, WriteError
from spamcli.files import UNFINISHED, remove_abandoned

FREE = 10**9  # bytes: room for the original ELMo, as it comes and unpacked
_POOLED, _ENCODER = r"mean(\+max)?-(\d+-)?[0-9a-f]{32}\.sqlite(-journal)?", r"encoder-\d+-([\w.+]+-)*[0-9a-f]{32}\.onnx"
_ENTRIES = {  # folder -> names of what spamcli puts there
    "pooled": f"{_POOLED}|{_ENCODER}|{UNFINISHED}",
    "modules": rf"[0-9a-f]{{40}}|{UNFINISHED}",
}


def entries(folder: Path) -> Iterator[Path]:
    """All that spamcli put into its cache folder."""
    for place, pattern in ((folder / name, pattern) for name, pattern in _ENTRIES.items()):
        if os.path.isdir(place):
            yield from sorted(path for path in place.iterdir() if re.fullmatch(pattern, path.name))


def _folder() -> Path:
    from spamcli import modules  # not above: what it imports may be broken

    return modules.cache_directory()


def fetched_modules() -> list[Path]:
    return [path for path in entries(_folder()) if path.is_dir() and not path.name.startswith(".")]


def disk() -> Check:
    """The cache's disk has room, and the folder can be written."""
    folder = _folder()
    place = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    free = shutil.disk_usage(place).free
    if not (place.is_dir() and os.access(place, os.W_OK)):
        return Check(WARNING, f"{place}: cannot be written, so nothing is cached", "set XDG_CACHE_HOME to another folder")
    if free < FREE:
        advice = "spamcli doctor --clear, or set XDG_CACHE_HOME to a folder on another disk"
        return Check(WARNING, f"{folder}: {_amount(free)} free on its disk", advice)
    return Check(OK, f"{folder}: {_amount(free)} free on its disk")


def clear() -> Check:
    """Raises: WriteError."""
    folder = _folder()
    found = list(entries(folder))
    size = sum(map(_size, found))
    for path in found:
        _remove(path)
    for place in (*(folder / name for name in _ENTRIES), folder):
        with suppress(OSError):  # something is in it that is not ours
            place.rmdir()
    return Check(OK, f"{folder}: removed {len(found)} entries, {_amount(size)}")


def verify() -> Check:
    """Every entry, as far as that can be without TensorFlow. Raises: WriteError."""
    folder, damaged, unknown = _folder(), {}, {}
    found = list(entries(folder))
    for path in found:
        try:
            if damage := _damage(path):
                damaged[path] = damage
        except (sqlite3.OperationalError, OSError) as error:  # in use or not to be read: no fault of the entry
            unknown[path.name] = error
    whole = [path for path in found if path not in damaged]
    kept = f"{folder}: {len(whole)} entries, {_amount(sum(map(_size, whole)))}"
    if unknown:
        kept += f", not verified {', '.join(f'{name} ({why})' for name, why in unknown.items())}"
    return _without(damaged, Check(WARNING if unknown else OK, kept, "try again when nothing uses it" if unknown else ""))


def load_modules() -> Check:
    """Every module that was fetched loads and gives finite numbers; one that could do more than that stays as it is.

    Raises: WriteError.
    """
    from spamcli import modules

    damaged, sizes, risky = {}, [], []
    for path in fetched_modules():
        try:
            sizes.append(modules.load(path).structured_outputs["lstm_outputs1"].shape[-1])
        except UnavailableError as error:
            if refused(error):
                risky.append(path.name)
            else:
                damaged[path] = one_line(error)
    detail = f"{len(sizes)} in the cache load" + f", with {', '.join(map(str, sizes))} numbers a token" * bool(sizes)
    if not risky:
        return _without(damaged, Check(OK, detail))
    detail += f", not tried {', '.join(risky)}: a module is a program, and could do more than an ELMo needs"
    return _without(damaged, Check(WARNING, detail, "remove what you do not trust"))


def _without(damaged: dict[Path, str], rest: Check) -> Check:
    """What was found, once entries are removed, for the reasons given."""
    for path in damaged:
        _remove(path)
    if not damaged:
        return rest
    removed = ", ".join(f"{path.name} ({why})" for path, why in damaged.items())
    return Check(REPAIRED, f"{rest.detail}; removed {removed}", "none needed: it is made or fetched again when it is used")


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be removed ({error.strerror}); remove it yourself") from error


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _amount(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _damage(path: Path) -> str:
    """What is wrong with an entry, if anything; a module's folder is only looked at, `load_modules` loads it."""
    if path.name.startswith("."):
        return "unfinished" if remove_abandoned(path) else ""
    if path.is_dir():
        return "" if (path / "saved_model.pb").is_file() else "no saved_model.pb"
    if path.suffix == ".onnx":
        return _encoder_damage(path)
    return _pooled_damage(path) if path.suffix == ".sqlite" else ""


def _encoder_damage(path: Path) -> str:
    """Whether it can be read; its numbers are compared with TensorFlow's by `conversion`, whenever they are used."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        onnx.checker.check_model(onnx.load(path))
    except (DecodeError, onnx.checker.ValidationError) as error:
        return one_line(error)
    return ""


def _pooled_damage(path: Path) -> str:
    """Of another version of spamcli, whose rows are its own, as far as SQLite knows.

    Raises: sqlite3.OperationalError, if it is in use.
    """
    from spamcli.elmo import ROWS, VERSION, checked

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)) as database:
            (said,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if said != "ok":
                return said
            if path.name.split("-")[1] == str(VERSION):
                for row in database.execute(ROWS):
                    checked(*row)
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such"):  # table or column
            raise
        return str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""
