"""Writes ELMo in the format and with the TF1 graph of google/elmo/2 and /3, with random weights of any size.

The other implementation of ELMo, for tests and benchmarks: it shares no code with spamcli. It reads tokens in a v1 loop
over strings, and sentences with TF1's own `LSTMCell` and `dynamic_rnn`; names and shapes of the variables are those of
bilm-tf, whose highway gate lets the *transformed* input through.

    python tests/tf1_elmo.py DIR    # google/elmo's size, 93.6 million weights, 375 MB
"""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

# What tf.compat.v1.nn.rnn_cell is where TensorFlow runs on Keras 2; on Keras 3 it refuses.
from tf_keras.api._v1.keras.__internal__.legacy import rnn_cell

v1 = tf.compat.v1

ORIGINAL_SIZE = {
    "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
    "char_dim": 16,
    "max_characters": 50,
    "highways": 2,
    "cells": 4096,
    "projection": 512,
    "clip": 3.0,
}

# bilm-tf's ids before 1 is added to all of them, so that 0 is free for masking.
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PAD_CHAR = range(256, 261)
NUM_CHAR_IDS = 262

MODULE_DEF = b"\x08\x03"  # tfhub_module.pb: the protocol buffer ModuleDef, its field 1, format, being FORMAT_V3


def write_tf1_elmo(directory, *, filters, char_dim, max_characters=50, highways=2, cells, projection, clip=3.0, seed=0) -> None:
    """Write a TF1 TF-Hub module with ELMo's two signatures.

    Signature `default`: text, string [b], whose tokens are what spaces separate. Signature `tokens`: tokens, string
    [b, l], and sequence_len, int32 [b]. Outputs of both, all float32: word_emb [b, l, projection]; lstm_outputs1,
    lstm_outputs2 and elmo [b, l, 2 projection]; default [b, 2 projection], the mean of elmo over the real tokens
    (NaN for a text without any, as in the original). Padded places hold junk.

    Args:
        directory: where to; new or empty.
        filters: pairs (width, number) of the char-CNN.
        char_dim: length of a character's vector.
        max_characters: bytes of a token that are read, its two marks included.
        highways: highway layers after the char-CNN.
        cells, projection: sizes of each LSTM's cell and of its output.
        clip: bound of cells and projected outputs.
        seed: of all weights but the four of the scalar mix, which are untrained: s = 0, gamma = 1.
    """

    def outputs(tokens, lengths):
        char_ids = _sentence_char_ids(tokens, lengths, max_characters)
        with v1.variable_scope("bilm"):
            words = _char_cnn(char_ids, filters, char_dim, highways, projection)
            layers = _bilm_layers(words, lengths + 2, cells, projection, clip)
        word_emb, *layers = [layer[:, 1:-1] for layer in [words, *layers]]  # without the sentence marks
        elmo = _scalar_mix([tf.concat([word_emb, word_emb], axis=-1), *layers])
        mask = tf.sequence_mask(lengths, tf.shape(tokens)[1], tf.float32)[:, :, None]
        default = tf.reduce_sum(elmo * mask, axis=1) / tf.reduce_sum(mask, axis=1)
        lstm_outputs = {"lstm_outputs1": layers[0], "lstm_outputs2": layers[1]}
        return {"word_emb": word_emb, **lstm_outputs, "elmo": elmo, "default": default}

    with _tf1_control_flow(), tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("", use_resource=True, reuse=v1.AUTO_REUSE, initializer=v1.zeros_initializer()):
            text = v1.placeholder(tf.string, [None], "text")
            tokens = v1.placeholder(tf.string, [None, None], "tokens")
            lengths = v1.placeholder(tf.int32, [None], "sequence_len")
            inputs = {"default": {"text": text}, "tokens": {"tokens": tokens, "sequence_len": lengths}}
            results = {"default": outputs(*_split_at_spaces(text)), "tokens": outputs(tokens, lengths)}
        _initialise(session, seed)
        signatures = {name: v1.saved_model.predict_signature_def(inputs[name], results[name]) for name in inputs}
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, tags=[], signature_def_map=signatures)
        builder.save()
    (Path(directory) / "tfhub_module.pb").write_bytes(MODULE_DEF)


def _split_at_spaces(text):
    """string [b] -> tokens, string [b, l], and their number, int32 [b]."""
    tokens = tf.sparse.to_dense(v1.string_split(text, " "), default_value="")
    return tokens, tf.reduce_sum(tf.cast(tf.not_equal(tokens, ""), tf.int32), axis=1)


