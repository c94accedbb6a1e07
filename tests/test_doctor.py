"""The machine's own health: real damage is found, what can be made again goes, and nothing else is touched."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import spamcli
from spamcli import conversion, doctor, elmo, modules
from spamcli.bilm.export import read_bilm
from spamcli.doctor import cache, check, models, packages
from spamcli.elmo import ELMo
from spamcli.errors import DataError, NotFoundError, UnavailableError
from spamcli.files import unfinished, unfinished_folder
from spamcli.runtime import Runtime
from spamcli.settings import POOLINGS

from conftest import TINY_MESSAGES, edit_config, needs_strace  # isort: skip

MODELS = ["model", "default classifier"]
BEFORE_MODELS = ["versions", "packages", "onnxruntime", "tensorflow", "elmo", "data", "disk", "cache"]


@pytest.fixture(scope="module")
def model(tiny_elmo, tmp_path_factory):
    from click.testing import CliRunner

    from spamcli.cli import main

    directory = tmp_path_factory.mktemp("models") / "tiny"
    arguments = ["train", "--data", TINY_MESSAGES, "--elmo", tiny_elmo, "--epochs", 2, "--model", directory]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    return directory


@pytest.fixture
def own_model(model, tmp_path):
    """One to be damaged."""
    return shutil.copytree(model, tmp_path / "own model")


@pytest.fixture(scope="module")
def filled(tiny_elmo, tmp_path_factory) -> Path:
    """A real cache: 500 messages' pooled layers, and a converted encoder."""
    folder = tmp_path_factory.mktemp("filled")
    encoder = ELMo(str(tiny_elmo), folder)
    encoder.pooled_layers([f"message number {i}" for i in range(500)])
    conversion._keep(
        conversion._encoder(read_bilm(tiny_elmo)), folder / f"encoder-1-1.17.0-2.21.0-{encoder.fingerprint[:32]}.onnx"
    )
    return folder


@pytest.fixture
def pooled(filled) -> Path:
    """One to be damaged, in its place."""
    return shutil.copytree(filled, modules.cache_directory() / "pooled")


