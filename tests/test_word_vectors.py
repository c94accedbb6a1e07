"""Word vectors beside the biLM: read as they are published, their mean learned from, one number a word kept."""

import gzip
import json

import numpy as np
import pytest

from spamcli import word_vectors
from spamcli.classifier import Features, fit_classifier
from spamcli.errors import DataError, NotFoundError
from spamcli.ngrams import columns_of
from spamcli.prediction import SpamClassifier
from spamcli.settings import RECIPES, ClassifierSettings

from conftest import TINY_MESSAGES  # isort: skip

GLOVE = "the 0.5 -1 2\nprize 1 0 0\nPrize 9 9 9\n, 0 1 0\ndon't 3 3 3\nnull 0 0 1\n\" 4 4 4\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return path


def test_a_mean_is_of_the_words_that_have_a_vector(glove):
    """In any case, punctuation by itself; of words that differ in case alone the first line counts."""
    vectors, texts = word_vectors.read(glove), ["The PRIZE, the unheard-of prize", "null null", "unheard", ""]
    expected = np.array([[0.5, -1, 2], [1, 0, 0], [0, 1, 0], [0.5, -1, 2], [1, 0, 0]]).mean(axis=0)
    means = vectors.means(vectors.count(texts), len(texts))
    np.testing.assert_allclose(means, [expected, [0, 0, 1], [0, 0, 0], [0, 0, 0]], atol=1e-6)
    assert vectors.unknown(texts) == (4, 11)  # unheard - of, unheard
    assert vectors.unknown([]) == (0, 0)


def test_word2vecs_first_line_and_gzip_change_nothing(glove, tmp_path):
    packed, with_header, with_spaces = (tmp_path / name for name in ("glove.txt.gz", "word2vec.txt", "spaces.txt"))
    packed.write_bytes(gzip.compress(GLOVE.encode()))
    with_header.write_text(f"7 3\n{GLOVE}", encoding="utf-8")
    with_spaces.write_text(f"7 3 \n{GLOVE}".replace("\n", " \n"), encoding="utf-8")  # as word2vec itself writes
    for path in (packed, with_header, with_spaces):
        for name in ("columns", "vectors"):
            np.testing.assert_array_equal(getattr(word_vectors.read(path), name), getattr(word_vectors.read(glove), name))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"word\n", b"word 1 2\nother 1\n", b"word 1 x\n", b"word 1 nan\n", b"word 1 2\nother 1 2 3\n",
        b"word 1 2\nother 1 2 3 4\n",
        b"\xff\xfe\x00 1 2\n", b"2 0\n", b"7 99999999999999999999\nword 1\n", b"word " + b"1 " * 5000 + b"\n", b"\x1f\x8b junk",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_what_is_no_file_of_word_vectors_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        word_vectors.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFoundError, match="--static"):
        word_vectors.read(tmp_path / "ngrams.txt")


def test_words_that_training_never_showed_are_judged_by_their_vectors():
    """And the classifier keeps a number a word, which gives the same as the mean vector would."""
    random = np.random.default_rng(1)
    words = [f"w{number}" for number in range(400)]
    meaning = np.arange(400) % 2  # of each word, in the first number of its vector
    vectors = random.normal(size=[400, 6]).astype(np.float32)
    vectors[:, 0] = 3 * meaning - 1.5
    columns = columns_of(words)
    order = np.argsort(columns)
    known = word_vectors.WordVectors(columns[order], vectors[order], "")
    labels = random.integers(0, 2, 300)

    def texts(labels, first, last):
        return [" ".join(words[i] for i in random.choice(np.arange(first + label, last, 2), 5)) for label in labels]

    def features(texts):
        noise = random.normal(size=[len(texts), 3, 4]).astype(np.float32)
        return Features(noise, known.count(texts), np.zeros(len(texts), bool), known)

    settings = ClassifierSettings(static="vectors.txt", vectors="f" * 64, epochs=2)
    classifier = fit_classifier(features(texts(labels, 0, 200)), labels, np.arange(300), settings, 1)
    unseen = features(texts(labels, 200, 400))
    assert ((classifier.p_spam(unseen) >= 0.5) == labels).mean() > 0.95
    means = known.means(unseen.counted, 300)
    fitted = np.linalg.lstsq(np.column_stack([means, np.ones(300)]), classifier.static(unseen)[0], rcond=None)
    assert np.abs(fitted[1]).max(initial=0) < 1e-6  # the scores are linear in the mean vector
    assert [len(part.weights) for part in classifier.wide.parts] == [400]


@pytest.fixture
def many(tmp_path):
    random = np.random.default_rng(2)
    lines = [
        f"{word} " + " ".join(f"{x:.3f}" for x in random.normal(size=5)) for word in "you the to a . win prize call".split()
    ]
    path = tmp_path / "many.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_model_with_word_vectors_is_whole_without_their_file(cli, tiny_elmo, many, tmp_path):
    """predict needs it no more; what trains afresh needs the very same file."""
    arguments = ["--data", str(TINY_MESSAGES), "--elmo", str(tiny_elmo), "--epochs", "1", "--static", str(many), "--json"]
    trained = cli("train", *arguments)
    assert trained.exit_code == 0, trained.stderr
    assert "words of the training messages have no vector" in trained.stderr
    sha256 = word_vectors.read(many).sha256
    assert f"static vectors | vectors {sha256[:8]}" in json.loads(trained.stdout)["fingerprint"]
    word_vectors.read.cache_clear()
    content = many.read_bytes()
    many.unlink()
    texts = ["you win a prize .", "unknown words alone", "", "call the call"]
    on_onnx = [verdict.p_spam for verdict in SpamClassifier.load(tmp_path / "model").predict(texts)]
    from spamcli import model_dir

    np.testing.assert_allclose(model_dir.load(tmp_path / "model").p_spam(texts), on_onnx, atol=1e-5)
    assert cli("evaluate").exit_code == 0
    gone = cli("evaluate", "--seeds", "1")
    assert gone.exit_code == 66 and "put them back" in gone.stderr
    many.write_bytes(content + b"more 1 1 1 1 1\n")
    assert cli("evaluate", "--seeds", "1").exit_code == 65
    word_vectors.read.cache_clear()
    many.write_bytes(content)
    assert cli("evaluate", "--seeds", "1").exit_code == 0


def test_the_tutorials_recipe_has_nothing_beside_it(cli, many):
    refused = cli("train", "--data", str(TINY_MESSAGES), "--recipe", "tutorial", "--static", str(many))
    assert refused.exit_code == 2 and "--static" in refused.stderr
    assert RECIPES["tutorial"].static == "none"
