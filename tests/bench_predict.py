"""The `predict` part of `make bench`: files of messages through whole commands, beside a character SVM from a joblib file.

python tests/bench_predict.py MODEL FOLDER [--messages N] [--int8 MODEL]   # a folder to work in; prints one JSON object

With --int8, the same in int8, also what else is put beside the model.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
FLOP = 2 * 2 * 2 * (8 * 512 * 256 + 512 * 256)  # of a token: product and sum, directions, layers; without the char-CNN
SVM = """
import csv, sys, joblib
sys.path.insert(0, sys.argv[1])
pipeline = joblib.load(sys.argv[2])
with open(sys.argv[3], encoding="utf-8", newline="") as file, open(sys.argv[4], "w", encoding="utf-8", newline="") as out:
    rows, writer = csv.DictReader(file), csv.writer(out)
    while window := [row for _, row in zip(range(2048), rows)]:
        scores = pipeline.decision_function([row["text"] for row in window])
        writer.writerows([row["text"], "spam" if score > 0 else "ham", score] for row, score in zip(window, scores))
"""


def messages(count: int) -> list[str]:
    """The collection's messages, each time with another small edit, so that none comes twice."""
    sys.path.insert(0, str(ROOT))
    from spamcli.messages import read_messages

    random, known = Random(1), read_messages(ROOT / "data" / "spam.csv").frame["text"].tolist()
    edited = []
    for number in range(count):
        words = known[number % len(known)].split() or ["?"]
        words.insert(random.randrange(len(words) + 1), str(number))
        edited.append(" ".join(words))
    return edited


def timed(command: list) -> tuple[float, float]:
    """Wall-clock seconds of a command, and its peak resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def labels(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


def train_svm(folder: Path) -> Path:
    """The tuned character SVM, trained on the tutorial's rows, in a file as its users keep it."""
    import joblib

    from spamcli.baselines import fit_baseline
    from spamcli.messages import read_messages
    from spamcli.protocols import near_copy_groups, split

    train = split(read_messages(ROOT / "data" / "spam.csv"), "tutorial", 1).train
    texts, groups = train["text"].tolist(), near_copy_groups(train["text"].tolist())
    joblib.dump(fit_baseline("chars", texts, train["label"].to_numpy(), groups, 1).estimator, folder / "svm.joblib")
    return folder / "svm.joblib"


def main() -> None:
    from bench_elmo import product_limit

    from spamcli.characters import split_punctuation

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("folder", type=Path)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--int8")
    given = options.parse_args()
    folder, texts = given.folder, messages(given.messages)
    with open(folder / "many.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])

    def predict(directory: str, *options) -> tuple[float, float]:
        command = [sys.executable, "-m", "spamcli", "predict", "--model", directory, "-f", folder / "many.csv", *options]
        return timed([*command, "-o", folder / "out.csv"])

    found = {"messages": len(texts), "tokens": sum(len(split_punctuation(text)) for text in texts)}
    found["float32"], expected = predict(given.model), labels(folder / "out.csv")
    assert len(expected) == len(texts)
    found["limit"] = product_limit("float32")
    found["share"] = found["tokens"] * FLOP / found["float32"][0] / found["limit"]
    if given.int8:
        found["verdict only"], alone = predict(given.model, "--verdict-only"), labels(folder / "out.csv")
        found["int8"], smaller = predict(given.int8), labels(folder / "out.csv")
        found["svm"] = timed([sys.executable, "-c", SVM, ROOT, train_svm(folder), folder / "many.csv", folder / "svm.csv"])
        found["verdict only differs"] = sum(a != b for a, b in zip(expected, alone, strict=True))
        found["int8 differs"] = sum(a != b for a, b in zip(expected, smaller, strict=True))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
