"""What is being written: hidden, whole or not at all, swept when its writer is dead and never before."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from spamcli.errors import WriteError
from spamcli.files import destination, finish, finish_folder, unfinished, unfinished_folder

WRITER = """\
import sys
from pathlib import Path
from spamcli.files import unfinished, unfinished_folder
with {kind} as path:
    ({content}).write_text("half")
    print(path, flush=True)
    sys.stdin.read()
"""
KINDS = {
    "file": WRITER.format(kind='unfinished(Path("."), ".txt")', content="path"),
    "folder": WRITER.format(kind='unfinished_folder(Path("."))', content='path / "half.txt"'),
}


@pytest.fixture
def writer(tmp_path):
    """Starts another process that writes in tmp_path until it is killed, or its standard input ends: its Popen, its path."""
    started = []

    def start(kind: str) -> tuple[subprocess.Popen, Path]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", KINDS[kind]], cwd=tmp_path, **pipes))
        return started[-1], tmp_path / started[-1].stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def write_another(folder: Path) -> None:
    with unfinished(folder, ".csv") as path:
        path.write_text("whole")
        finish(path, folder / "final.csv")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_live_writer_writes_is_left_alone_and_what_a_dead_one_left_is_swept(tmp_path, writer, kind):
    process, path = writer(kind)
    assert path.name.startswith(".spamcli-")
    write_another(tmp_path)
    assert path.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    write_another(tmp_path)
    assert os.listdir(tmp_path) == ["final.csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_that_ends_leaves_nothing(tmp_path, writer, kind):
    process, path = writer(kind)
    process.communicate()
    assert process.returncode == 0 and not path.exists() and not os.listdir(tmp_path)


def test_a_folder_is_moved_whole(tmp_path):
    with unfinished_folder(tmp_path) as path:
        (path / "a.txt").write_text("a")
        (path / "b").mkdir()
        finish_folder(path, tmp_path / "final")
    assert (tmp_path / "final" / "a.txt").read_text() == "a" and os.listdir(tmp_path) == ["final"]


def test_a_file_has_the_permissions_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_another(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "final.csv").stat().st_mode & 0o777 == 0o640


def test_other_hidden_files_and_links_are_nobodys_to_sweep(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".hidden").write_text("mine")
    (folder / ".spamcli-link").symlink_to(elsewhere)
    (folder / f".spamcli-{'0' * 32}").symlink_to(elsewhere)
    (folder / ".spamcli-notes.md").write_text("mine")
    (folder / ".spamcli-venv").mkdir()
    os.mkfifo(folder / ".spamcli-pipe")
    os.mkfifo(folder / f".spamcli-{'1' * 32}")  # would keep whoever opens it waiting for a writer
    write_another(folder)
    assert (elsewhere / "mine.txt").exists()
    mine = {".hidden", ".spamcli-link", f".spamcli-{'0' * 32}", ".spamcli-notes.md", ".spamcli-venv", ".spamcli-pipe"}
    assert set(os.listdir(folder)) == mine | {"final.csv"}


def test_who_may_read_a_file_may_read_what_replaces_it(tmp_path):
    (tmp_path / "final.csv").write_text("old")
    (tmp_path / "final.csv").chmod(0o600)
    write_another(tmp_path)
    assert (tmp_path / "final.csv").read_text() == "whole" and (tmp_path / "final.csv").stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_where_it_is_not_where_a_link_to_it_is(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to("there/final.csv")
    assert destination(tmp_path / "link.csv", "") == tmp_path / "there" / "final.csv"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    for path in ("there", "pipe", "link-to-pipe"):
        with pytest.raises(WriteError, match="is not a file; do otherwise"):
            destination(tmp_path / path, "do otherwise")


def test_many_writers_at_once_sweep_nothing_of_each_other(tmp_path):
    """A lock is held by who opened the file, so threads are to each other what processes are."""

    def write(number: int) -> None:
        for _ in range(50):
            with unfinished(tmp_path, ".txt") as path, unfinished_folder(tmp_path) as folder:
                path.write_text(str(number))
                (folder / "part").write_text(str(number))
                finish(path, tmp_path / f"{number}.txt")
                assert (folder / "part").read_text() == str(number)

    with ThreadPool(8) as pool:
        pool.map(write, range(8))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {f"{n}.txt": str(n) for n in range(8)}


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    for write in (lambda: unfinished(tmp_path / "no", ".csv"), lambda: unfinished_folder(tmp_path / "no")):
        with pytest.raises(FileNotFoundError), write():
            pass


ENTERS = """\
import sys
from pathlib import Path
from spamcli.files import alone
print("outside", flush=True)
with alone(Path(".")):
    Path(sys.argv[1]).touch()
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_and_no_lock_outlives_its_process(tmp_path):
    """Somebody who waits goes on as soon as the one who was inside is killed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    first, second = (subprocess.Popen([sys.executable, "-c", ENTERS, name], **pipes) for name in ("first", "second"))
    assert [process.stdout.readline() for process in (first, second)] == ["outside\n"] * 2
    (entered,) = wait_for(tmp_path, 1)
    time.sleep(0.5)
    assert os.listdir(tmp_path) == [entered]
    (first if entered == "first" else second).kill()
    assert len(wait_for(tmp_path, 2)) == 2
    for process in (first, second):
        process.communicate()


def wait_for(folder: Path, count: int) -> list[str]:
    """What is there as soon as it is so much."""
    deadline = time.monotonic() + 30
    while len(os.listdir(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.listdir(folder)
