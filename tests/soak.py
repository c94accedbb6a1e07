"""Two million messages through one process, by a pipe and by a file, and eight processes at once: `make soak`.

Output has to be complete and in order, memory and open descriptors steady; anything else ends with an AssertionError.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
MESSAGES = ROOT / "spamcli" / "assets" / "messages" / "training.csv"
COLLECTION = ROOT / "data" / "spam.csv"
STEADY = 0.05  # by how much memory may differ between the first and the last tenth
TENTHS = 10


def texts(count: int, seed: int = 1) -> Iterator[str]:
    """Messages, most of them new: invented ones, and the collection's where it is there, each with a seeded edit or two."""
    random, known = Random(seed), _known()
    for _ in range(count):
        words = random.choice(known).split() or ["?"]
        for _ in range(random.randint(0, 2)):
            place = random.randrange(len(words))
            words[place] = random.choice(
                [words[place].upper(), words[place][::-1], str(random.randrange(10**6)), "now", "😀", "£5"]
            )
        yield " ".join(words)


def _known() -> list[str]:
    with open(MESSAGES, encoding="utf-8", newline="") as file:
        known = [row["text"] for row in csv.DictReader(file)]
    if COLLECTION.exists():
        with open(COLLECTION, encoding="latin-1", newline="") as file:
            known += [row["v2"] for row in csv.DictReader(file)]
    return known


def command(model: Path, *arguments) -> list[str]:
    return [sys.executable, "-m", "spamcli", "predict", "--model", str(model), *map(str, arguments)]


def state(pid: int) -> tuple[int, int]:
    """Resident kB and open descriptors of a process, as Linux tells."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def numbered(count: int) -> Iterator[bytes]:
    for number, text in enumerate(texts(count)):
        yield json.dumps({"number": number, "text": text}).encode() + b"\n"


def through_a_pipe(model: Path, count: int) -> list[tuple[int, int]]:
    """Returns: memory and descriptors at each tenth of the rows that come out."""
    process = subprocess.Popen(
        command(model, "-f", "-", "--format", "jsonl", "--json"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def feed() -> None:
        with process.stdin as pipe:
            pipe.writelines(numbered(count))

    feeder = threading.Thread(target=feed)
    feeder.start()
    states = _watched(process, process.stdout, count)
    feeder.join()
    assert process.wait() == 0
    return states


def through_a_file(model: Path, count: int, folder: Path) -> list[tuple[int, int]]:
    """The same with a file, whose name says what it is."""
    with open(folder / "in.jsonl", "wb") as file:
        file.writelines(numbered(count))
    process = subprocess.Popen(command(model, "-f", folder / "in.jsonl", "--json"), stdout=subprocess.PIPE)
    states = _watched(process, process.stdout, count)
    assert process.wait() == 0
    return states


def _watched(process: subprocess.Popen, lines, count: int) -> list[tuple[int, int]]:
    states, expected = [], texts(count)
    for number, (line, text) in enumerate(zip(lines, expected, strict=True)):
        row = json.loads(line)
        assert row["number"] == number and row["text"] == text and 0 <= row["p_spam"] <= 1, f"row {number}: {row}"
        if (number + 1) % (count // TENTHS) == 0 and number + 1 < count:  # at the end it may be gone
            states.append(state(process.pid))
    return states


def check_steady(states: list[tuple[int, int]]) -> None:
    memory, descriptors = zip(*states)
    assert abs(memory[-1] - memory[0]) <= STEADY * memory[0], f"kB at each tenth: {memory}"
    assert max(descriptors) == descriptors[0], f"descriptors at each tenth: {descriptors}"  # the input's own goes at its end


def at_once(model: Path, count: int, processes: int, folder: Path) -> None:
    """Several processes on the same messages end and agree."""
    (folder / "same.txt").write_text("\n".join(texts(count, seed=2)) + "\n", encoding="utf-8")
    running = [subprocess.Popen(command(model, "-f", folder / "same.txt"), stdout=subprocess.PIPE) for _ in range(processes)]
    outputs = [None] * processes
    readers = [threading.Thread(target=_read, args=(process, outputs, place)) for place, process in enumerate(running)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert all(process.wait() == 0 for process in running)
    rows = [[line.split("\t") for line in output.decode().splitlines()] for output in outputs]
    for row in rows:
        assert len(row) == count and [fields[2] for fields in row] == [fields[2] for fields in rows[0]]
        assert all(abs(float(ours[1]) - float(first[1])) <= 1e-3 for ours, first in zip(row, rows[0]))


def _read(process: subprocess.Popen, outputs: list, place: int) -> None:
    outputs[place] = process.stdout.read()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model", type=Path)
    options.add_argument("--messages", type=int, default=2_000_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for what, run in {
            "pipe": lambda: through_a_pipe(given.model, given.messages),
            "file": lambda: through_a_file(given.model, given.messages, Path(folder)),
        }.items():
            start = time.perf_counter()
            states = run()
            print(
                f"{what}: {given.messages / (time.perf_counter() - start):,.0f} messages/s, kB and descriptors {states}",
                flush=True,
            )
            check_steady(states)
        at_once(given.model, given.messages // 100, 8, Path(folder))
        print("eight at once agree")


if __name__ == "__main__":
    main()