def run(*arguments, path=(), **settings):
    """A real process, with folders in front of Python's path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, Path(spamcli.__file__).parents[1]]))}
    command = [sys.executable, "-m", "spamcli", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, **settings)


def apart(*arguments) -> check.Check:
    with check.Apart() as process:
        return process("it", *arguments)


def statuses(result) -> dict[str, str]:
    checks = json.loads(result.stdout)["checks"]
    assert all(list(each) == ["name", "status", "detail", "remedy"] for each in checks)
    assert all(isinstance(value, str) and "\n" not in value for each in checks for value in each.values())
    assert all(bool(each["remedy"]) == (each["status"] != "ok") for each in checks)
    return {each["name"]: each["status"] for each in checks}


def test_where_all_is_well_every_check_says_so(model, pooled, spam_csv, tiny_elmo, tmp_path):
    shutil.copytree(tiny_elmo, modules.cache_directory() / "modules" / ("a" * 40))
    began = time.monotonic()
    result = run("--json", "--model", model, "--data", spam_csv, cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    found = statuses(result)
    runtimes = [f"{name}{runtime}" for name in MODELS for runtime in ("", " on onnxruntime", " on tensorflow")]
    assert list(found) == [*BEFORE_MODELS, "elmo on tensorflow", "modules", *runtimes] and set(found.values()) - {
        "warning"
    } == {"ok"}
    assert all(status == "ok" for name, status in found.items() if name not in ("packages", "disk"))
    assert time.monotonic() - began < 60  # on a busy machine, too


def test_where_nothing_is_there_nothing_has_failed(cli):
    result = cli("doctor")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and result.stderr == "" and len(lines) == len(BEFORE_MODELS) + 6
    assert any(line == "missing   model: model: no model there; spamcli train" for line in lines)
    assert any(line.startswith("missing   data: data/spam.csv") and "spamcli download" in line for line in lines)


@pytest.mark.parametrize(
    "stub, says",
    [('raise ImportError("no such processor")', "no such processor"), ("import os; os.abort()", "SIGABRT")],
)
def test_without_tensorflow_all_else_is_checked(model, tmp_path, stub, says):
    (tmp_path / "tensorflow.py").write_text(stub)
    result = run("--json", "--model", model, cwd=tmp_path, path=[tmp_path])
    found = statuses(result)
    assert result.returncode == 69 and result.stderr == ""
    assert list(found) == [*BEFORE_MODELS, *(f"{name}{runtime}" for name in MODELS for runtime in ("", " on onnxruntime"))]
    assert [name for name, status in found.items() if status == "failed"] == ["tensorflow"]
    (line,) = (each for each in json.loads(result.stdout)["checks"] if each["status"] == "failed")
    assert says in line["detail"] and "-m pip install" in line["remedy"] and "tensorflow" in line["remedy"]


def test_a_package_that_everything_needs_is_named_with_the_command_that_mends_it(model, tmp_path):
    (tmp_path / "numpy.py").write_text('raise RuntimeError("built for another Python")')
    result = run("--json", "--model", model, cwd=tmp_path, path=[tmp_path])
    found = statuses(result)
    assert result.returncode == 69 and found["packages"] == "failed" and found["model"] == found["versions"] == "ok"
    remedies = {each["remedy"] for each in json.loads(result.stdout)["checks"] if each["status"] == "failed"}
    assert len(remedies) == 1 and "--force-reinstall" in remedies.pop()


def required(folder: Path, *lines: str) -> None:
    """Metadata that say that spamcli needs other packages."""
    about = folder / f"spamcli-{spamcli.__version__}.dist-info"
    about.mkdir()
    text = ["Metadata-Version: 2.1", "Name: spamcli", f"Version: {spamcli.__version__}"]
    (about / "METADATA").write_text("\n".join([*text, *(f"Requires-Dist: {line}" for line in lines)]) + "\n")


def test_packages_that_are_missing_or_of_another_version(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    required(tmp_path, "click>=8", 'none-such>=3; extra == "test"')
    assert packages.requirements().status == "ok"
    shutil.rmtree(next(tmp_path.iterdir()))
    required(tmp_path, "click>=8", "pooch>=99")
    found = packages.requirements()
    assert found.status == "warning" and "pooch is 1." in found.detail and found.remedy.endswith("pip install 'pooch>=99'")
    shutil.rmtree(next(tmp_path.iterdir()))
    required(tmp_path, "click>=8", "pooch>=99", "none-such>=3")
    with pytest.raises(UnavailableError, match="none-such is missing; .* install 'none-such>=3'"):
        packages.requirements()


def test_a_check_that_dies_or_hangs_is_one_that_failed(monkeypatch):
    monkeypatch.setattr(check, "SECONDS", 3)
    with check.Apart() as process:
        died, hung = process("died", os._exit, 3), process("hung", time.sleep, 100)
        assert process("again", packages.versions).status == "ok"
    assert (died.status, died.exit_code, hung.status, hung.exit_code) == ("failed", 69, "failed", 69)
    assert "exit code 3" in died.detail and "no answer" in hung.detail and died.remedy and hung.remedy


def flip(path: Path, position: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


def truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def execute(path: Path, statement: str, *values) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


def number(path: Path) -> None:
    """One bit of one number of one message."""
    with closing(sqlite3.connect(path)) as database, database:
        key, layers = database.execute("SELECT message, layers FROM pooled").fetchone()
        flipped = bytes([layers[0] ^ 1]) + layers[1:]
        database.execute("UPDATE pooled SET layers = ? WHERE message = ?", [flipped, key])


OTHER_KEY = "UPDATE pooled SET message = ? WHERE message = (SELECT min(message) FROM pooled)"
DAMAGE = {
    "header": ("sqlite", lambda path: flip(path, 3)),
    "page": ("sqlite", lambda path: flip(path, 4096, 255)),
    "truncated": ("sqlite", lambda path: truncate(path, 0.6)),
    "other file": ("sqlite", lambda path: path.write_bytes(b"no database " * 1000)),
    "schema": ("sqlite", lambda path: execute(path, "ALTER TABLE pooled RENAME COLUMN layers TO laysrs")),
    "number": ("sqlite", number),
    "half a vector": ("sqlite", lambda path: execute(path, "INSERT INTO pooled VALUES (?, ?)", b"k" * 16, b"short")),
    "other key": ("sqlite", lambda path: execute(path, OTHER_KEY, b"k" * 16)),
    "nothing": ("sqlite", lambda path: execute(path, "UPDATE pooled SET layers = NULL")),
    "text": ("sqlite", lambda path: execute(path, "INSERT INTO pooled VALUES (?, ?)", b"k" * 16, "x" * 96)),
    "encoder, truncated": ("onnx", lambda path: truncate(path, 0.5)),
    "encoder, flipped": ("onnx", lambda path: flip(path, 0, 255)),
    "encoder, empty": ("onnx", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_removed_and_the_others_stay(pooled, damage):
    suffix, harm = DAMAGE[damage]
    assert cache.verify().status == "ok"
    (path,) = pooled.glob(f"*.{suffix}")
    others = set(pooled.iterdir()) - {path}
    harm(path)
    found = cache.verify()
    assert found.status == "repaired" and path.name in found.detail and found.remedy
    assert set(pooled.iterdir()) == others
    assert cache.verify().status == "ok"


def test_the_cache_of_another_version_is_left_to_it(pooled):
    (path,) = pooled.glob("*.sqlite")
    execute(path, "UPDATE pooled SET layers = ?", bytes(96))
    path = path.rename(pooled / path.name.replace(f"-{elmo.VERSION}-", "-3-"))
    assert cache.verify().status == "ok" and path.exists()
    truncate(path, 0.6)
    assert cache.verify().status == "repaired" and not path.exists()


def test_a_value_of_another_type_is_what_it_was(pooled):
    """As one flipped bit makes it: the bytes are the same, and no text."""
    (path,) = pooled.glob("*.sqlite")
    execute(path, "UPDATE pooled SET layers = CAST(layers AS TEXT)")
    assert cache.verify().status == "ok"


def test_vectors_of_maxima_are_whole_too(tiny_elmo):
    folder = modules.cache_directory() / "pooled"
    for pooling in POOLINGS:
        ELMo(str(tiny_elmo), folder, pooling=pooling).pooled_layers(["see you", "at the station at six"])
    found = cache.verify()
    assert found.status == "ok" and len(list(folder.glob("*.sqlite"))) == len(POOLINGS), found


def test_an_entry_in_use_is_left_alone(pooled):
    (path,) = pooled.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN EXCLUSIVE")
        found = cache.verify()
    assert found.status == "warning" and "locked" in found.detail and path.exists()


def test_what_a_killed_process_left_goes_and_what_one_is_writing_stays(pooled):
    """However long ago it began: an ELMo may take hours to be fetched."""
    left = pooled / f".spamcli-{'a' * 32}.onnx"
    with unfinished_folder(pooled) as folder, unfinished(pooled, ".onnx") as file:
        left.write_bytes(b"")
        for path in (folder, file):
            os.utime(path, (0, 0))
        found = cache.verify()
        assert found.status == "repaired" and not left.exists() and folder.exists() and file.exists()


PREDICT = [sys.executable, "-m", "spamcli", "predict", "hello"]


def without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}


def test_predict_keeps_nothing(tmp_path):
    """Nor does ONNX Runtime, whose telemetry is switched off."""
    places = {"HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "cache", "TMPDIR": tmp_path / "tmp"}
    for place in places.values():
        place.mkdir()
    done = subprocess.run(PREDICT, env=without_settings() | places, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\thello\n") and not [path for place in places.values() for path in place.iterdir()]


@needs_strace
@pytest.mark.parametrize("command, asks", [(PREDICT, False), ([sys.executable, "-c", "import socket; socket.socket()"], True)])
def test_predict_sends_nothing(tmp_path, command, asks):
    """It opens no socket but of this machine (AF_UNIX); what does is seen to."""
    watched = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", str(tmp_path / "log")]
    subprocess.run([*watched, *command], env=without_settings(), capture_output=True, check=True)
    assert ("AF_INET" in (tmp_path / "log").read_text()) == asks


def test_a_fetched_module_that_does_not_load_is_removed(tiny_elmo, monkeypatch, tmp_path):
    folder = modules.cache_directory() / "modules"
    good, bad, empty = (folder / (letter * 40) for letter in "abc")
    for place in (good, bad, tmp_path / "hub" / ("d" * 40)):
        shutil.copytree(tiny_elmo, place)
    empty.mkdir()
    weights = bad / "variables" / "variables.data-00000-of-00001"
    flip(weights, weights.stat().st_size // 2)
    (tmp_path / "hub" / ("d" * 40) / "saved_model.pb").write_bytes(b"somebody else's")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert empty.name in cache.verify().detail and good.exists() and bad.exists()
    found = cache.load_modules()
    assert found.status == "repaired" and bad.name in found.detail and "1 in the cache load, with 8" in found.detail
    assert [path.name for path in folder.iterdir()] == [good.name]
    assert (tmp_path / "hub" / ("d" * 40) / "saved_model.pb").read_bytes() == b"somebody else's"


def test_a_fetched_module_that_could_do_more_than_an_elmo_is_neither_run_nor_removed(tmp_path):
    """Its user may have trusted it."""
    import tensorflow as tf

    def tokens(tokens, sequence_len):
        tf.io.write_file(str(tmp_path / "written"), "by a module")
        vectors = tf.cast(tokens != "", tf.float32)[:, :, None]
        return {"word_emb": vectors, "lstm_outputs1": vectors, "lstm_outputs2": vectors}

    module = tf.Module()
    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    module.f = tf.function(tokens, input_signature=spec)
    place = modules.cache_directory() / "modules" / ("e" * 40)
    tf.saved_model.save(module, str(place), signatures={"tokens": module.f})
    found = cache.load_modules()
    assert found.status == "warning" and place.name in found.detail and (place / "saved_model.pb").is_file()
    assert not (tmp_path / "written").exists()


def test_clear_removes_what_spamcli_put_there_and_nothing_else(pooled, tiny_elmo, tmp_path, cli):
    folder, elsewhere = modules.cache_directory(), tmp_path / "elsewhere"
    shutil.copytree(tiny_elmo, folder / "modules" / ("a" * 40))
    shutil.copytree(tiny_elmo, elsewhere)
    (folder / "modules" / ("b" * 40)).symlink_to(elsewhere)
    (pooled / f"mean-{'0' * 32}.sqlite").write_bytes(b"of an older version")
    (folder / "modules" / f".spamcli-{'0' * 32}").mkdir()
    mine = [pooled / "mean-notes.sqlite", pooled / "model.onnx", folder / "modules" / "mine" / "x", folder / "pooled.txt"]
    for path in [*mine, folder.parent / "others" / f"mean-1-{'0' * 32}.sqlite"]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    result = cli("doctor", "--clear")
    assert result.exit_code == 0 and result.stdout.startswith("ok        cache: ") and "removed 6 entries" in result.stdout
    left = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert sorted(left) == sorted([*mine, folder.parent / "others" / f"mean-1-{'0' * 32}.sqlite"])
    assert modules.fingerprint(elsewhere) == modules.fingerprint(tiny_elmo)
    for path in mine:
        path.unlink()
    (folder / "modules" / "mine").rmdir()
    assert statuses(cli("doctor", "--clear", "--json")) == {"cache": "ok"} and not folder.exists()


@pytest.mark.parametrize("part", ["heads", "memory", "model", "wide", "config"])
def test_a_flipped_bit_in_any_file_of_a_model_is_found(own_model, part):
    assert apart(models.model, own_model, True).status == "ok"
    (path,) = own_model.glob(f"{part}*")
    flip(path, path.stat().st_size // 2)
    found = apart(models.model, own_model, False)
    assert (found.status, found.exit_code, found.remedy) == ("failed", 65, "train again") and path.name in found.detail


def test_a_model_that_the_user_named_has_to_be_there(cli, tmp_path):
    found = apart(models.model, tmp_path, True)
    assert (found.status, found.exit_code) == ("failed", 66) and "spamcli train" in found.remedy
    assert apart(models.model, tmp_path, False).status == "missing"
    assert doctor.exit_code([check.Check("missing", ""), found, check.Check("failed", "", exit_code=65)]) == 66


def test_a_model_without_an_onnx_file_is_none_the_worse(own_model):
    edit_config(own_model, lambda config: config["files"].pop("onnx"))
    assert "TensorFlow runs it" in models.on_onnxruntime(own_model).detail


@pytest.mark.slow
def test_of_a_model_in_int8_p_spam_may_move(cli):
    """With its products' scale, which is of all that is in a batch."""
    arguments = ["--data", TINY_MESSAGES, "--recipe", "tutorial", "--epochs", 1, "--quantize", "--model", "int8"]
    assert cli("train", *arguments).exit_code == 0
    found = models.on_onnxruntime(Path("int8"))
    assert found.status == "ok" and "to 0.1 (" in found.detail
    with pytest.raises(UnavailableError, match="move by"):
        models._steady(lambda texts: Runtime(Path("int8")).p_spam(texts)[:, None], "update it")