def _sentence_char_ids(tokens, lengths, max_characters):
    """Char ids of the tokens with sentence marks around: string [b, l], int32 [b] -> int32 [b, l + 2, chars]."""

    def char_ids(data):  # int32 [bytes] -> [chars]
        ids = tf.concat([[BEGIN_WORD], data[: max_characters - 2], [END_WORD]], axis=0)
        return tf.pad(ids, [[0, max_characters - tf.shape(ids)[0]]], constant_values=PAD_CHAR) + 1

    def read(token):
        return char_ids(tf.cast(tf.io.decode_raw(token, tf.uint8), tf.int32))

    batch, length = tf.unstack(tf.shape(tokens))
    ids = tf.map_fn(read, tf.reshape(tokens, [-1]), fn_output_signature=tf.TensorSpec([max_characters], tf.int32))
    ids = tf.reshape(ids, [batch, length, max_characters])
    begin = tf.tile(char_ids([BEGIN_SENTENCE])[None, None], [batch, 1, 1])
    ids = tf.concat([begin, ids, tf.zeros_like(begin)], axis=1)
    is_end = tf.equal(tf.range(length + 2)[None], lengths[:, None] + 1)  # [b, l + 2]
    return tf.where(is_end[:, :, None], char_ids([END_SENTENCE])[None, None], ids)


def _weight(name, *shape):
    return v1.get_variable(name, shape, trainable=False)


def _char_cnn(char_ids, filters, char_dim, highways, projection):
    """Layer 0: int32 [b, t, chars] -> float32 [b, t, projection]."""
    shape = tf.shape(char_ids)
    x = tf.nn.embedding_lookup(_weight("char_embed", NUM_CHAR_IDS, char_dim), char_ids)
    x = tf.reshape(x, [-1, 1, char_ids.shape[2], char_dim])  # [b * t, 1, chars, char_dim]
    features = []
    with v1.variable_scope("CNN"):
        for i, (width, number) in enumerate(filters):
            kernel, bias = _weight(f"W_cnn_{i}", 1, width, char_dim, number), _weight(f"b_cnn_{i}", number)
            y = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=1, padding="VALID") + bias)
            features.append(tf.reduce_max(y, axis=[1, 2]))
    x = tf.concat(features, axis=-1)  # [b * t, all filters]
    dim = x.shape[1]
    for i in range(highways):
        with v1.variable_scope(f"CNN_high_{i}"):
            gate = tf.sigmoid(x @ _weight("W_carry", dim, dim) + _weight("b_carry", dim))
            transformed = tf.nn.relu(x @ _weight("W_transform", dim, dim) + _weight("b_transform", dim))
            x = gate * transformed + (1.0 - gate) * x
    with v1.variable_scope("CNN_proj"):
        x = x @ _weight("W_proj", dim, projection) + _weight("b_proj", projection)
    return tf.reshape(x, [shape[0], shape[1], projection])


def _bilm_layers(words, lengths, cells, projection, clip):
    """Both LSTM layers of both directions: float32 [b, t, projection] -> 2 x [b, t, 2 projection]."""
    directions = []
    for i in range(2):
        turn = (lambda x: tf.reverse_sequence(x, lengths, seq_axis=1)) if i else tf.identity
        x, layers = turn(words), []
        for k in range(2):
            with v1.variable_scope(f"RNN_{i}/RNN/MultiRNNCell/Cell{k}"):
                cell = rnn_cell.LSTMCell(cells, num_proj=projection, cell_clip=clip, proj_clip=clip, trainable=False)
                y, _ = v1.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32)
            x = y + x if k else y
            layers.append(turn(x))
        directions.append(layers)
    return [tf.concat(pair, axis=-1) for pair in zip(*directions)]


def _scalar_mix(layers):
    """gamma * sum_j softmax(s)_j h_j; its four weights are all that can be trained."""
    with v1.variable_scope("aggregation"):
        s = v1.get_variable("weights", [len(layers)], initializer=v1.zeros_initializer())
        gamma = v1.get_variable("scaling", [], initializer=v1.ones_initializer())
    return gamma * sum(share * layer for share, layer in zip(tf.unstack(tf.nn.softmax(s)), layers))


def _initialise(session, seed):
    """Weights keep the size of what they multiply; biases are small, but never zero: a test shall notice them."""
    session.run(v1.variables_initializer(v1.trainable_variables()))
    random = np.random.default_rng(seed)
    frozen = [variable for variable in v1.global_variables() if not variable.trainable]
    for variable in sorted(frozen, key=lambda variable: variable.name):
        value = random.standard_normal(variable.shape.as_list(), np.float32)
        if value.ndim == 1:
            value *= 0.2
        elif "char_embed" not in variable.name:
            value *= np.prod(value.shape[:-1]) ** -0.5
        session.run(variable.initializer, {variable.initializer.inputs[1]: value})


@contextlib.contextmanager
def _tf1_control_flow():
    """Loops become TF1's Enter, Merge, Switch, Exit; afterwards TensorFlow is what it was."""
    was_v2 = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LSTMCell is deprecated, as it should be here
            yield
    finally:
        if was_v2:
            v1.enable_control_flow_v2()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/tf1_elmo.py DIR")
    write_tf1_elmo(sys.argv[1], **ORIGINAL_SIZE)
