"""What the README quotes, measured: `make bench`, on an idle machine. Each line: what, the number, what it must reach."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEEDS = range(1, 6)
CLASSIFIER = ROOT / "spamcli" / "assets" / "classifier"


def spamcli(*arguments, cache: Path, folder: Path) -> tuple[float, str]:
    """Seconds of the whole command, and what it printed."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "spamcli", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPAMCLI_", "TFHUB_"))}
    environment = {**clean, "XDG_CACHE_HOME": str(cache), "SPAMCLI_DATA": str(ROOT / "data" / "spam.csv")}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def show(what: str, number: str, must: str) -> None:
    print(f"| {what} | {number} | {must} |", flush=True)


def median(values) -> str:
    values = sorted(values)
    return f"{statistics.median(values):.2f} s ({values[0]:.2f} to {values[-1]:.2f}, {len(values)} runs)"


def times(folder: Path) -> None:
    """Whole commands, from a shell's point of view."""
    cold = [spamcli("train", cache=folder / f"cold{i}", folder=folder)[0] for i in range(3)]
    show("`spamcli train`, empty caches", median(cold), "60 s")
    cached = [spamcli("train", cache=folder / "cold0", folder=folder)[0] for _ in range(3)]
    show("`spamcli train`, features cached", median(cached), "15 s")
    evaluated = [spamcli("evaluate", cache=folder / "cold0", folder=folder)[0] for _ in range(3)]
    show("`spamcli evaluate`, features cached", median(evaluated), "8 s")
    folds = [spamcli("evaluate", "--folds", 5, cache=folder / "cold0", folder=folder)[0] for _ in range(3)]
    show("`spamcli evaluate --protocol grouped --folds 5`, features cached", median(folds), "60 s")
    beside = [spamcli("evaluate", "--baseline", cache=folder / "cold0", folder=folder)[0] for _ in range(3)]
    show("`spamcli evaluate --baseline`, tutorial", median(beside), "60 s")
    predicted = [spamcli("predict", "Call now", "--model", CLASSIFIER, cache=folder, folder=folder)[0] for _ in range(10)]
    show('`spamcli predict "text"`, the classifier inside the package', median(predicted), "0.35 s")
    for option in ("--help", "--version"):
        show(f"`spamcli {option}`", median(spamcli(option, cache=folder, folder=folder)[0] for _ in range(10)), "0.15 s")


def accuracies(folder: Path) -> None:
    """The protocols' test rows, five seeds each, and what is decided by: folds, beside the tuned baselines."""
    for what, options, must in (
        ("default", [], "98.6 %"),
        ("`--recipe tutorial`", ["--recipe", "tutorial"], ""),
        ("`--recipe tutorial --epochs 1`, what the tutorial did", ["--recipe", "tutorial", "--epochs", 1], "98.03 %"),
        ("default, protocol almeida2011 (3,900 test messages)", ["--protocol", "almeida2011"], ""),
    ):
        results = []
        for seed in SEEDS:
            printed = spamcli("train", "--seed", seed, "--json", *options, cache=folder / "cold0", folder=folder)[1]
            results.append(json.loads(printed))
        errors = ", ".join(str(result["errors"]) for result in results)
        accuracy, unseen = (statistics.mean(r["accuracy"] for r in rows) for rows in (results, [r["unseen"] for r in results]))
        show(f"{what}, mean of 5 seeds", f"{accuracy:.2%} (seeds 1 to 5: {errors} errors; unseen only {unseen:.2%})", must)
        print(f"<!-- {results[0]['fingerprint']} -->")
    for options in ([], ["--static", "none"], ["--recipe", "tutorial"]):
        spamcli("train", *options, cache=folder / "cold0", folder=folder)
        beside = [] if options else ["--baseline"]
        seconds, printed = spamcli("evaluate", "--folds", 5, "--repeats", 3, *beside, cache=folder / "cold0", folder=folder)
        print(f"\n`train {' '.join(options)}`, `evaluate --folds 5 --repeats 3` ({seconds:.0f} s)\n\n{printed}")


def throughput(folder: Path) -> None:
    """100,000 messages, CSV to CSV, with the classifier inside the package, and with the same in int8; a million with it."""

    def predicted(*options) -> dict:
        command = [sys.executable, ROOT / "tests" / "bench_predict.py", CLASSIFIER, folder, *map(str, options)]
        printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(printed.splitlines()[-1])

    found = predicted()
    for name, must in (("float32", "500/s, 500 MB"), ("int8", "1,200/s"), ("verdict only", "5,000/s"), ("svm", "")):
        seconds, megabytes = found[name]
        show(f"{found['messages']:,} messages, {name}", f"{found['messages'] / seconds:,.0f}/s, {megabytes:.0f} MB", must)
    show("float32: its share of the matrix-product limit, LSTMs alone", f"{found['share']:.0%}", "55 %")
    show("verdicts that differ: verdict only, int8", f"{found['verdict only differs']}, {found['int8 differs']}", "0, 0.1 %")
    million = predicted("--messages", 1_000_000, "--rounds", 1, "--alone")
    seconds, megabytes = million["float32"]
    figures = f"{million['messages'] / seconds:,.0f}/s, {million['share']:.0%} of the limit, {megabytes:.0f} MB"
    show(f"{million['messages']:,} messages, float32", figures, "55 %, 500 MB")


