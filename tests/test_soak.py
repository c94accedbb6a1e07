"""The short form of `make soak`: complete, in order, nothing left open."""

import subprocess
from pathlib import Path

import pytest

from soak import at_once, command, state, texts, through_a_file, through_a_pipe  # isort: skip

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells of processes there")
SHORT = 10_000  # messages each way


def test_messages_are_seeded_and_mostly_new():
    first = list(texts(2000))
    assert first == list(texts(2000)) != list(texts(2000, seed=2))
    assert len(set(first)) > 1000 and all(first)


@pytest.mark.slow
def test_many_messages_by_a_pipe_and_by_a_file(model, tmp_path):
    """So few fill what is remembered only in part, so memory still grows, by less than what they are; nothing stays open."""
    for states in (through_a_pipe(model, SHORT), through_a_file(model, SHORT, tmp_path)):
        memory, descriptors = zip(*states)
        assert max(descriptors) == descriptors[0]
        assert memory[-1] - memory[0] < 60_000  # kB


@pytest.mark.slow
def test_eight_processes_at_once_agree(model, tmp_path):
    at_once(model, 500, 8, tmp_path)


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_process(model, tmp_path):
    """Nobody reads any more: it does not go on, and leaves no traceback."""
    (tmp_path / "in.txt").write_text("\n".join(texts(SHORT)) + "\n", encoding="utf-8")
    process = subprocess.Popen(command(model, "-f", tmp_path / "in.txt"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() and state(process.pid)[1] > 2
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
