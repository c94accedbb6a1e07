"""A biLM that learns: it learns what it should, and a run that was cut off ends as if it had not been."""

import resource
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from spamcli.bilm.corpus import BEGIN, END, build
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.bilm.reading import Text
from spamcli.bilm.training import Pretraining
from spamcli.errors import DataError, WriteError
from spamcli.settings import PretrainingSettings

CONFIG = BiLMConfig(max_characters=8, char_dim=4, filters=((1, 4), (2, 8), (3, 8)), cells=16, projection=8)
# No two lines share a word, so the first word read tells the rest of its line.
EIGHT_LINES = [" ".join(f"{word}{letter}" for word in ("ab", "cd", "ef", "gh", "ij", "kl")) for letter in "mnopqrst"]
SETTINGS = PretrainingSettings(tokens=600, batch_tokens=24, samples=10, dropout=0.2, checkpoint_seconds=0)


def a_corpus(lines=EIGHT_LINES):
    text = Text(Counter(lines), dict.fromkeys(lines, 1), {"a.txt": "hash"})
    return build(text, CONFIG.tokenizer, CONFIG.max_characters, 64, 1000)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def given_weights() -> dict[str, np.ndarray]:
    tf.random.set_seed(77)
    return {name: variable.numpy() for name, variable in BiLM(CONFIG).weights.items()}


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 2, 7])
def test_resumed_training_rounds_as_uninterrupted_training_does(tmp_path, cut):
    """To the last bit, though every batch has another shape and a process compiles its graph anew."""
    lines = [" ".join(f"{chr(97 + word)}{number}" for word in range(1 + number % 9)) for number in range(60)]
    corpus, path = a_corpus(lines), tmp_path / "x.checkpoint.npz"
    settings = replace(SETTINGS, tokens=900, batch_tokens=40)
    whole, first, second = (Pretraining(CONFIG, settings, corpus.counts) for _ in range(3))
    assert len({batch.indices.shape for batch in whole.batches(corpus)}) > 5
    whole.train(corpus, nothing, nothing)
    with pytest.raises(KeyboardInterrupt):
        first.train(corpus, nothing, lambda: first.save(path), lambda: first.steps == cut)
    second.restore(path)
    second.train(corpus, nothing, nothing)
    assert_same(state(second), state(whole), tolerance=0)


@pytest.mark.slow
@pytest.mark.parametrize("misspelt, init", [(0.0, False), (0.4, True)])
def test_resumed_training_equals_uninterrupted_training(tmp_path, misspelt, init):
    """Cut off twice, in the middle of an epoch and at its end; with dropout, sampling, slips and weights to begin with."""
    corpus, path = a_corpus(), tmp_path / "x.checkpoint.npz"

    def begin():
        weights = given_weights() if init else None
        return Pretraining(CONFIG, replace(SETTINGS, misspelt=misspelt), corpus.counts, weights, corpus.sha256)

    whole = begin()
    initial = state(whole)
    whole.train(corpus, nothing, nothing)
    assert (whole.steps, whole.epoch) == (25, 12)  # two batches of four lines in an epoch of 48 tokens
    assert np.abs(whole.softmax_kernel.numpy() - initial["kernel"]).max() > 0.001

    first, second = begin(), begin()
    read_until(first, corpus, 24 * 8, path)
    second.restore(path)
    assert (second.steps, second.batch_of_epoch) == (7, 1)  # the report comes before the checkpoint of the eighth
    read_until(second, corpus, 24 * 15, path)
    second.restore(path)  # also over what came after
    assert (second.steps, second.batch_of_epoch) == (14, 2)
    second.train(corpus, nothing, nothing)
    assert_same(state(second), state(whole))


def test_training_begins_with_the_weights_that_are_given():
    counts, weights = a_corpus().counts, given_weights()
    training, other = Pretraining(CONFIG, SETTINGS, counts, weights), Pretraining(CONFIG, SETTINGS, counts)
    for name, value in weights.items():
        np.testing.assert_array_equal(training.bilm.weights[name], value)
    assert not np.array_equal(other.bilm.weights["conv3_kernel"], weights["conv3_kernel"])
    assert len(training.bilm.trainable_variables) == len(weights)
    batch = a_corpus().batch(np.arange(4))
    training.read(batch, 0.01)
    assert all(np.any(training.bilm.weights[name].numpy() != value) for name, value in weights.items())


