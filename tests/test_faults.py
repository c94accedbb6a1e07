"""Killed, without room, where nothing may be written, two at once: the old result or the new one is there, whole."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import faults
import pytest
from conftest import needs_strace
from writing_verbs import make_inputs, run, verbs

from spamcli.elmo import PooledCache

pytestmark = [pytest.mark.slow, needs_strace]
SEED = 42
RENAMES = {"import": 6, "train": 7, "pretrain": 3, "evaluate": 1}  # of the many points that are slow to try: these, at least
SYNCS = {"import": 9, "train": 6, "pretrain": 14, "evaluate": 1}  # at these the last file that a program reads is written
VERBS = {verb.name: verb for verb in verbs()}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, spam_csv):
    return make_inputs(tmp_path_factory.mktemp("inputs"), spam_csv)


@pytest.fixture
def trials(verb, inputs, tmp_path):
    return faults.Trials(verb, inputs, tmp_path / "box")


def plain_box(inputs, folder: Path) -> Path:
    shutil.copytree(inputs, folder / "here")
    return folder


@every_verb
def test_a_kill_loses_nothing(trials, verb):
    """At some of its calls; `make faults` tries more."""
    if verb.name in RENAMES:
        points = [faults.Point("rename", random.Random(SEED).randint(1, RENAMES[verb.name]), "")]
    else:
        trials.record()
        points = faults.sample(trials.points, 3, SEED)
    for point in points:
        result = trials.tried(faults.KILLED, point)
        assert result["code"] == -signal.SIGKILL and not result["wrong"], result


@every_verb
def test_a_disk_that_is_full_loses_nothing(trials, verb):
    """At some of its calls."""
    if verb.name in SYNCS:
        points = [faults.Point("fsync", SYNCS[verb.name], "")]
    else:
        trials.record()
        points = faults.sample([point for fault, point in trials.faults() if fault == faults.FULL], 3, SEED)
    for point in points:
        result = trials.tried(faults.FULL, point)
        assert (result["hit"] or result["code"] == 74) and not result["wrong"], result


@pytest.mark.parametrize("verb", [VERBS["pretrain"]], ids=["pretrain"])
def test_pretrain_that_had_only_its_checkpoint_left_to_delete(trials, verb):
    box = trials.box()
    only = ["-P", "elmo.checkpoint.npz", "-e", "trace=unlink,unlinkat", "-e", "inject=unlink,unlinkat:signal=SIGKILL"]
    killed = run(box, verb.arguments, ["strace", "-f", "-qq", "-o", os.devnull, *only])
    assert killed.returncode == -signal.SIGKILL and (box / "here" / "elmo").is_dir()
    again = run(box, verb.arguments)
    assert again.returncode == 0 and "perplexity" in again.stdout, again.stderr
    assert trials.seen() == "new" and not trials.left()


@every_verb
def test_files_that_cannot_grow(trials, verb):
    """No file may have more than 300 bytes, which is what the system says of a full disk, too, at another number."""
    done = run(trials.box(), verb.arguments, ["prlimit", "--fsize=300:300"])
    assert done.returncode == 74 and trials.seen() == "old", done.stderr
    assert not trials.after_full_disk(done)


@every_verb
def test_a_folder_that_is_read_only(trials, verb):
    box = trials.box()
    before = faults.listing(box)
    folders = [box / "here", *(path for path in (box / "here").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    done = run(box, verb.arguments, ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else [])
    for folder in folders:
        folder.chmod(0o755)
    assert done.returncode == 74 and trials.seen() == "old" and before == faults.listing(box), done.stderr
    assert done.stderr.startswith("spamcli: ") and done.stderr.count("\n") == 1 and done.stdout == ""


@every_verb
def test_no_home_and_no_temporary_folder(trials, verb):
    """They name what is no folder and cannot become one."""
    nowhere = ["env", "-u", "XDG_CACHE_HOME", f"HOME={os.devnull}", f"TMPDIR={os.devnull}"]
    done = run(trials.box(), verb.arguments, nowhere)
    assert done.returncode == 0 and trials.seen() == "new" and not trials.left(), done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("no cache can be kept") <= 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_nobody_who_has_no_home_has_no_cache():
    code = "import os; from spamcli import elmo, modules; os.environ.pop('HOME', 0); os.environ.pop('XDG_CACHE_HOME', 0)\n"
    code += "os.setuid(54321); print(elmo.open_cache(modules.cache_directory(), '0' * 64))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "None\n" and "no cache can be kept there" in done.stderr, done.stderr


def two_at_once(box: Path, first: list[str], second: list[str], rename: int, partial: str) -> None:
    """The first waits before its `rename`-th rename, which would move `partial`, until the second is probably done."""
    wait = f"strace -f -qq -o {os.devnull} -e trace=rename -e inject=rename:delay_enter=15000000:when={rename}".split()
    with ThreadPool(1) as pool:
        waiting = pool.apply_async(run, (box, first, wait))
        deadline = time.monotonic() + 120
        while not list((box / "here").glob(partial)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list((box / "here").glob(partial))
        both = [run(box, second), waiting.get()]
    assert [(done.returncode, done.stderr) for done in both] == [(0, "")] * 2


def test_two_downloads_at_once(inputs, tmp_path):
    box = plain_box(inputs, tmp_path / "box")
    two_at_once(box, VERBS["download"].arguments, VERBS["download"].arguments, 1, "data/.spamcli-*")
    assert os.listdir(box / "here" / "data") == ["spam.csv"] and VERBS["download"].state(box / "here") == "new"


def test_two_trainings_at_once(inputs, tmp_path):
    """With one cache and one model directory, both empty; whichever model is there at the end is whole, and has its card."""
    box = plain_box(inputs, tmp_path / "box")
    shutil.rmtree(box / "here" / "model")
    seeds = [["train", *f"--data tiny.csv --elmo module --epochs 1 --seed {seed} --model model".split()] for seed in (1, 2)]
    two_at_once(box, *seeds, 6, "model/.spamcli-*.json")
    names = faults.listing(box)
    assert VERBS["train"].state(box / "here") in ("old", "new") and (box / "here" / "model" / "README.md").exists()
    assert set(names.values()) == {1} and not [name for name in names if "/." in name], names


KEEP = """\
import sys
import numpy as np
from pathlib import Path
from spamcli.elmo import PooledCache
cache, own = PooledCache(Path("cache.sqlite")), int(sys.argv[1])
for number in range(own, own + 200):
    cache.write({str(number): np.full([3, 4], number)})
"""


def test_two_writers_of_one_cache(tmp_path):
    """Half of what each writes, the other writes as well."""
    both = [subprocess.Popen([sys.executable, "-c", KEEP, str(first)], cwd=tmp_path) for first in (0, 100)]
    assert [process.wait(120) for process in both] == [0, 0]
    kept = PooledCache(tmp_path / "cache.sqlite").read([str(number) for number in range(300)])
    assert len(kept) == 300 and all((layers == int(text)).all() for text, layers in kept.items())


def test_a_cache_whose_writer_is_killed_in_its_midst_is_nobodys(tmp_path):
    cache = PooledCache(tmp_path / "cache.sqlite")
    code = "import sqlite3, sys; database = sqlite3.connect('cache.sqlite'); database.execute('BEGIN EXCLUSIVE')\n"
    code += "database.execute('INSERT INTO pooled VALUES (1, 1)'); print('locked', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **pipes)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(sqlite3.OperationalError), sqlite3.connect(tmp_path / "cache.sqlite", timeout=0.1) as database:
        database.execute("SELECT * FROM pooled").fetchall()
    process.kill()
    process.communicate()
    started = time.monotonic()
    assert cache.read(["1"]) == {} and time.monotonic() - started < 10
