"""The `predict` part of `make bench`: files of messages through whole commands, beside a character SVM from a joblib file.

python tests/bench_predict.py MODEL FOLDER [--messages N] [--rounds N] [--alone]   # a folder to work in; prints one JSON object

Not alone, the same model in int8, and where the verdict alone is asked for, and the SVM are measured beside it. The machine's
matrix-product limit is taken again after each round; the share of it is the median of the rounds.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import median

ROOT = Path(__file__).parents[1]
COLLECTION = ROOT / "data" / "spam.csv"
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


def messages(count: int) -> Iterator[str]:
    """The collection's messages, each time with another small edit, so that none comes twice."""
    from spamcli.messages import read_messages

    random, known = Random(1), read_messages(COLLECTION).frame["text"].tolist()
    for number in range(count):
        words = known[number % len(known)].split() or ["?"]
        words.insert(random.randrange(len(words) + 1), str(number))
        yield " ".join(words)


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


def prepare(model: Path, folder: Path) -> None:
    """What is measured beside it: the model in int8; the tuned character SVM, of the tutorial's rows, in a joblib file."""
    import joblib

    from spamcli import conversion, model_dir
    from spamcli.baselines import fit_baseline
    from spamcli.messages import read_messages
    from spamcli.protocols import near_copy_groups, split

    train = split(read_messages(COLLECTION), "tutorial", 1).train
    texts, groups = train["text"].tolist(), near_copy_groups(train["text"].tolist())
    joblib.dump(fit_baseline("chars", texts, train["label"].to_numpy(), groups, 1).estimator, folder / "svm.joblib")
    trained = model_dir.load(model)
    onnx = conversion.convert(trained.elmo, trained.classifier, texts, None, "int8")
    model_dir.save(replace(trained, onnx=onnx), folder / "int8")


def write_messages(path: Path, count: int) -> int:
    """How many tokens they have."""
    from spamcli.characters import split_punctuation

    tokens = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        for text in messages(count):
            writer.writerow([text])
            tokens += len(split_punctuation(text))
    return tokens


def product_limit() -> float:
    import bench_elmo

    return bench_elmo.product_limit("float32")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model", type=Path)
    options.add_argument("folder", type=Path)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--alone", action="store_true")
    given = options.parse_args()
    many, out = given.folder / "many.csv", given.folder / "out.csv"

    def predict(model: Path, *options) -> tuple[float, float]:
        return timed([sys.executable, "-m", "spamcli", "predict", "--model", model, "-f", many, "-o", out, *options])

    # In processes of their own: what this one holds would count as memory of those that it starts.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as apart:
        found = {"messages": given.messages, "tokens": apart.apply(write_messages, [many, given.messages])}
        rounds = [(*predict(given.model), apart.apply(product_limit)) for _ in range(given.rounds)]
        expected = labels(out)
        assert len(expected) == given.messages
        if not given.alone:
            apart.apply(prepare, [given.model, given.folder])
            found["verdict only"], alone = predict(given.model, "--verdict-only"), labels(out)
            found["int8"], smaller = predict(given.folder / "int8"), labels(out)
            found["svm"] = timed([sys.executable, "-c", SVM, ROOT, given.folder / "svm.joblib", many, out])
            found["verdict only differs"] = sum(a != b for a, b in zip(expected, alone, strict=True))
            found["int8 differs"] = sum(a != b for a, b in zip(expected, smaller, strict=True))
    seconds, megabytes, limits = zip(*rounds)
    found["float32"] = median(seconds), max(megabytes)
    found["share"] = median(found["tokens"] * FLOP / each / limit for each, limit in zip(seconds, limits))
    found["rounds"] = rounds
    print(json.dumps(found))


if __name__ == "__main__":
    main()
