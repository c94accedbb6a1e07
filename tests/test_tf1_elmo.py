"""The TF1 module is what google/elmo is: its format, its loops, its signatures, and the biLM's numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tf1_elmo import write_tf1_elmo

pytestmark = pytest.mark.slow

FILTERS, MAX_CHARACTERS, HIGHWAYS, CELLS, PROJECTION = [(1, 4), (2, 5), (3, 6)], 12, 2, 16, 8
SIZE = {
    "filters": FILTERS,
    "char_dim": 4,
    "max_characters": MAX_CHARACTERS,
    "highways": HIGHWAYS,
    "cells": CELLS,
    "projection": PROJECTION,
}
MESSAGES = ["Free entry now", " two  spaces ", "naïve £1000", "tab\tand\nline stay", "longer-than-twelve-bytes x"]
TOKENS = [
    ["Free", "entry", "now"],
    ["two", "spaces"],
    ["naïve", "£1000"],
    ["tab\tand\nline", "stay"],
    ["longer-than-twelve-bytes", "x"],
]
LONG = [token for tokens in TOKENS for token in tokens]
LENGTHS = [len(tokens) for tokens in TOKENS]
OUTPUTS = {"word_emb", "lstm_outputs1", "lstm_outputs2", "elmo", "default"}


@pytest.fixture(scope="module", params=[3.0, 0.2], ids=["clip3", "clip0.2"])
def clip(request):
    """The original's bound, which random weights hardly reach, and one that they reach all the time."""
    return request.param


