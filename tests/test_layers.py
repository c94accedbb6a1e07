"""The biLM's pieces against twins in NumPy, written from the formulas, and against automatic differentiation."""

import numpy as np
import pytest
import tensorflow as tf

from spamcli.bilm import layers

STEPS, BATCH, DIM, CELLS, PROJECTION = 7, 3, 5, 6, 4
# A bound that these weights never reach, one that outputs reach, one that cells and outputs reach all the time.
CLIPS = {"inactive": 50.0, "outputs": 0.6, "cells": 0.3}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return max(0.0, x)


def numpy_char_cnn(char_ids, embedding, kernels, biases, activation=relu):
    """One token, one filter, one position at a time."""
    rows = []
    for ids in char_ids:
        features = []
        for kernel, bias in zip(kernels, biases):
            width, _, num_filters = kernel.shape
            for n in range(num_filters):
                windows = [embedding[ids[p : p + width]] for p in range(len(ids) - width + 1)]
                features.append(max(activation((window * kernel[:, :, n]).sum() + bias[n]) for window in windows))
        rows.append(features)
    return np.array(rows)


def numpy_highway(x, kernel, bias):
    dim = x.shape[-1]
    carry = sigmoid(x @ kernel[:, dim:] + bias[dim:])
    return carry * x + (1 - carry) * np.maximum(0, x @ kernel[:, :dim] + bias[:dim])


def numpy_lstm(x, input_kernel, recurrent_kernel, bias, projection, clip):
    """[steps, batch, dim] -> outputs [steps, batch, projection] and cells [steps, batch, cells], in float64."""
    h, c = np.zeros([x.shape[1], projection.shape[1]]), np.zeros([x.shape[1], projection.shape[0]])
    outputs, cells = [], []
    for x_t in x.astype(np.float64):
        i, j, f, o = np.split(x_t @ input_kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = np.clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), -clip, clip)
        h = np.clip((sigmoid(o) * np.tanh(c)) @ projection, -clip, clip)
        outputs.append(h)
        cells.append(c)
    return np.array(outputs), np.array(cells)


def lstm_arguments(seed=0):
    """x, input_kernel, recurrent_kernel, bias, projection."""
    random = np.random.default_rng(seed)
    shapes = [STEPS, BATCH, DIM], [DIM, 4 * CELLS], [PROJECTION, 4 * CELLS], [4 * CELLS], [CELLS, PROJECTION]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_char_cnn_equals_its_twin(activation):
    random = np.random.default_rng(0)
    char_ids = random.integers(0, 262, [5, 9])
    embedding = random.normal(size=[262, 3]).astype(np.float32)
    kernels = [random.normal(size=[width, 3, number]).astype(np.float32) for width, number in [(1, 2), (2, 4), (5, 3)]]
    biases = [random.normal(size=kernel.shape[-1]).astype(np.float32) - 2 for kernel in kernels]
    expected = numpy_char_cnn(char_ids, embedding, kernels, biases, {"relu": relu, "tanh": np.tanh}[activation])
    if activation == "relu":
        assert (expected == 0).any() and (expected > 0).any()  # the relu cuts some
    np.testing.assert_allclose(layers.char_cnn(char_ids, embedding, kernels, biases, activation), expected, atol=1e-5)


def test_char_cnns_activation_is_relu_unless_said():
    ids, embedding = np.int32([[0, 1]]), np.float32([[-1], [-2]])
    assert layers.char_cnn(ids, embedding, [np.float32([[[1]]])], [np.float32([0])]) == 0.0


def test_highway_equals_its_twin():
    random = np.random.default_rng(0)
    x, kernel, bias = (random.normal(size=shape).astype(np.float32) for shape in ([5, 4], [4, 8], [8]))
    np.testing.assert_allclose(layers.highway(x, kernel, bias), numpy_highway(x, kernel, bias), atol=1e-5)


