"""What decides between ELMos, measured: `make elmo-trials MODULES='...' CORPORA=folder`; a line of a table for each module.

All of it is measured on the tutorial's training rows, on our own sentences and on other people's text; never on test rows.
"""

import csv
import gzip
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from spamcli import evaluation, training
from spamcli.classifier import Features
from spamcli.elmo import ELMo
from spamcli.messages import read_messages
from spamcli.metrics import score
from spamcli.protocols import cross_validation, split
from spamcli.settings import RECIPES

ROOT = Path(__file__).parents[1]
OTHER_HAM = ("spamassassin_ham", "masc", "switchboard", "webtext", "tweets")  # of other origins than the collection's
OTHER_SPAM = "spamassassin_spam"
LINES = 1000  # of each, between 5 and 40 words
MISSPELT = """account acc0unt acccount, dog doggy, prize pr1ze prise, message mesage massage, tomorrow tomorow tommorrow,
free fr33 freee, please pleese pls, claim cla1m, money m0ney mony, winner w1nner winer, bank bamk b4nk, friend freind,
because becuase, definitely definately, birthday birthdya, password passw0rd, urgent urgnet"""  # right, then wrong


def senses() -> dict[str, list[tuple[str, str]]]:
    """Word -> (sense, sentence)s."""
    found: dict[str, list[tuple[str, str]]] = {}
    with open(ROOT / "tests" / "senses.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["word"], []).append((row["sense"], row["sentence"]))
    return found


def word_vectors(elmo: ELMo, sentences: list[str], word: str, output: str) -> np.ndarray:
    """The vector of a word in each sentence: float32 [sentences, dim]."""
    import tensorflow as tf

    tokens = [elmo.tokenize(sentence) for sentence in sentences]
    lengths = [len(message) for message in tokens]
    padded = [message + [""] * (max(lengths) - len(message)) for message in tokens]
    vectors = elmo.signature(tokens=tf.constant(padded), sequence_len=tf.constant(lengths))[output].numpy()
    return np.stack([vectors[row, message.index(word)] for row, message in enumerate(tokens)])


def sense_accuracy(elmo: ELMo, output: str = "lstm_outputs2") -> dict[str, float]:
    """Word -> share of its sentences whose nearest other sentence (cosine, the word's vector) has the same sense."""
    result = {}
    for word, labelled in senses().items():
        names = np.array([sense for sense, _ in labelled])
        similarity = cosines(word_vectors(elmo, [sentence for _, sentence in labelled], word, output))
        np.fill_diagonal(similarity, -np.inf)
        result[word] = float((names[similarity.argmax(axis=1)] == names).mean())
    return result


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def misspelt_ranks(elmo: ELMo) -> dict[str, int]:
    """Misspelt word -> the place, from 1, of its original among all words of our sentences, the nearest in layer 0 first."""
    import tensorflow as tf

    words = {word for labelled in senses().values() for _, text in labelled for word in text.lower().split()}
    right, wrong = sorted(words | set(originals().values())), list(originals())
    both = [*right, *wrong]
    out = elmo.signature(tokens=tf.constant([[word] for word in both]), sequence_len=tf.constant([1] * len(both)))
    similarity = cosines(out["word_emb"].numpy()[:, 0])[len(right) :, : len(right)]
    own = {word: row[right.index(originals()[word])] for word, row in zip(wrong, similarity)}
    return {word: int((row >= own[word]).sum()) for word, row in zip(wrong, similarity)}


def originals() -> dict[str, str]:
    """Misspelt word -> what it should be."""
    return {wrong: right for right, *others in map(str.split, MISSPELT.split(",")) for wrong in others}


def other_lines(corpora: Path, name: str) -> list[str]:
    with gzip.open(corpora / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
        lines = sorted({line.strip() for line in file if 5 <= len(line.split()) <= 40})
    return [lines[row] for row in np.random.default_rng(0).permutation(len(lines))[:LINES]]


def trial(module: str, corpora: Path) -> dict[str, str]:
    elmo = ELMo(module)
    collection = read_messages(ROOT / "data" / "spam.csv")
    elmo.pooled_layers(collection.frame["text"].tolist()[:200])  # warm
    start = time.perf_counter()
    elmo.pooled_layers(collection.frame["text"].tolist())
    seconds = time.perf_counter() - start
    plan = cross_validation(replace(collection, frame=split(collection, "tutorial", 1).train), num_folds=5, repeats=3, seed=1)
    labels, texts = plan.frame["label"].to_numpy(), plan.frame["text"].tolist()
    recipe = evaluation.Recipe(elmo, RECIPES["tutorial"])
    p_spam = evaluation.evaluate_recipe(recipe, plan, "grouped", "training rows").p_spam
    scores = [score(labels, p, 0.5) for p in p_spam]
    features = Features.of(elmo, texts)
    heads = [training.learn(features, labels, plan.groups, RECIPES["tutorial"], seed) for seed in (1, 2, 3)]
    flagged = {
        name: np.mean([head.p_spam(others) >= 0.5 for head in heads])
        for name in (*OTHER_HAM, OTHER_SPAM)
        for others in [Features.of(elmo, other_lines(corpora, name))]
    }
    knows, layer1 = sense_accuracy(elmo), sense_accuracy(elmo, "lstm_outputs1")
    card = Path(elmo.directory / "README.md").read_text(encoding="utf-8")
    perplexity = re.search(r"([\d.]+) forward, ([\d.]+) backward", card)
    size = sum(path.stat().st_size for path in elmo.directory.rglob("*") if path.is_file())
    return {
        "module": Path(module).name,
        "perplexity": "/".join(perplexity.groups()) if perplexity else "",
        "MB": f"{size / 1e6:.1f}",
        f"errors of {len(labels):,}": f"{np.mean([s.errors for s in scores]):.1f} ({', '.join(str(s.errors) for s in scores)})",
        "MCC": f"{np.mean([s.mcc for s in scores]):.3f}",
        "other ham blocked": f"{np.mean([flagged[name] for name in OTHER_HAM]):.1%} "
        f"({', '.join(f'{name} {flagged[name]:.1%}' for name in OTHER_HAM)})",
        "mail spam caught": f"{flagged[OTHER_SPAM]:.1%}",
        "senses": f"{np.mean(list(knows.values())):.0%} ({', '.join(f'{word} {share:.0%}' for word, share in knows.items())}); "
        f"LSTM 1 {np.mean(list(layer1.values())):.0%}",
        "misspelt": f"{np.mean([rank == 1 for rank in misspelt_ranks(elmo).values()]):.0%}",
        "messages/s": f"{len(collection) / seconds:.0f}",
    }


def main(corpora: str, modules: list[str]) -> None:
    for number, module in enumerate(modules):
        row = trial(module, Path(corpora))
        if number == 0:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
        print(f"| {' | '.join(row.values())} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
