"""Pretraining: it learns, it learns what it should, and a run that was cut off ends as if it had not been."""

import hashlib
import resource
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from spamcli.bilm.corpus import BEGIN, END, build
from spamcli.bilm.model import BiLMConfig
from spamcli.bilm.pretraining import Pretraining, pretrain
from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.settings import PretrainingSettings

pytestmark = pytest.mark.slow

CONFIG = BiLMConfig(max_characters=8, char_dim=4, filters=((1, 4), (2, 8), (3, 8)), cells=16, projection=8)
# No two lines share a word, so the first word read tells the rest of its line.
EIGHT_LINES = [" ".join(f"{word}{letter}" for word in ("ab", "cd", "ef", "gh", "ij", "kl")) for letter in "mnopqrst"]
SETTINGS = PretrainingSettings(tokens=600, batch_tokens=24, samples=10, dropout=0.2, checkpoint_seconds=0)


def a_corpus(lines=EIGHT_LINES):
    return build(Counter(lines), CONFIG.tokenizer, CONFIG.max_characters, 64, 1000)


def nothing(*_):
    pass


def state(training: Pretraining) -> dict[str, np.ndarray]:
    """All that pretraining has learnt so far and where it is."""
    arrays = {name: variable.numpy() for name, variable in training.bilm.weights.items()}
    arrays |= {"kernel": training.softmax_kernel.numpy(), "bias": training.softmax_bias.numpy()}
    arrays |= {f"moment{k}:{n}": v.numpy() for k in (0, 1) for n, v in enumerate(training.moments[k])}
    place = training.tokens_read, training.steps, training.epoch, training.batch_of_epoch
    return arrays | {"place": np.array(place)}


def assert_same(ours: dict, theirs: dict, tolerance: float = 1e-6):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=tolerance, err_msg=name)


def test_memorises_eight_lines():
    """Both directions come near the best there is: 1 word in 8 to guess, 6 and the end known; and never below it."""
    settings = PretrainingSettings(tokens=48 * 250, batch_tokens=48, dropout=0.0, learning_rate=0.02)
    corpus = a_corpus()
    training, losses = Pretraining(CONFIG, settings, corpus.counts), []
    before = training.perplexities(corpus)
    training.train(corpus, lambda now: losses.append(now.loss), nothing)
    after = training.perplexities(corpus)
    best = 8 ** (1 / 7)
    assert min(before.forward, before.backward) > 10
    assert best - 0.01 < after.forward < 1.5
    assert best - 0.01 < after.backward < 1.5
    assert losses[-1] < 0.2 * losses[0]


def test_losses_are_those_of_each_next_word():
    """One message at a time, one place at a time: the state that has read so far against the word that comes next."""
    corpus = a_corpus(["win a prize now", "ok", "see you at the station", "a win"])
    training = Pretraining(CONFIG, SETTINGS, corpus.counts)
    training.bilm.precision = tf.float32
    for direction in ("forward", "backward"):  # random output weights only: without them, states are small
        training.bilm.weights[f"{direction}1_projection"].assign(tf.random.normal([16, 8]))
    training.softmax_kernel.assign(tf.random.normal(training.softmax_kernel.shape))
    expected = {"forward": 0.0, "backward": 0.0}
    for row in range(4):
        tokens = corpus.tokens[corpus.offsets[row] : corpus.offsets[row + 1]]
        char_ids = np.concatenate([training.bilm.mark_char_ids(), corpus.char_ids.astype(np.int32)])
        vectors, words = training.bilm.token_vectors(char_ids), corpus.words[tokens]
        for direction, read, then in [
            ("forward", tokens, [*words, END]),
            ("backward", tokens[::-1], [*words[::-1], BEGIN]),
        ]:
            top = training.bilm.run(direction, vectors, (read + 2)[None].astype(np.int32))[-1].numpy()[:, 0]
            for state_of_place, word in zip(top, then):
                logits = training.softmax_kernel.numpy() @ state_of_place + training.softmax_bias.numpy()
                expected[direction] += np.log(np.exp(logits).sum()) - logits[word]
    sums, count = training.losses(*vars(corpus.batch(np.array([2, 0, 3, 1]))).values())
    assert count == 4 + 1 + 5 + 2 + 4
    np.testing.assert_allclose(sums, list(expected.values()), rtol=1e-4)
    perplexities = training.perplexities(corpus)
    np.testing.assert_allclose(perplexities.forward, np.exp(expected["forward"] / 16), rtol=1e-4)
    np.testing.assert_allclose(perplexities.backward, np.exp(expected["backward"] / 16), rtol=1e-4)