def test_an_elmo_of_a_url_is_not_fetched(own_model, tiny_elmo):
    edit_config(own_model, lambda config: config["elmo"].update(handle="http://127.0.0.1:9/elmo.tar.gz"))
    assert models.on_tensorflow(own_model, None).status == "missing"
    assert models.on_tensorflow(own_model, str(tiny_elmo)).status == "ok"
    shutil.copytree(tiny_elmo, modules.cache_directory() / "modules" / ("a" * 40))
    assert models.on_tensorflow(own_model, None).status == "ok"


def test_the_elmo_inside_is_as_published(tmp_path):
    """After it was made anew, this test names the constant that has to follow."""
    assert modules.fingerprint(modules.resolve("builtin")) == models.BUILTIN_FINGERPRINT
    shutil.copytree(Path(spamcli.__file__).parent, tmp_path / "spamcli", ignore=shutil.ignore_patterns("__pycache__"))
    weights = tmp_path / "spamcli" / "assets" / "elmo" / "variables" / "variables.data-00000-of-00001"
    code = "from spamcli.doctor import check, models; print(check._done('elmo', models.builtin, (), '').exit_code)"
    for harm, says in ((lambda: None, "0"), (lambda: flip(weights, 5_000_000), "65"), (weights.unlink, "65")):
        harm()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout.strip() == says, done.stderr