def test_highway_carries_its_input_when_the_gate_is_open():
    random = np.random.default_rng(0)
    x, kernel = (random.normal(size=shape).astype(np.float32) for shape in ([5, 4], [4, 8]))
    carries, transforms = (np.repeat(np.float32([0, gate]), 4) for gate in (50, -50))
    np.testing.assert_allclose(layers.highway(x, kernel, carries), x, atol=1e-6)
    np.testing.assert_allclose(layers.highway(x, kernel, transforms), np.maximum(0, x @ kernel[:, :4]), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
def test_lstm_equals_its_twin(clip, training):
    arguments = lstm_arguments()
    outputs, cells = numpy_lstm(*arguments, clip)
    assert (np.abs(outputs) == clip).any() == (clip < 50)
    assert (np.abs(cells) == clip).any() == (clip < 50)
    np.testing.assert_allclose(layers.projected_lstm(*arguments, clip, training=training), outputs, atol=1e-5)


def plain_lstm(x, input_kernel, recurrent_kernel, bias, projection, clip):
    """For automatic differentiation: the formulas in a Python loop."""
    h, c, outputs = tf.zeros([BATCH, PROJECTION]), tf.zeros([BATCH, CELLS]), []
    for t in range(STEPS):
        i, j, f, o = tf.split(x[t] @ input_kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = tf.clip_by_value(tf.sigmoid(f + 1) * c + tf.sigmoid(i) * tf.tanh(j), -clip, clip)
        h = tf.clip_by_value((tf.sigmoid(o) * tf.tanh(c)) @ projection, -clip, clip)
        outputs.append(h)
    return tf.stack(outputs)


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
def test_lstm_gradient_by_hand_equals_automatic_differentiation(clip):
    arguments = [tf.constant(argument) for argument in lstm_arguments()]
    weight_of_output = np.random.default_rng(1).normal(size=[STEPS, BATCH, PROJECTION]).astype(np.float32)

    def gradients(lstm, **options):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.reduce_sum(lstm(*arguments, clip, **options) * weight_of_output)
        return tape.gradient(loss, arguments)

    by_hand, expected = gradients(layers.projected_lstm, training=True), gradients(plain_lstm)
    for ours, theirs in zip(by_hand, expected):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_lstm_gradient_in_a_graph_of_unknown_length():
    """As pretraining runs it: the same numbers as without a graph."""
    arguments = [tf.constant(argument) for argument in lstm_arguments()]

    def gradients(x, *weights):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(layers.projected_lstm(x, *weights, 0.6, training=True) ** 2)
        return tape.gradient(loss, [x, *weights])

    unknown = [tf.TensorSpec([None, None, DIM]), *(tf.TensorSpec(weight.shape) for weight in arguments[1:])]
    for ours, theirs in zip(tf.function(gradients, unknown)(*arguments), gradients(*arguments)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_lstm_starts_from_zero_state_and_looks_back_only():
    x, *weights = lstm_arguments()
    whole = layers.projected_lstm(x, *weights, 3.0)
    np.testing.assert_allclose(layers.projected_lstm(x[:1], *weights, 3.0), whole[:1], atol=1e-6)
    np.testing.assert_allclose(layers.projected_lstm(x[:, 1:2], *weights, 3.0), whole[:, 1:2], atol=1e-6)
    changed = x.copy()
    changed[4] += 1
    different = np.abs(layers.projected_lstm(changed, *weights, 3.0) - whole).max(axis=(1, 2)) > 1e-6
    assert different.tolist() == [False] * 4 + [True] * 3


def test_bfloat16_is_near_float32():
    """bfloat16 keeps 8 bits, so a product of numbers about 1 is off by 2**-8; within 2**-4 after seven steps."""
    arguments = lstm_arguments()
    exact = layers.projected_lstm(*arguments, 3.0)
    rounded = layers.projected_lstm(*arguments, 3.0, tf.bfloat16)
    assert rounded.dtype == tf.float32
    assert 2**-12 < np.abs(rounded - exact).max() < 2**-4


def test_bfloat16_gradient_is_near_float32():
    """Each weight's gradient points the same way to within 1 %, as measured by the cosine."""
    arguments = [tf.constant(argument) for argument in lstm_arguments()]

    def gradients(precision):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.reduce_sum(layers.projected_lstm(*arguments, 0.6, precision, training=True) ** 2)
        return [np.ravel(gradient) for gradient in tape.gradient(loss, arguments)]

    for exact, rounded in zip(gradients(tf.float32), gradients(tf.bfloat16)):
        assert exact @ rounded > 0.99 * np.linalg.norm(exact) * np.linalg.norm(rounded)


def test_matmul_rounds_only_when_asked():
    a, b = np.float32([[1 + 2**-10]]), np.float32([[1.0]])
    assert layers.matmul(a, b) == np.float32(1 + 2**-10)
    assert layers.matmul(a, b, tf.bfloat16) == 1.0