def elmo(*arguments) -> dict:
    """A measurement of bench_elmo.py, in a process of its own."""
    command = [sys.executable, ROOT / "tests" / "bench_elmo.py", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def pretraining() -> None:
    found = elmo("pretraining")
    what = f"pretraining, 512 cells, 256 projection, {found['vocabulary']:,} words of softmax, invented text"
    show(what, f"{found['tokens/s']:,.0f} tokens/s", "4,500 tokens/s")
    show("its share of the bfloat16 matrix-product limit", f"{found['share']:.0%} of {found['limit'] / 1e9:,.0f} GFLOP/s", "")
    show("its peak memory, TensorFlow's and the text's included", f"{found['GB']:.1f} GB", "")


def encoding() -> None:
    found = elmo("encoding")
    share = f"float32 limit {found['limit'] / 1e9:,.0f} GFLOP/s"
    show(f"the whole collection through the built-in ELMo, warm; {share}", median(found["seconds"]), "10 s")


def imported(folder: Path) -> None:
    """Random weights of ELMo's original size: our module, the TF1-format graph with the same batches, simple-elmo 0.9.2."""
    found = elmo("imported", folder)
    seconds = found["seconds"]

    def ratio(theirs: str, ours: str) -> str:
        ratios = [a / b for a, b in zip(seconds[theirs], seconds[ours])]
        pairs = ", ".join(f"{a:.0f} s / {b:.0f} s" for a, b in zip(seconds[theirs], seconds[ours]))
        return f"{statistics.median(ratios):.1f}x ({pairs})"

    show("ELMo's size, imported, 600 messages: simple-elmo 0.9.2 / ours", ratio("simple-elmo", "float32"), "4x")
    show("largest difference of the pooled layers", f"{found['difference']:.0e}", "1e-4")
    show("the same: TF1-format graph / ours in float32", ratio("tf1", "float32"), "1.2x")
    show("the same: TF1-format graph / ours in bfloat16", ratio("tf1", "bfloat16"), "1.8x")
    show("bfloat16's error, relative root mean square", f"{found['bfloat16 error']:.1e}", "")


def original_size(folder: Path) -> None:
    """A module of google/elmo's size with random weights, in the TF1 format: ours against batches of 60 in file order."""
    module = folder / "original"
    subprocess.run([sys.executable, ROOT / "tests" / "tf1_elmo.py", module], check=True, capture_output=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import bench; bench.compare(sys.argv[2])"
    done = subprocess.run([sys.executable, "-c", code, ROOT / "tests", module], check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    ratios = [naive / ours for naive, ours in zip(result["naive"], result["ours"])]
    pairs = ", ".join(f"{naive:.0f} s / {ours:.0f} s" for naive, ours in zip(result["naive"], result["ours"]))
    show(
        "google/elmo's size, 600 messages, against batches of 60 in file order",
        f"{statistics.median(ratios):.1f}x ({pairs})",
        "2x",
    )
    show("its peak memory above the loaded module after one call", f"{result['extra']:.2f} GB", "0.5 GB")
    show("largest difference of the vectors", f"{result['difference']:.0e}", "1e-5")


def compare(module: str, runs: int = 3) -> None:
    """In a process of its own: prints seconds of each run, extra peak memory in GB, largest difference."""
    import numpy as np
    import tensorflow as tf

    from spamcli.elmo import ELMo
    from spamcli.messages import read_messages

    texts = read_messages(ROOT / "data" / "spam.csv").frame["text"].tolist()[:600]
    elmo = ELMo(module)
    elmo.pooled_layers(["hello world"])
    before = _peak()
    elmo.pooled_layers(texts)
    extra = _peak() - before

    def naive():
        pooled = []
        for start in range(0, len(texts), 60):
            tokens = [elmo.tokenize(text) for text in texts[start : start + 60]]
            lengths = [len(message) for message in tokens]
            padded = tf.constant([message + [""] * (max(lengths) - len(message)) for message in tokens])
            out = elmo.signature(tokens=padded, sequence_len=tf.constant(lengths))
            pooled += [out["elmo"][i, :length].numpy().mean(axis=0) for i, length in enumerate(lengths)]
        return np.stack(pooled)

    seconds = {"naive": [], "ours": []}
    for _ in range(runs):
        start = time.perf_counter()
        theirs = naive()
        seconds["naive"].append(time.perf_counter() - start)
        start = time.perf_counter()
        ours = elmo.pooled_layers(texts).mean(axis=1)
        seconds["ours"].append(time.perf_counter() - start)
    print(json.dumps({**seconds, "extra": extra, "difference": float(np.abs(ours - theirs).max())}))


def _peak() -> float:
    """Peak resident memory of this process so far, in GB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def main() -> None:
    print(f"Measured on {date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}.\n")
    print("| what | measured | must reach |\n|---|---|---|")
    builtin = ROOT / "spamcli" / "assets" / "elmo"
    size = sum(path.stat().st_size for path in builtin.rglob("*") if path.is_file())
    show("built-in ELMo in the package", f"{size / 1e6:.1f} MB", "25 MB")
    with tempfile.TemporaryDirectory() as folder:
        times(Path(folder))
        accuracies(Path(folder))
        throughput(Path(folder))
        original_size(Path(folder))
        pretraining()
        encoding()
        imported(Path(folder))


if __name__ == "__main__":
    main()
