"""A frozen ELMo: pooling, batching, caching; on our own module, on a TF1-format one, on a plain SavedModel."""

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from tf1_elmo import write_tf1_elmo

from spamcli.elmo import ELMo, PooledCache, batches
from spamcli.errors import UnavailableError

MESSAGES = [
    "See you at six",
    "WIN a prize now !!",
    "x",
    "naïve café 😀 ok",
    "a much longer message than all of the others here " * 3,
]


@pytest.fixture(scope="session")
def tf1_elmo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("modules") / "tf1"
    write_tf1_elmo(directory, filters=[[1, 4], [2, 4]], char_dim=4, cells=8, projection=4)
    return directory


@pytest.fixture(params=["tiny_elmo", "tf1_elmo"])
def module(request):
    return request.getfixturevalue(request.param)


class CountingELMo(ELMo):
    """Counts the messages that really go through the module."""

    calls = 0

    def _call(self, tokens):
        self.calls += len(tokens)
        return super()._call(tokens)


def test_equal_mix_of_pooled_layers_is_the_modules_own_default(module):
    pooled = ELMo(str(module)).pooled_layers(MESSAGES)
    default = hub.load(str(module)).signatures["default"](text=tf.constant(MESSAGES))["default"].numpy()
    assert pooled.shape == (5, 3, 8) and pooled.dtype == np.float32
    np.testing.assert_allclose(pooled.mean(axis=1), default, atol=1e-5)


def test_a_message_has_one_vector_alone_in_any_batch_and_beside_any_other(module):
    together = ELMo(str(module)).pooled_layers(MESSAGES)
    backwards = ELMo(str(module)).pooled_layers(MESSAGES[::-1])[::-1]
    small_batches = ELMo(str(module), max_batch_tokens=4).pooled_layers(MESSAGES)
    elmo = ELMo(str(module))
    alone = np.concatenate([elmo.pooled_layers([message]) for message in MESSAGES])
    for other in (backwards, small_batches, alone):
        np.testing.assert_allclose(together, other, atol=1e-5)


def test_layer_0_beside_itself_and_layers_that_differ(module):
    pooled = ELMo(str(module)).pooled_layers(["one two three"])[0]
    np.testing.assert_array_equal(pooled[0, :4], pooled[0, 4:])
    assert not np.allclose(pooled[1], pooled[2])


def test_maxima_stand_behind_means_and_are_of_a_messages_own_tokens(module):
    """Padding beside a longer message must not be among them, also where all of a message's numbers are negative."""
    texts = ["one two three", "four", "one two three " * 20, ""]
    means, both = ELMo(str(module)).pooled_layers(texts), ELMo(str(module), pooling="mean+max").pooled_layers(texts)
    dim = means.shape[2]
    assert both.shape == (4, 3, 2 * dim)
    np.testing.assert_allclose(both[:, :, :dim], means, atol=1e-6)
    np.testing.assert_allclose(both[1, :, dim:], means[1], atol=1e-5)  # of a single token they are the same
    char_cnn = [ELMo(str(module)).pooled_layers([word])[0, 0] for word in "one two three".split()]
    np.testing.assert_allclose(both[0, 0, dim:], np.max(char_cnn, axis=0), atol=1e-5)  # layer 0 knows no context
    assert np.isnan(both[3]).all()


def test_each_pooling_has_its_own_cache(tiny_elmo, tmp_path):
    means, both = (ELMo(str(tiny_elmo), tmp_path, pooling=pooling).pooled_layers(MESSAGES) for pooling in ("mean", "mean+max"))
    again = ELMo(str(tiny_elmo), tmp_path, pooling="mean+max").pooled_layers(MESSAGES)
    assert 2 * means.shape[2] == both.shape[2]
    np.testing.assert_array_equal(again, both)


def test_messages_without_tokens_are_nan_and_leave_the_others_alone(module):
    elmo = ELMo(str(module))
    pooled = elmo.pooled_layers(["", "hello", "   "])
    assert np.isnan(pooled[[0, 2]]).all()
    np.testing.assert_allclose(pooled[1:2], elmo.pooled_layers(["hello"]), atol=1e-6)
    assert elmo.pooled_layers([""]).shape[:2] == (1, 3)


@pytest.mark.parametrize("text", ["\ud83d lone", "nul \0 inside", "w" * 5000, "word " * 5000, "\ufeff\u202e", "ä" * 100])
def test_any_text_has_finite_vectors(tiny_elmo, text):
    assert np.isfinite(ELMo(str(tiny_elmo)).pooled_layers([text])).all()


def test_each_distinct_message_goes_through_the_module_once(tiny_elmo):
    elmo = CountingELMo(str(tiny_elmo))
    pooled = elmo.pooled_layers(["again", "once", "again", "", "again"])
    assert elmo.calls == 2
    np.testing.assert_array_equal(pooled[0], pooled[4])


def test_batches_are_bounded_by_padded_tokens_and_lose_nothing():
    lengths = sorted(np.random.default_rng(0).integers(1, 60, 500).tolist()) + [300]
    cut = list(batches(lengths, 128))
    assert [i for batch in cut for i in batch] == list(range(501))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 128 for batch in cut[:-1])
    assert len(cut[-1]) == 1  # longer than the budget, so alone
    assert list(batches([], 128)) == []