@pytest.fixture
def softmax():
    """A pretraining over 60 words of very different frequency, in float32; states and targets: [5, 8], [5]."""
    training = Pretraining(CONFIG, SETTINGS, np.geomspace(2000, 1, 60).astype(int))
    training.bilm.precision = tf.float32
    states = tf.random.stateless_normal([5, 8], [1, 2]) * 0.7
    return training, states, tf.constant([0, 3, 17, 59, 17])


def full_losses(training, states, targets):
    logits = tf.matmul(states, training.softmax_kernel, transpose_b=True) + training.softmax_bias
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits).numpy()


def test_sample_of_all_words_gives_the_full_softmax(softmax):
    training, states, targets = softmax
    loss = training.sampled_loss(states, targets, np.arange(60, dtype=np.int32), np.zeros(60, np.float32))
    np.testing.assert_allclose(loss, full_losses(*softmax).mean(), rtol=1e-5)


def test_sample_of_nearly_all_words_is_near_the_full_softmax(softmax):
    """All words but one: within 2 %."""
    training, states, targets = softmax
    training.settings = replace(SETTINGS, samples=1000)
    sample, log_q = training.sample_words()
    assert len(sample) == 59
    np.testing.assert_allclose(training.sampled_loss(states, targets, sample, log_q), full_losses(*softmax).mean(), rtol=0.02)


@pytest.mark.parametrize("row", range(4))
def test_partition_estimate_is_without_bias(softmax, row):
    """10 words of 60: one estimate is off, the mean of 1,000 is within four of its standard errors, and 10 %."""
    training, states, targets = softmax
    states, targets = states[row : row + 1], targets[row : row + 1]
    loss = tf.function(training.sampled_loss)
    ratios = []
    for training.steps in range(1000):
        sample, log_q = training.sample_words()
        ratios.append(
            np.exp(loss(states, targets, tf.constant(sample), tf.constant(log_q)) - full_losses(training, states, targets)[0])
        )
    error = np.std(ratios) / 1000**0.5
    assert np.std(ratios) > 0.01
    assert abs(np.mean(ratios) - 1) < min(4 * error, 0.1)


def test_words_are_drawn_as_often_as_they_say(softmax):
    """A sample holds distinct words; on average the sum of 1 / q over the sample is the number of words."""
    training, *_ = softmax
    drawn, weight = np.zeros(60), np.zeros(60)
    for training.steps in range(2000):
        sample, log_q = training.sample_words()
        assert len(set(sample.tolist())) == 10
        drawn[sample] += 1
        weight[sample] += np.exp(-log_q)
    assert drawn[0] > 10 * drawn[59] > 0
    assert abs(weight[:30] / 2000 - 1).max() < 0.2
    assert abs(weight.sum() / 2000 / 60 - 1) < 0.05


def test_draws_depend_on_seed_and_step_alone(softmax):
    training, *_ = softmax
    first, log_q = training.sample_words()
    np.testing.assert_array_equal(training.sample_words()[0], first)
    training.steps = 1
    assert not np.array_equal(training.sample_words()[0], first)
    training.steps, training.settings = 0, replace(SETTINGS, seed=2)
    assert not np.array_equal(training.sample_words()[0], first)


def test_learning_rate_by_hand(softmax):
    training, *_ = softmax
    training.settings = replace(SETTINGS, tokens=1000, warmup=0.1, learning_rate=2.0)
    rates = []
    for training.tokens_read in (0, 50, 100, 500, 1000, 2000):
        rates.append(training.learning_rate())
    expected = [0.002, 1.002, 2 * (0.05 + 0.475 * (1 + np.cos(np.pi / 10))), 2 * 0.525, 0.1, 0.1]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_step_is_adams():
    """The first step moves each weight that has a gradient by the learning rate, against its gradient's sign."""
    corpus = a_corpus()
    training = Pretraining(CONFIG, SETTINGS, corpus.counts)
    before = [variable.numpy() for variable in training.trained]
    batch = corpus.batch(np.arange(4))
    training.step(*vars(batch).values(), *training.sample_words(), np.float32(0.01), np.int32(0))
    for old, new, m in zip(before, training.trained, training.moments[0]):
        gradient = 10 * m.numpy()
        clear = np.abs(gradient) > 1e-4
        assert clear.any()
        np.testing.assert_allclose((new.numpy() - old)[clear], -0.01 * np.sign(gradient[clear]), rtol=0.02)
    norm = np.sqrt(sum(np.sum((10 * m.numpy().astype(np.float64)) ** 2) for m in training.moments[0]))
    assert norm < 1.0001 * SETTINGS.clip_norm