def test_a_share_is_read_misspelt_and_other_words_in_every_step():
    """By seed and step, so that whoever goes on reads the same."""
    corpus = a_corpus()
    plain, misspelt = (Pretraining(CONFIG, replace(SETTINGS, misspelt=share), corpus.counts) for share in (0.0, 0.4))
    read = {}
    for misspelt.steps in (0, 2):
        right, wrong, again = (next(training.batches(corpus)) for training in (plain, misspelt, misspelt))
        np.testing.assert_array_equal(right.words, wrong.words)
        assert len(right.char_ids) == 24 < len(wrong.char_ids)
        np.testing.assert_array_equal(again.char_ids, wrong.char_ids)
        read[misspelt.steps] = wrong.char_ids[24:].tolist()
    assert read[0] != read[2]


def test_every_dropout_of_every_step_has_a_mask_of_its_own():
    """Of the traced step: what seeds its random numbers, once for each LSTM and once for the softmax."""
    corpus = a_corpus()
    training = Pretraining(CONFIG, SETTINGS, corpus.counts)
    arguments = [*vars(corpus.batch(np.arange(4))).values(), *training.sample_words(), np.float32(0.01), np.int32(0)]
    traced = training.step.get_concrete_function(*arguments).graph
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.import_graph_def(traced.as_graph_def(), name="")
        keys = [list(op.inputs)[1:3] for op in graph.get_operations() if op.type == "StatelessRandomUniformV2"]
        seeds = [np.concatenate(pair).tolist() for step in (0, 1) for pair in session.run(keys, {"step:0": step})]
    assert len(keys) == 5
    assert len({tuple(seed) for seed in seeds}) == 10


@pytest.mark.slow
def test_the_first_signal_stops_after_the_step_that_runs(tmp_path):
    """What is saved is the place after it, once; what goes on from there ends as if nothing had happened."""
    corpus, path = a_corpus(), tmp_path / "x.checkpoint.npz"
    settings = replace(SETTINGS, checkpoint_seconds=1000)
    whole, cut, rest = (Pretraining(CONFIG, settings, corpus.counts) for _ in range(3))
    whole.train(corpus, nothing, nothing)
    saved = []
    with pytest.raises(KeyboardInterrupt):
        cut.train(corpus, nothing, lambda: saved.append(cut.save(path)), lambda: cut.steps == 9)
    assert len(saved) == 1
    rest.restore(path)
    assert rest.steps == 9 and rest.tokens_read == 9 * 24
    rest.train(corpus, nothing, nothing)
    assert_same(state(rest), state(whole))


@pytest.mark.slow
def test_speed_is_measured_without_a_trace():
    """In the middle of an epoch; a run after it ends as one without."""
    corpus = a_corpus()
    plain, measured = (Pretraining(CONFIG, replace(SETTINGS, misspelt=0.3), corpus.counts) for _ in range(2))
    for training in (plain, measured):
        with pytest.raises(KeyboardInterrupt):
            training.train(corpus, nothing, nothing, lambda training=training: training.steps == 3)
    before = state(measured)
    assert before["place"].tolist() == [72, 3, 1, 1]
    assert 10 < measured.speed(corpus, warm_up=2, seconds=0.1) < 1e7
    assert_same(state(measured), before, tolerance=0)
    for training in (plain, measured):
        training.train(corpus, nothing, nothing)
    assert_same(state(measured), state(plain))


def test_speed_of_a_corpus_that_ends_before_the_measuring_does():
    """One batch, which the epoch has read already: it is read as often as it takes."""
    corpus = a_corpus(EIGHT_LINES[:1])
    training = Pretraining(CONFIG, SETTINGS, corpus.counts)
    training.batch_of_epoch = 1
    before = state(training)
    assert 10 < training.speed(corpus, warm_up=2, seconds=0.05) < 1e7
    assert_same(state(training), before, tolerance=0)


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


@pytest.mark.parametrize(
    "change, names",
    [
        ({"seed": 5}, "seed"),
        ({"dropout": 0.35}, "dropout"),
        ({"misspelt": 0.1}, "misspelt"),
        ({"seed": 5, "tokens": 99}, "tokens, seed"),
        ({"cells": 8}, "cells"),
        ({"lstm_layers": 3, "filters": ((1, 4),)}, "filters, lstm_layers"),
    ],
    ids=str,
)
def test_checkpoint_of_other_settings_says_which(tmp_path, change, names):
    counts, path = a_corpus().counts, tmp_path / "x.checkpoint.npz"
    Pretraining(CONFIG, SETTINGS, counts).save(path)
    config, settings = (replace(part, **{k: v for k, v in change.items() if hasattr(part, k)}) for part in (CONFIG, SETTINGS))
    with pytest.raises(DataError, match=f"x.checkpoint.npz: begun with another {names}; go on with what it began with"):
        Pretraining(config, settings, counts).restore(path)


