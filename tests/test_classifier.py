"""The head: scalar mix, Dense, sigmoid."""

import keras
import numpy as np
import pytest

from spamcli.classifier import (
    EPOCHS_TRIED,
    ScalarMix,
    build_head,
    choose_epochs,
    fit_head,
    last_within_one_standard_error,
    mixing_weights,
    p_spam,
)
from spamcli.settings import HeadSettings


def separable(n=200, dim=6, seed=0):
    """Pooled layers of which only layer 1 tells the classes apart."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    pooled = random.normal(size=[n, 3, dim]).astype(np.float32)
    pooled[:, 1] += 2.0 * labels[:, None]
    return pooled, labels


def scalar_mix(layers, s, gamma):
    """The NumPy twin: layers [b, j, d]."""
    weights = np.exp(s) / np.exp(s).sum()
    return gamma * sum(weight * layers[:, j] for j, weight in enumerate(weights))


def test_scalar_mix_equals_its_numpy_twin():
    layers = np.random.default_rng(0).normal(size=[4, 3, 5]).astype(np.float32)
    mix = ScalarMix(3)
    mix.build(layers.shape)
    np.testing.assert_allclose(mix(layers), layers.mean(axis=1), atol=1e-6)  # untrained: the mean
    mix.set_weights([np.array([0.3, -1.0, 2.0]), np.array(1.7)])
    np.testing.assert_allclose(mix(layers), scalar_mix(layers, np.array([0.3, -1.0, 2.0]), 1.7), atol=1e-5)


def test_scalar_mix_has_four_trainable_numbers_and_refuses_other_inputs():
    mix = ScalarMix(3)
    mix.build([None, 3, 5])
    assert sum(weight.shape.num_elements() or 1 for weight in mix.trainable_weights) == 4
    with pytest.raises(ValueError, match="Received"):
        ScalarMix(3).build([None, 2, 5])


def test_head_is_the_tutorials():
    head = build_head(3, 8, HeadSettings())
    assert [type(layer).__name__ for layer in head.layers] == ["InputLayer", "ScalarMix", "Dense", "Dense"]
    assert head.layers[2].units == 256 and head.layers[2].activation is keras.activations.relu
    assert head.count_params() == 4 + (8 * 256 + 256) + (256 + 1)


def test_training_moves_the_mix_towards_the_layer_that_knows():
    pooled, labels = separable()
    head = fit_head(pooled, labels, HeadSettings(), epochs=60, seed=1)
    s, gamma = mixing_weights(head)
    assert s[1] > max(s[0], s[2]) and sum(s) == pytest.approx(1) and gamma != 1
    assert ((p_spam(head, pooled, 0.5) > 0.5) == labels).mean() > 0.95


def test_one_seed_one_head_another_seed_another():
    pooled, labels = separable()
    first, again, other = (p_spam(fit_head(pooled, labels, HeadSettings(), 2, seed), pooled, 0.5) for seed in (1, 1, 2))
    np.testing.assert_allclose(first, again, atol=1e-5)
    assert np.abs(first - other).max() > 1e-3


def test_epochs_are_the_most_that_are_within_a_standard_error_of_the_best():
    # the fewest are 9 of 100, their standard error is (9 * .91) ** .5 = 2.86: up to 11
    assert last_within_one_standard_error([30, 12, 9, 10, 11, 12, 14], 100) == 5
    assert last_within_one_standard_error([5, 0, 1, 3], 50) == 3  # none: as if it were one
    assert last_within_one_standard_error([7], 10) == 1


def test_epochs_are_chosen_on_the_validation_part():
    pooled, labels = separable(300)
    flipped = labels.copy()
    flipped[200:] = 1 - flipped[200:]  # a validation part that contradicts training: every epoch makes it worse
    settings = HeadSettings(learning_rate=0.02)
    train, validation = np.arange(200), np.arange(200, 300)
    agreeing = choose_epochs(pooled, labels, train, validation, settings, seed=1)
    assert choose_epochs(pooled, flipped, train, validation, settings, seed=1) < agreeing <= EPOCHS_TRIED


def test_messages_without_tokens_get_the_prior():
    pooled, labels = separable(50)
    head = fit_head(pooled, labels, HeadSettings(), 1, 1)
    pooled[7] = np.nan
    p = p_spam(head, pooled, 0.134)
    assert p[7] == 0.134 and np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
    assert p_spam(head, np.full([2, 3, 0], np.nan, np.float32), 0.134).tolist() == [0.134, 0.134]