class Interrupted(Exception):
    pass


def test_resumed_training_equals_uninterrupted_training(tmp_path):
    """Cut off twice, in the middle of an epoch and at its end; with dropout and sampling."""
    corpus, path = a_corpus(), tmp_path / "x.checkpoint.npz"
    whole = Pretraining(CONFIG, SETTINGS, corpus.counts)
    initial = state(whole)
    whole.train(corpus, nothing, nothing)
    assert (whole.steps, whole.epoch) == (25, 12)  # two batches of four lines in an epoch of 48 tokens
    assert np.abs(whole.softmax_kernel.numpy() - initial["kernel"]).max() > 0.001

    first, second = (Pretraining(CONFIG, SETTINGS, corpus.counts) for _ in range(2))
    read_until(first, corpus, 24 * 8, path)
    second.restore(path)
    assert (second.steps, second.batch_of_epoch) == (7, 1)  # the report comes before the checkpoint of the eighth
    read_until(second, corpus, 24 * 15, path)
    second.restore(path)  # also over what came after
    assert (second.steps, second.batch_of_epoch) == (14, 2)
    second.train(corpus, nothing, nothing)
    assert_same(state(second), state(whole))


def read_until(training, corpus, tokens, path):
    """Train with a checkpoint after every step, and stop dead when so many tokens are read."""

    def report(now):
        if now.tokens >= tokens:
            raise Interrupted

    with pytest.raises(Interrupted):
        training.train(corpus, report, lambda: training.save(path))


def test_checkpoint_holds_everything_and_is_atomic(tmp_path):
    corpus, path = a_corpus(), tmp_path / "new" / "x.checkpoint.npz"
    training = Pretraining(CONFIG, replace(SETTINGS, tokens=100), corpus.counts)
    training.train(corpus, nothing, lambda: training.save(path))
    assert [file.name for file in path.parent.iterdir()] == ["x.checkpoint.npz"]
    fresh = Pretraining(CONFIG, replace(SETTINGS, tokens=100), corpus.counts)
    fresh.restore(path)
    assert_same(state(fresh), state(training), tolerance=0)


@pytest.mark.parametrize("change", [{"seed": 5}, {"tokens": 99}, {"dropout": 0.35}])
def test_checkpoint_of_other_settings_or_another_corpus_is_refused(tmp_path, change):
    counts, path = a_corpus().counts, tmp_path / "x.checkpoint.npz"
    Pretraining(CONFIG, SETTINGS, counts).save(path)
    Pretraining(CONFIG, replace(SETTINGS, checkpoint_seconds=7), counts).restore(path)  # moves no weight
    with pytest.raises(DataError, match="other settings"):
        Pretraining(CONFIG, replace(SETTINGS, **change), counts).restore(path)
    with pytest.raises(DataError, match="another corpus"):
        Pretraining(CONFIG, SETTINGS, counts[::-1].copy()).restore(path)


def test_full_disk_keeps_the_last_checkpoint(tmp_path):
    """No file may grow past 1,000 bytes, which stops the writing in the middle as a full disk would."""
    path, training = tmp_path / "x.checkpoint.npz", Pretraining(CONFIG, SETTINGS, a_corpus().counts)
    training.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WriteError, match="x.checkpoint.npz: cannot be written"):
            training.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["x.checkpoint.npz"]
    assert path.read_bytes() == before


