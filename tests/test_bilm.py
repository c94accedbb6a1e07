"""The biLM: what its states may know, that nothing but the message matters, and a NumPy twin of the whole."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from test_layers import numpy_char_cnn, numpy_highway, numpy_lstm, relu

from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.characters import encode_tokens, sentence_marks

CONFIG = BiLMConfig(max_characters=8, char_dim=3, filters=((1, 2), (2, 3), (3, 4)), highways=2, cells=8, projection=4, clip=0.5)
MESSAGES = [
    ["win", "a", "prize", "now", "win"],
    ["ok"],
    ["see", "you", "at", "the", "station", "at", "six", "£5"],
    [],
    ["a", "win", "win"],
]


def random_weights(config: BiLMConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """No weight, and no bias, is zero."""
    random = np.random.default_rng(seed)
    return {name: 0.7 * random.normal(size=shape).astype(np.float32) for name, shape in config.weight_shapes().items()}


@pytest.fixture(scope="module")
def bilm() -> BiLM:
    return BiLM(CONFIG, random_weights(CONFIG))


def layer_vectors(bilm: BiLM, messages, pad_to: int = 0, padding: int = 0) -> list[np.ndarray]:
    """Messages as one padded batch -> for each message float32 [layers, its tokens, dim].

    Args:
        pad_to: tokens of the batch, at least; padding: the row of the vectors that stands in padded places.
    """
    lengths = [len(message) for message in messages]
    tokens = [token for message in messages for token in message]
    char_ids = np.concatenate([sentence_marks(bilm.config.max_characters), encode_tokens(tokens, 8)])
    indices = np.full([len(messages), max([pad_to, *lengths])], padding, np.int32)
    indices[np.arange(indices.shape[1]) < np.array(lengths)[:, None]] = 2 + np.arange(len(tokens))
    layers = np.array(bilm.layer_vectors(bilm.token_vectors(char_ids), indices, np.array(lengths, np.int32)))
    return [layers[:, row, :length] for row, length in enumerate(lengths)]


def numpy_bilm(config: BiLMConfig, weights, message) -> np.ndarray:
    """One message through the whole biLM: float64 [layers, tokens, dim]."""
    begin, end, *vectors = numpy_word_vectors(config, weights, message)
    forward = numpy_direction(config, weights, "forward", [begin, *vectors])
    backward = numpy_direction(config, weights, "backward", [end, *reversed(vectors)])
    layers = [np.concatenate([vectors, vectors], axis=-1)]
    for k in range(config.lstm_layers):
        layers.append(np.concatenate([forward[k][1:], backward[k][1:][::-1]], axis=-1))
    return np.array(layers)


def numpy_word_vectors(config, weights, message):
    char_ids = np.concatenate([sentence_marks(config.max_characters), encode_tokens(message, config.max_characters)])
    kernels, biases = ([weights[f"conv{width}_{part}"] for width, _ in config.filters] for part in ("kernel", "bias"))
    activation = {"relu": relu, "tanh": np.tanh}[config.activation]
    x = numpy_char_cnn(char_ids, weights["char_embedding"], kernels, biases, activation)
    for k in range(config.highways):
        x = numpy_highway(x, weights[f"highway{k}_kernel"], weights[f"highway{k}_bias"])
    return x @ weights["projection_kernel"] + weights["projection_bias"]


def numpy_direction(config, weights, direction, vectors):
    """Outputs of each LSTM layer: [1 + tokens, projection]."""
    parts, x, outputs = ("input_kernel", "recurrent_kernel", "bias", "projection"), np.array(vectors), []
    for k in range(config.lstm_layers):
        y, _ = numpy_lstm(x[:, None], *(weights[f"{direction}{k}_{part}"] for part in parts), config.clip)
        x = y[:, 0] + x if k >= 1 and config.residual else y[:, 0]
        outputs.append(x)
    return outputs


@pytest.mark.parametrize(
    "change",
    [{}, {"residual": False}, {"lstm_layers": 3, "clip": 3.0}, {"highways": 0, "filters": ((4, 5),)}, {"activation": "tanh"}],
    ids=str,
)
def test_equals_its_twin(change):
    config = replace(CONFIG, **change)
    weights = random_weights(config)
    for ours, message in zip(layer_vectors(BiLM(config, weights), MESSAGES), MESSAGES):
        if message:
            np.testing.assert_allclose(ours, numpy_bilm(config, weights, message), atol=1e-5)


def test_clip_acts_in_this_bilm():
    """Else the twin would not have seen it."""
    free = layer_vectors(BiLM(replace(CONFIG, clip=50.0), random_weights(CONFIG)), MESSAGES)[2]
    assert np.abs(free - layer_vectors(BiLM(CONFIG, random_weights(CONFIG)), MESSAGES)[2]).max() > 0.1


@pytest.mark.parametrize("t", range(8))
def test_states_know_their_own_side_only(bilm, t):
    """Forward states change from the changed token on, backward states up to it, layer 0 there alone."""
    message, size = MESSAGES[2], CONFIG.projection
    (before,) = layer_vectors(bilm, [message])
    (after,) = layer_vectors(bilm, [[*message[:t], "prize", *message[t + 1 :]]])
    changed = np.abs(after - before) > 1e-6  # [layers, tokens, dim]
    places = np.arange(len(message))
    np.testing.assert_array_equal(changed[0].any(axis=-1), places == t)
    for layer in changed[1:]:
        np.testing.assert_array_equal(layer[:, :size].any(axis=-1), places >= t)
        np.testing.assert_array_equal(layer[:, size:].any(axis=-1), places <= t)


@pytest.mark.parametrize("row", [0, 1, 2, 4])
def test_only_the_message_matters(bilm, row):
    """Alone, twice, beside any other, first or last of a batch: the same vectors."""
    (alone,) = layer_vectors(bilm, [MESSAGES[row]])
    others = [[MESSAGES[row], other] for other in MESSAGES] + [[other, MESSAGES[row]] for other in MESSAGES]
    batches = [[MESSAGES[row]], *others, MESSAGES, MESSAGES[::-1], [MESSAGES[row]] * 3, [["long"] * 40, MESSAGES[row]]]
    for batch in batches:
        for vectors, message in zip(layer_vectors(bilm, batch), batch):
            if message is MESSAGES[row]:
                np.testing.assert_allclose(vectors, alone, atol=1e-5)


def test_padding_is_inert(bilm):
    plain = layer_vectors(bilm, MESSAGES)
    for pad_to, padding in [(8, 1), (8, 5), (20, 0), (20, 3)]:
        for expected, vectors in zip(plain, layer_vectors(bilm, MESSAGES, pad_to, padding)):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_layer_0_is_the_word_and_the_others_its_context(bilm):
    size = CONFIG.projection
    vectors = layer_vectors(bilm, MESSAGES)
    first, last, middle, end = vectors[0][:, 0], vectors[0][:, 4], vectors[4][:, 1], vectors[4][:, 2]  # all "win"
    word = bilm.token_vectors(encode_tokens(["win"], 8))[0]
    np.testing.assert_allclose(first[0], np.concatenate([word, word]), atol=1e-6)
    for other in (last, middle, end):
        np.testing.assert_allclose(other[0], first[0], atol=1e-6)
        for part in (slice(0, size), slice(size, 2 * size)):
            assert (np.abs(other[1:, part] - first[1:, part]).max(axis=-1) > 1e-3).all()


def test_token_vectors_tell_tokens_apart(bilm):
    """Case, order and place of the characters matter."""
    vectors = bilm.token_vectors(encode_tokens(["win", "Win", "niw", "wwin", "wi", ""], 8)).numpy()
    distances = np.abs(vectors[:, None] - vectors).max(axis=-1)
    assert (distances[~np.eye(6, dtype=bool)] > 1e-3).all()


@pytest.mark.parametrize("residual", [True, False])
def test_residual_from_the_second_lstm_on(residual):
    """An LSTM with a silent output leaves its input standing if it is residual, and nothing if it is not."""
    config = replace(CONFIG, lstm_layers=3, residual=residual)
    for silent in range(3):
        names = [f"{direction}{silent}_projection" for direction in ("forward", "backward")]
        weights = random_weights(config) | {name: np.zeros([8, 4], np.float32) for name in names}
        (layers,) = layer_vectors(BiLM(config, weights), MESSAGES[:1])
        expected = layers[silent] if residual and silent >= 1 else np.zeros_like(layers[0])
        np.testing.assert_array_equal(layers[1 + silent], expected)
        assert np.abs(layers[silent]).max() > 0.1


def test_weights_are_what_the_config_says():
    bilm = BiLM(CONFIG, trainable=True)
    assert {name: tuple(v.shape) for name, v in bilm.weights.items()} == CONFIG.weight_shapes()
    assert {v.ref() for v in bilm.trainable_variables} == {v.ref() for v in bilm.weights.values()}
    assert not BiLM(CONFIG).trainable_variables


def test_number_of_weights_by_hand():
    """char-CNN 262*3 + (1*3*2+2) + (2*3*3+3) + (3*3*4+4); highways 2 * (9*18+18); projection 9*4+4; LSTMs."""
    lstm = 4 * 32 + 4 * 32 + 32 + 8 * 4
    expected = 786 + 8 + 21 + 40 + 2 * 180 + 40 + 4 * lstm
    assert sum(map(math.prod, CONFIG.weight_shapes().values())) == expected


def test_builtin_size_is_small():
    assert sum(map(math.prod, BiLMConfig().weight_shapes().values())) <= 6_000_000


def test_every_weight_matters():
    """The gradient of the layers reaches all of them."""
    bilm = BiLM(CONFIG, random_weights(CONFIG), trainable=True)
    char_ids = np.concatenate([sentence_marks(8), encode_tokens(MESSAGES[2], 8)])
    with tf.GradientTape() as tape:
        layers = bilm.layer_vectors(bilm.token_vectors(char_ids), np.int32([range(2, 10)]), np.int32([8]))
        loss = tf.reduce_sum(tf.stack(layers) ** 2)
    for name, gradient in zip(bilm.weights, tape.gradient(loss, list(bilm.weights.values()))):
        assert gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0, name


def test_initial_weights_come_from_the_seed():
    def initial(seed):
        tf.random.set_seed(seed)
        return {name: variable.numpy() for name, variable in BiLM(CONFIG).weights.items()}

    first, again, other = initial(1), initial(1), initial(2)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert np.array_equal(value, other[name]) == name.endswith("bias")


def test_highways_start_by_carrying():
    bias = BiLM(CONFIG).weights["highway0_bias"].numpy()
    np.testing.assert_array_equal(bias, [0.0] * 9 + [1.0] * 9)


def test_half_precision_storage_computes_in_float32():
    weights = random_weights(CONFIG)
    stored = BiLM(CONFIG, weights, storage=tf.float16)
    assert {variable.dtype for variable in stored.weights.values()} == {tf.float16}
    rounded = BiLM(CONFIG, {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()})
    for ours, expected in zip(layer_vectors(stored, MESSAGES), layer_vectors(rounded, MESSAGES)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_bfloat16_storage_is_for_what_bfloat16_products_round():
    """Half the bytes and the very same numbers; the char-CNN and the biases stay as they are."""
    weights = random_weights(CONFIG)
    stored = BiLM(CONFIG, weights, storage=tf.bfloat16, precision=tf.bfloat16)
    for name, variable in stored.weights.items():
        alone = name.startswith(("char", "conv")) or name.endswith("bias")
        assert variable.dtype == (tf.float32 if alone else tf.bfloat16), name
    rounding = BiLM(CONFIG, weights, precision=tf.bfloat16)
    exact = BiLM(CONFIG, weights)
    for ours, same, other in zip(*(layer_vectors(bilm, MESSAGES[:3]) for bilm in (stored, rounding, exact))):
        np.testing.assert_array_equal(ours, same)
        assert ours.dtype == np.float32 and 1e-4 < np.abs(ours - other).max() < 0.1


def test_bfloat16_storage_computes_in_float32_unless_asked():
    stored = BiLM(CONFIG, random_weights(CONFIG), storage=tf.bfloat16)
    rounded = BiLM(CONFIG, {name: variable.numpy().astype(np.float32) for name, variable in stored.weights.items()})
    for ours, expected in zip(layer_vectors(stored, MESSAGES), layer_vectors(rounded, MESSAGES)):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("change", [{"tokenizer": "letters"}, {"activation": "gelu"}], ids=str)
def test_unknown_names_are_refused(change):
    with pytest.raises(ValueError, match=f"unknown tokenizer or activation. Received: .*{next(iter(change.values()))}"):
        replace(CONFIG, **change)


def test_config_survives_json():
    assert BiLMConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    assert BiLMConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))).weight_shapes() == CONFIG.weight_shapes()