@pytest.fixture(scope="module")
def directory(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("tf1_elmo") / "module"
    write_tf1_elmo(path, **SIZE, clip=clip, seed=1)
    return path


@pytest.fixture(scope="module")
def module(directory):
    return hub.load(str(directory))


@pytest.fixture(scope="module")
def graph_def(directory):
    (meta_graph,) = SavedModel.FromString((directory / "saved_model.pb").read_bytes()).meta_graphs
    assert not meta_graph.meta_info_def.tags
    return meta_graph.graph_def


def by_text(module, messages):
    outputs = module.signatures["default"](text=tf.constant(messages))
    return {name: value.numpy() for name, value in outputs.items()}


def by_tokens(module, sentences, length=None):
    length = length or max(map(len, sentences))
    tokens = tf.constant([[*sentence, *[""] * (length - len(sentence))] for sentence in sentences])
    lengths = tf.constant([len(sentence) for sentence in sentences], tf.int32)
    outputs = module.signatures["tokens"](tokens=tokens, sequence_len=lengths)
    return {name: value.numpy() for name, value in outputs.items()}


def test_is_a_hub_module_of_the_tf1_format(directory, module):
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    checkpoint = {"variables/variables.index", "variables/variables.data-00000-of-00001"}
    assert files == {"saved_model.pb", "tfhub_module.pb", *checkpoint}
    assert module._is_hub_module_v1


def test_signatures_have_the_inputs_and_outputs_of_elmo(module):
    assert set(module.signatures) == {"default", "tokens"}

    def described(specs):
        return {name: (spec.dtype, spec.shape.as_list()) for name, spec in specs.items()}

    assert {name: described(signature.structured_input_signature[1]) for name, signature in module.signatures.items()} == {
        "default": {"text": (tf.string, [None])},
        "tokens": {"tokens": (tf.string, [None, None]), "sequence_len": (tf.int32, [None])},
    }
    shapes = {name: [None, None, 2 * PROJECTION] for name in OUTPUTS}
    shapes |= {"word_emb": [None, None, PROJECTION], "default": [None, 2 * PROJECTION]}
    for signature in module.signatures.values():
        assert described(signature.structured_outputs) == {name: (tf.float32, shape) for name, shape in shapes.items()}


def test_graph_has_tf1_loops_and_string_ops(graph_def):
    ops = {node.op for node in graph_def.node}
    assert {"Enter", "Merge", "Switch", "LoopCond", "NextIteration", "Exit"} <= ops
    assert {"StringSplit", "DecodeRaw", "TensorArrayV3", "ReverseSequence"} <= ops
    assert not {"While", "StatelessWhile"} & ops and not graph_def.library.function
    loops = {node.name for node in graph_def.node if node.op == "LoopCond"}
    assert len(loops) == 2 * (1 + 4)  # in each signature one over tokens, and one an LSTM


def test_tensorflow_is_left_as_it_was(tmp_path):
    before = tf.compat.v1.control_flow_v2_enabled()
    with pytest.raises(AssertionError):  # by the Builder, the directory not being empty
        (tmp_path / "file").touch()
        write_tf1_elmo(tmp_path, **SIZE)
    assert tf.compat.v1.control_flow_v2_enabled() == before
    assert tf.executing_eagerly()


def test_the_seed_is_all_the_chance_there_is(directory, clip, tmp_path):
    for seed, same in [(1, True), (2, False)]:
        write_tf1_elmo(tmp_path / str(seed), **SIZE, clip=clip, seed=seed)
        first, second = _weights(directory), _weights(tmp_path / str(seed))
        assert set(first) == set(second)
        assert all(np.array_equal(first[name], second[name]) == same for name in first if name.startswith("bilm"))


def test_only_the_scalar_mix_is_trainable(directory):
    with tf.Graph().as_default():
        (meta_graph,) = SavedModel.FromString((directory / "saved_model.pb").read_bytes()).meta_graphs
        tf.compat.v1.train.import_meta_graph(meta_graph)
        variables = tf.compat.v1.trainable_variables()
    assert {variable.op.name: variable.shape.as_list() for variable in variables} == {
        "aggregation/weights": [3],
        "aggregation/scaling": [],
    }
    weights = _weights(directory)
    assert weights["aggregation/weights"].tolist() == [0, 0, 0] and weights["aggregation/scaling"] == 1


def test_both_signatures_agree(module):
    expected = by_text(module, MESSAGES)
    for name, value in by_tokens(module, TOKENS).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_padding_is_inert(module):
    together = by_tokens(module, TOKENS, length=7)
    for row, sentence in enumerate(TOKENS):
        alone = by_tokens(module, [sentence])
        for name in OUTPUTS - {"default"}:
            np.testing.assert_allclose(together[name][row, : len(sentence)], alone[name][0], atol=1e-5)
        np.testing.assert_allclose(together["default"][row], alone["default"][0], atol=1e-5)


def test_calls_leave_no_state(module):
    first = by_text(module, MESSAGES)
    by_text(module, ["something else entirely"])
    for name, value in by_text(module, MESSAGES).items():
        np.testing.assert_allclose(value, first[name], atol=1e-6)


def test_default_is_the_masked_mean_of_the_layers(module):
    outputs = by_tokens(module, TOKENS)
    word = np.concatenate([outputs["word_emb"]] * 2, axis=-1)
    elmo = (word + outputs["lstm_outputs1"] + outputs["lstm_outputs2"]) / 3
    mean = [row[:length].mean(axis=0) for row, length in zip(elmo, LENGTHS)]
    np.testing.assert_allclose(outputs["elmo"], elmo, atol=1e-6)
    np.testing.assert_allclose(outputs["default"], mean, atol=1e-6)


@pytest.mark.parametrize("message", ["", " "])
def test_text_without_tokens_gives_nan(module, message):
    assert np.isnan(by_text(module, [message])["default"]).all()
    beside = by_text(module, [message, MESSAGES[0]])["default"]
    assert np.isnan(beside).all(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("sentence", [*TOKENS, LONG])
def test_numbers_are_those_of_a_numpy_bilm(directory, module, clip, sentence):
    outputs, (word, *layers) = by_tokens(module, [sentence]), _numpy_bilm(_weights(directory), sentence, clip)
    np.testing.assert_allclose(outputs["word_emb"][0], word, atol=1e-5)
    np.testing.assert_allclose(outputs["lstm_outputs1"][0], layers[0], atol=1e-5)
    np.testing.assert_allclose(outputs["lstm_outputs2"][0], layers[1], atol=1e-5)


def test_a_small_clip_bounds_both_cells_and_outputs(directory):
    weights = _weights(directory)
    expected = _numpy_bilm(weights, LONG, 0.2)[2]
    for clips in [(np.inf, 0.2), (0.2, np.inf)]:
        assert not np.allclose(_numpy_bilm(weights, LONG, *clips)[2], expected, atol=1e-3)


def _weights(directory):
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _numpy_bilm(weights, sentence, cell_clip, output_clip=None):
    """Layers 0, 1 and 2 of one sentence, a token at a time."""
    clips = cell_clip, output_clip or cell_clip
    tokens = [[byte + 1 for byte in token.encode()[: MAX_CHARACTERS - 2]] for token in sentence]
    words = np.stack([_numpy_word(weights, ids) for ids in [[257], *tokens, [258]]])  # [t + 2, projection]
    forward, backward = _numpy_lstms(weights, 0, words, *clips), _numpy_lstms(weights, 1, words[::-1], *clips)
    layers = [np.concatenate([f, b[::-1]], axis=1)[1:-1] for f, b in zip(forward, backward)]
    return [words[1:-1], *layers]


def _numpy_word(weights, ids):
    """Char-CNN, highways and projection of one token: list of char ids -> [projection]."""
    ids = [259, *ids, 260]
    ids += [261] * (MAX_CHARACTERS - len(ids))
    characters, features = weights["bilm/char_embed"][ids], []
    for i, (width, _) in enumerate(FILTERS):
        kernel, bias = weights[f"bilm/CNN/W_cnn_{i}"][0], weights[f"bilm/CNN/b_cnn_{i}"]
        windows = [characters[start : start + width] for start in range(MAX_CHARACTERS - width + 1)]
        y = [np.einsum("wc,wcf->f", window, kernel) + bias for window in windows]
        features.append(np.maximum(0, y).max(axis=0))
    x = np.concatenate(features)
    for i in range(HIGHWAYS):
        parts = [(weights[f"bilm/CNN_high_{i}/W_{p}"], weights[f"bilm/CNN_high_{i}/b_{p}"]) for p in ("carry", "transform")]
        carry, transform = (x @ kernel + bias for kernel, bias in parts)
        gate = sigmoid(carry)
        x = gate * np.maximum(0, transform) + (1 - gate) * x
    return x @ weights["bilm/CNN_proj/W_proj"] + weights["bilm/CNN_proj/b_proj"]


def _numpy_lstms(weights, direction, x, cell_clip, output_clip):
    """Two LSTMs in the order of reading: [t, projection] -> 2 x [t, projection]."""
    outputs = []
    for k in range(2):
        name = f"bilm/RNN_{direction}/RNN/MultiRNNCell/Cell{k}/rnn/lstm_cell"
        kernel, bias, projection = (weights[f"{name}/{part}"] for part in ("kernel", "bias", "projection/kernel"))
        h, c, y = np.zeros(PROJECTION), np.zeros(CELLS), []
        for x_t in x:
            i, j, f, o = np.split(np.concatenate([x_t, h]) @ kernel + bias, 4)
            c = np.clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), -cell_clip, cell_clip)
            h = np.clip((sigmoid(o) * np.tanh(c)) @ projection, -output_clip, output_clip)
            y.append(h)
        x = np.stack(y) + x if k else np.stack(y)
        outputs.append(x)
    return outputs


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