def test_checkpoint_below_a_file_is_a_write_error(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(WriteError, match="cannot be written"):
        Pretraining(CONFIG, SETTINGS, a_corpus().counts).save(tmp_path / "file" / "x.checkpoint.npz")


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "other corpus", "other size"])
def test_damaged_or_foreign_checkpoint_is_a_data_error(tmp_path, damage):
    path, counts = tmp_path / "x.checkpoint.npz", a_corpus().counts
    Pretraining(CONFIG, SETTINGS, counts).save(path)
    contents = {"garbage": b"garbage", "cut": path.read_bytes()[:2000], "empty": b""}
    if damage in contents:
        path.write_bytes(contents[damage])
    config = replace(CONFIG, lstm_layers=3) if damage == "other size" else CONFIG
    counts = counts[:-1] if damage == "other corpus" else counts
    with pytest.raises(DataError, match="x.checkpoint.npz: damaged, or of another corpus or other settings"):
        Pretraining(config, SETTINGS, counts).restore(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forty lines in all, two of them in both files."""
    directory = tmp_path_factory.mktemp("corpus")
    lines = [f"win {n} pounds at station {n % 5} now" for n in range(20)] + [f"see you at {n}, ok?" for n in range(20)]
    paths = [directory / "first.txt", directory / "second.txt"]
    paths[0].write_text("\n".join(lines[:22]))
    paths[1].write_text("\n".join(lines[20:]))
    return paths


def stored_weights(directory) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    return {name: reader.get_tensor(name) for name, dtype in reader.get_variable_to_dtype_map().items() if dtype == tf.float16}


@pytest.fixture(scope="module")
def pretrained(files, tmp_path_factory):
    """An uninterrupted run: its module and its perplexities."""
    directory = tmp_path_factory.mktemp("pretrained") / "new" / "module"
    reports = []
    result = pretrain(files, directory, CONFIG, SETTINGS, progress=lambda *now: reports.append(now))
    assert [(done, total) for _, done, total in reports] == [(r[1], 600) for r in reports]
    return directory, result, reports


def test_pretrain_writes_a_module_and_nothing_else(pretrained, files):
    directory, result, reports = pretrained
    assert [path.name for path in directory.parent.iterdir()] == ["module"]  # no checkpoint, nothing partial
    module = tf.saved_model.load(str(directory))
    vectors = module(tf.constant(["win 5 pounds", ""])).numpy()
    assert vectors.shape == (2, 16) and np.isfinite(vectors).all() and vectors[0].any()
    assert 1 < result.forward < 200 and 1 < result.backward < 200
    done = [tokens for _, tokens, _ in reports]
    assert done == sorted(set(done)) and done[-2] < 600 <= done[-1]
    assert all(what.startswith("loss ") and what.endswith(" tokens/s") for what, _, _ in reports)


def test_card_says_what_was_read_and_how_well_it_predicts(pretrained, files):
    directory, result, _ = pretrained
    card = " ".join((directory / "README.md").read_text().split())
    assert f"{result.forward:.1f} forward, {result.backward:.1f} backward" in card
    for path in files:
        assert f"- `{path.name}`, sha256 `{hashlib.sha256(path.read_bytes()).hexdigest()}`" in card
    assert "40 distinct lines" in card
    assert "Perplexity on 4 held-out lines" in card  # a tenth, though the settings allow 1,000
    vocabulary = 3 + len({"win", "pounds", "at", "station", "now", "see", "you", ",", "ok", "?", "0", "00"})
    assert f"a vocabulary of {vocabulary} lower-cased words" in card
    for value in ("cells: 16", "projection: 8", "dropout: 0.2", "tokens: 600", "seed: 1", "tokenizer: punctuation"):
        assert f"- {value}" in card


def test_interrupted_run_is_resumed_and_ends_the_same(pretrained, files, tmp_path):
    whole, result, reports = pretrained
    directory, checkpoint = tmp_path / "module", tmp_path / "module.checkpoint.npz"

    def interrupt(what, done, total):
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(files, directory, CONFIG, SETTINGS, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
    left = checkpoint.read_bytes()
    with pytest.raises(WriteError, match="module.checkpoint.npz: a checkpoint is there; go on from it with --resume"):
        pretrain(files, directory, CONFIG, SETTINGS)
    assert checkpoint.read_bytes() == left
    rest = []
    resumed = pretrain(files, directory, CONFIG, SETTINGS, resume=True, progress=lambda *now: rest.append(now[1]))
    assert rest == [done for _, done, _ in reports][-len(rest) :] and rest[0] > 300 - 24
    np.testing.assert_allclose([resumed.forward, resumed.backward], [result.forward, result.backward], rtol=1e-6)
    assert_same(stored_weights(directory), stored_weights(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["module"]


def test_existing_directory_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "module").mkdir()
    with pytest.raises(WriteError, match="module: exists already"):
        pretrain([tmp_path / "missing.txt"], tmp_path / "module", CONFIG, SETTINGS)
    assert [path.name for path in tmp_path.rglob("*")] == ["module"]


def test_unreadable_text_leaves_nothing_behind(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        pretrain([tmp_path / "latin.txt"], tmp_path / "module", CONFIG, SETTINGS)
    with pytest.raises(NotFoundError, match="no such file"):
        pretrain([tmp_path / "missing.txt"], tmp_path / "module", CONFIG, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["latin.txt"]


def test_too_few_lines_to_hold_any_out_have_no_perplexity(tmp_path):
    (tmp_path / "few.txt").write_text("\n".join(EIGHT_LINES))
    result = pretrain([tmp_path / "few.txt"], tmp_path / "module", CONFIG, replace(SETTINGS, tokens=0))
    assert np.isnan([result.forward, result.backward]).all()
    assert "Perplexity on 0 held-out lines" in (tmp_path / "module" / "README.md").read_text()