def test_checkpoint_of_another_text_or_other_first_weights_is_refused(tmp_path):
    """Even where each word is as frequent as it was."""
    path, corpus, turned = tmp_path / "x.checkpoint.npz", a_corpus(), a_corpus(EIGHT_LINES[::-1])
    np.testing.assert_array_equal(corpus.counts, turned.counts)
    Pretraining(CONFIG, SETTINGS, corpus.counts, None, corpus.sha256).save(path)
    for counts, sha256 in [(corpus.counts, turned.sha256), (corpus.counts[::-1].copy(), corpus.sha256)]:
        with pytest.raises(DataError, match="begun with another corpus; go on"):
            Pretraining(CONFIG, SETTINGS, counts, None, sha256).restore(path)
    with pytest.raises(DataError, match="begun with another init; go on"):
        Pretraining(CONFIG, SETTINGS, corpus.counts, given_weights(), corpus.sha256).restore(path)


def test_how_often_it_is_saved_is_nobodys_business(tmp_path):
    """A checkpoint is of the run, not of the pace it was written at: all of it comes back under another one."""
    path, counts = tmp_path / "x.checkpoint.npz", a_corpus().counts
    saved = Pretraining(CONFIG, SETTINGS, counts)
    saved.tokens_read, saved.steps = 48, 2
    saved.softmax_bias.assign_add(tf.ones_like(saved.softmax_bias))
    saved.save(path)
    restored = Pretraining(CONFIG, replace(SETTINGS, checkpoint_seconds=7), counts)
    restored.restore(path)
    assert_same(state(restored), state(saved), tolerance=0)


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


def without_arrays(path, *names, **others):
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if name not in names} | others
    np.savez(path, **kept)


def change_every_entry(path, place, byte):
    """Of the list of contents at the end of the file."""
    first, *entries = path.read_bytes().split(b"PK\1\2")
    path.write_bytes(b"PK\1\2".join([first, *(e[: place - 4] + bytes([byte]) + e[place - 3 :] for e in entries)]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"PK\1\2" + b"\xff" * 4)),
        lambda path: change_every_entry(path, 6, 240),  # a zip of the future
        lambda path: change_every_entry(path, 8, 1),  # encrypted, it says
        lambda path: np.save(path.open("wb"), np.zeros(3)),
        lambda path: without_arrays(path, "identity"),
        lambda path: without_arrays(path, "place"),
        lambda path: without_arrays(path, "weight:conv2_kernel"),
        lambda path: without_arrays(path, moments=np.zeros(2), identity=np.array("no JSON")),
        lambda path: without_arrays(path, identity=np.array("[1]")),
        lambda path: without_arrays(path, identity=np.array([{}], object)),
        lambda path: without_arrays(path, softmax_bias=np.zeros(3)),
        lambda path: without_arrays(path, softmax_bias=np.array("text")),
        lambda path: without_arrays(path, place=np.zeros(3, int)),
    ],
)
def test_damaged_checkpoint_is_a_data_error(tmp_path, damage):
    path, counts = tmp_path / "x.checkpoint.npz", a_corpus().counts
    Pretraining(CONFIG, SETTINGS, counts).save(path)
    damage(path)
    with pytest.raises(DataError, match="x.checkpoint.npz: damaged.*; delete it and begin again$"):
        Pretraining(CONFIG, SETTINGS, counts).restore(path)


def test_no_bit_of_what_was_learnt_can_flip_unnoticed(tmp_path):
    """Every array is summed up in the file: a bit in the middle of each is changed."""
    path, training = tmp_path / "x.checkpoint.npz", Pretraining(CONFIG, SETTINGS, a_corpus().counts)
    training.save(path)
    data = path.read_bytes()
    starts = [place for place in range(len(data)) if data.startswith(b"\x93NUMPY", place)]
    assert len(starts) > 3 * len(training.trained)
    for start, end in zip(starts, [*starts[1:], len(data)]):
        place = start + 128 + (end - start - 128) // 10
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(DataError, match="x.checkpoint.npz: damaged"):
            training.restore(path)