def test_the_collection_is_verified(spam_csv, tmp_path):
    path = tmp_path / "a b" / "spam.csv"
    assert models.data(path, named=False).remedy == f"spamcli download -o '{path}'"
    with pytest.raises(NotFoundError, match="spamcli download"):
        models.data(path, named=True)
    path.parent.mkdir()
    shutil.copy(spam_csv, path)
    assert models.data(path, named=False).status == "ok"
    flip(path, 1000)
    with pytest.raises(DataError, match="--force"):
        models.data(path, named=False)
    assert models.data(path, named=True).status == "warning"  # it may be of the user's own making


@pytest.mark.parametrize(
    "company, moves",
    [
        (lambda texts: [0.5 for _ in texts], False),
        (lambda texts: [hash(text) % 7 for text in texts], False),
        (lambda texts: [2e-5 * (texts == list(models.MESSAGES)) for _ in texts], True),
        (lambda texts: [2e-5 * place * (texts[0] == models.MESSAGES[-1]) for place, _ in enumerate(texts)], True),
        (lambda texts: [2e-5 * (models.LONG in texts) for _ in texts], True),
        (lambda texts: [np.nan for _ in texts], True),
    ],
)
def test_numbers_that_move_with_the_company_are_found(company, moves):
    def compute(texts):
        return np.array(company(list(texts)), float)[:, None]

    if not moves:
        assert models._steady(compute, "update it").status == "ok"
        return
    with pytest.raises(UnavailableError, match="; update it"):
        models._steady(compute, "update it")


def test_errors_are_parted_into_what_is_wrong_and_what_to_do():
    assert check.split("m: not there (x; y); name it (or; not)") == ("m: not there (x; y)", "name it (or; not)")
    assert check.split("no advice") == ("no advice", "")
