"""The ELMo part of `make bench`: pretraining, encoding, imported weights. Each measurement is a process of its own.

python tests/bench_elmo.py pretraining | encoding | imported FOLDER | simple_elmo FOLDER   # prints one JSON object
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROOT = Path(__file__).parents[1]
OPTIONS = {
    "lstm": {"cell_clip": 3, "proj_clip": 3, "dim": 4096, "projection_dim": 512, "n_layers": 2, "use_skip_connections": True},
    "char_cnn": {
        "embedding": {"dim": 16},
        "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
        "n_highway": 2,
        "n_characters": 262,
        "max_characters_per_token": 50,
        "activation": "relu",
    },
}
FIRST_BATCH = 32  # messages of simple-elmo's batches; it carries state from one to the next, so only the first is exact


def messages(number: int | None = None) -> list[str]:
    from spamcli.messages import read_messages

    return read_messages(ROOT / "data" / "spam.csv").frame["text"].tolist()[:number]


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Of this process so far, resident, in GB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def product_limit(dtype: str, size: int = 4096) -> float:
    """FLOP/s of a large matrix product, the best of five."""
    import tensorflow as tf

    a, product = tf.cast(tf.random.normal([size, size]), dtype), tf.function(lambda x: tf.matmul(x, x))
    product(a)
    return 2 * size**3 / min(seconds(lambda: product(a).numpy()) for _ in range(5))


def pretraining() -> dict:
    """Tokens a second at the built-in ELMo's size, of invented text: 45,000 lines, some words frequent and most rare."""
    from spamcli.bilm.corpus import build, hold_out
    from spamcli.bilm.model import BiLMConfig
    from spamcli.bilm.reading import read_text
    from spamcli.bilm.training import Pretraining
    from spamcli.settings import PretrainingSettings

    random, config, settings = np.random.default_rng(0), BiLMConfig(), PretrainingSettings()
    letters, lengths = np.array(list("etaoinshrdlucmfwypvbgkqjxz")), random.integers(2, 12, 60_000)
    words = ["".join(random.choice(letters, length)) for length in lengths]
    ranks = (random.pareto(0.5, 900_000) * 20).astype(int) % len(words)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        ends = np.cumsum(random.integers(4, 36, 45_000))
        file.writelines(" ".join(words[k] for k in part) + "\n" for part in np.split(ranks, ends[ends < len(ranks)]))
        file.flush()
        text = read_text([file.name])
    limits = settings.max_message_tokens, settings.vocabulary, settings.min_sources
    corpus = build(text, config.tokenizer, config.max_characters, *limits)
    training = Pretraining(config, settings, corpus.counts)
    speed = training.speed(hold_out(corpus, settings.held_out, 1)[0], seconds=60)
    weights = config.lstm_layers * (8 * config.cells * config.projection + config.cells * config.projection)
    flop = 3 * 2 * 2 * (weights + settings.samples * config.projection)  # forward and twice back; product and sum; directions
    limit = product_limit("bfloat16")
    return {
        "tokens/s": speed,
        "share": speed * flop / limit,
        "limit": limit,
        "vocabulary": len(corpus.counts),
        "GB": peak_memory(),
    }


def encoding() -> dict:
    """The whole collection through the built-in ELMo, warm."""
    from spamcli.elmo import ELMo

    elmo, texts = ELMo(), messages()
    elmo.pooled_layers(texts[:200])
    tokens = sum(len(elmo.tokenize(text)) for text in dict.fromkeys(texts))
    runs = [seconds(lambda: elmo.pooled_layers(texts)) for _ in range(3)]
    limit = product_limit("float32")
    return {"seconds": runs, "tokens": tokens, "limit": limit, "GB": peak_memory()}


def imported(folder: Path) -> dict:
    """ELMo's original size, 600 messages: float32 and bfloat16 modules, the TF1-format one and simple-elmo."""
    from spamcli.bilm.importing import import_weights
    from spamcli.elmo import ELMo

    write_weights(folder / "published")
    files = folder / "published" / "model.hdf5", folder / "published" / "options.json"
    errors = {name: import_weights(*files, folder / name, name).error for name in ("float32", "bfloat16")}
    subprocess.run([sys.executable, ROOT / "tests" / "tf1_elmo.py", folder / "tf1"], check=True, capture_output=True)
    elmos, texts = {name: ELMo(str(folder / name)) for name in ("tf1", "float32", "bfloat16")}, messages(600)
    texts = [" ".join(text.split()) for text in texts]  # one tokenisation for all
    for elmo in elmos.values():
        elmo.pooled_layers(texts[:60])
    runs = {name: [] for name in (*elmos, "simple-elmo")}
    for _ in range(3):
        for name, elmo in elmos.items():
            runs[name].append(seconds(lambda elmo=elmo: elmo.pooled_layers(texts)))
        theirs = simple_elmo_process(folder)
        runs["simple-elmo"].append(theirs["seconds"])
    ours = elmos["float32"].pooled_layers(texts[:FIRST_BATCH])
    difference = np.abs(ours - np.load(folder / "simple_elmo.npy")).max()
    return {"seconds": runs, "difference": float(difference), "bfloat16 error": errors["bfloat16"]}


def write_weights(folder: Path) -> None:
    """Random weights in bilm-tf's layout that keep the size of what they multiply."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_importing import random_weights, write

    folder.mkdir()
    weights = random_weights(OPTIONS)
    for name, value in weights.items():
        if value.ndim > 1 and name != "char_embed":
            value *= np.prod(value.shape[:-1]) ** -0.5 / 0.7
    hdf5, _ = write(folder, OPTIONS, weights)
    hdf5.rename(folder / "model.hdf5")


def simple_elmo_process(folder: Path) -> dict:
    """simple-elmo works with Keras 2 only, and switches eager execution off for its whole process."""
    packages = folder / "packages"
    if not packages.exists():
        wanted = ["simple-elmo==0.9.2", "smart-open"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, *wanted, "wrapt"]
        subprocess.run(command, check=True)
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": str(packages)}
    command = [sys.executable, __file__, "simple_elmo", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def simple_elmo(folder: Path) -> dict:
    """Seconds for the layers of 600 messages, model loaded; the first batch's pooled layers go to a file."""
    from simple_elmo import ElmoModel

    tokens = [text.split() for text in messages(600)]
    model = ElmoModel()
    model.load(str(folder / "published"), max_batch_size=FIRST_BATCH)
    start = time.perf_counter()
    vectors = model.get_elmo_vectors(tokens, warmup=False, layers="all")  # [messages, layers, longest, dim]
    took = time.perf_counter() - start
    pooled = [vectors[row, :, : len(tokens[row])].mean(axis=1) for row in range(FIRST_BATCH)]
    np.save(folder / "simple_elmo.npy", np.stack(pooled))
    return {"seconds": took}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*map(Path, sys.argv[2:]))))