def test_cache_is_resumed_in_the_middle(tiny_elmo, tmp_path):
    def interrupted(done, total):
        raise KeyboardInterrupt

    elmo = CountingELMo(str(tiny_elmo), tmp_path, max_batch_tokens=8)
    with pytest.raises(KeyboardInterrupt):
        elmo.pooled_layers(MESSAGES, interrupted)
    before = elmo.calls
    again = CountingELMo(str(tiny_elmo), tmp_path, max_batch_tokens=8)
    pooled = again.pooled_layers(MESSAGES)
    assert 0 < before < len(MESSAGES) and before + again.calls == len(MESSAGES)
    np.testing.assert_allclose(pooled, ELMo(str(tiny_elmo)).pooled_layers(MESSAGES), atol=1e-5)


def test_cache_needs_no_module_for_what_it_has(tiny_elmo, tmp_path):
    first = ELMo(str(tiny_elmo), tmp_path).pooled_layers(MESSAGES)
    cached = ELMo(str(tiny_elmo), tmp_path)
    np.testing.assert_array_equal(cached.pooled_layers(MESSAGES), first)
    assert cached._signature is None


def test_cache_knows_the_modules_content(tiny_elmo, tf1_elmo, tmp_path):
    ours = ELMo(str(tiny_elmo), tmp_path).pooled_layers(["hello there"])
    theirs = ELMo(str(tf1_elmo), tmp_path).pooled_layers(["hello there"])
    assert len(list(tmp_path.glob("*.sqlite"))) == 2
    assert not np.allclose(ours, theirs)


def test_damaged_cache_is_made_again(tiny_elmo, tmp_path):
    elmo = ELMo(str(tiny_elmo), tmp_path)
    expected = elmo.pooled_layers(MESSAGES)
    elmo.cache.path.write_bytes(b"not a database at all" * 100)
    np.testing.assert_allclose(ELMo(str(tiny_elmo), tmp_path).pooled_layers(MESSAGES), expected, atol=1e-6)


def test_cache_with_damaged_pages_is_given_up_and_made_again(tiny_elmo, tmp_path):
    elmo = ELMo(str(tiny_elmo), tmp_path)
    many = [f"message number {i}" for i in range(300)]
    expected = elmo.pooled_layers(many)
    data = bytearray(elmo.cache.path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)  # the first page, with header and schema, stays good
    elmo.cache.path.write_bytes(data)
    damaged = ELMo(str(tiny_elmo), tmp_path)
    with pytest.warns(UserWarning, match="not used any more"):
        np.testing.assert_allclose(damaged.pooled_layers(many), expected, atol=1e-5)
    again = CountingELMo(str(tiny_elmo), tmp_path)
    again.pooled_layers(many), again.pooled_layers(many)
    assert again.calls == 300


@pytest.mark.parametrize(
    "harm",
    [
        lambda layers: layers[:-16],
        lambda layers: layers[:1],
        lambda layers: "text",
        lambda layers: b"\1" + layers[1:],
        len,
        lambda layers: None,
    ],
    ids=["short", "a byte", "text", "a number", "an integer", "nothing"],
)
def test_a_row_that_is_not_as_it_was_written_is_no_vector(tiny_elmo, tmp_path, harm):
    elmo = ELMo(str(tiny_elmo), tmp_path)
    expected = elmo.pooled_layers(MESSAGES)
    with closing(sqlite3.connect(elmo.cache.path)) as database, database:
        key, layers = database.execute("SELECT message, layers FROM pooled").fetchone()
        database.execute("UPDATE pooled SET layers = ? WHERE message = ?", [harm(layers), key])
    with pytest.warns(UserWarning, match="not used any more .a row is not as it was written"):
        np.testing.assert_allclose(ELMo(str(tiny_elmo), tmp_path).pooled_layers(MESSAGES), expected, atol=1e-5)
    assert not elmo.cache.path.exists()


def test_vectors_that_are_not_finite_are_no_vectors(tmp_path):
    def tokens(tokens, sequence_len):
        vectors = tf.where(tokens == "poison", np.nan, 1.0)[:, :, None] * tf.ones([4])
        return {"word_emb": vectors[:, :, :2], "lstm_outputs1": vectors, "lstm_outputs2": vectors}

    module = tf.Module()
    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    module.f = tf.function(tokens, input_signature=spec)
    tf.saved_model.save(module, str(tmp_path / "module"), signatures={"tokens": module.f})
    elmo = ELMo(str(tmp_path / "module"), tmp_path / "cache")
    assert (elmo.pooled_layers(["all is well"]) == 1).all()
    with pytest.raises(UnavailableError, match="not finite"):
        elmo.pooled_layers(["a poison"])
    assert elmo.cache.read(["all is well", "a poison"]).keys() == {"all is well"}


def test_cache_that_cannot_be_kept_is_a_warning(tiny_elmo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="no cache can be kept"):
        elmo = ELMo(str(tiny_elmo), tmp_path / "file")
    assert np.isfinite(elmo.pooled_layers(["hello"])).all()


def _write_some(path, start):
    cache = PooledCache(path)
    for i in range(start, start + 40):
        cache.write({f"message {i}": np.full([3, 4], i, np.float32)})


def test_two_processes_share_a_cache(tmp_path):
    path = tmp_path / "shared.sqlite"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_some, [path, path], [0, 20]))
    found = PooledCache(path).read([f"message {i}" for i in range(60)])
    assert len(found) == 60 and all((layers == int(text.split()[1])).all() for text, layers in found.items())
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
