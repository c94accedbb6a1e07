"""The classifier on top of a frozen ELMo: scalar mix, Dense 256, sigmoid."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from spamcli.elmo import has_tokens
from spamcli.settings import THRESHOLD, HeadSettings

EPOCHS_TRIED = 20  # when their number is chosen; in cross-validation inside the training rows, more gained nothing


@keras.saving.register_keras_serializable(package="spamcli")
class ScalarMix(keras.layers.Layer):
    """Blend the biLM layers into one vector: gamma * sum_j softmax(s)_j h_j (Peters et al. 2018, eq. 1).

    Args:
        num_layers: layers to blend, char-CNN included; 3 for ELMo.
    Call: float32 [batch, layers, dim] -> float32 [batch, dim].
    Raises: ValueError, if the input does not hold `num_layers` layers.
    """

    def __init__(self, num_layers: int, **kwargs):
        super().__init__(**kwargs)
        self.num_layers = num_layers

    def build(self, input_shape):
        if input_shape[1] != self.num_layers:
            raise ValueError(f"ScalarMix blends {self.num_layers} layers. Received: input of shape {input_shape}")
        self.s = self.add_weight(shape=(self.num_layers,), initializer="zeros", name="s")
        self.gamma = self.add_weight(shape=(), initializer="ones", name="gamma")

    def call(self, layers):
        return self.gamma * ops.einsum("j,bjd->bd", ops.softmax(self.s), layers)

    def get_config(self):
        return {**super().get_config(), "num_layers": self.num_layers}


def build_head(num_layers: int, dim: int, settings: HeadSettings) -> keras.Model:
    """Pooled layers float32 [b, layers, dim] -> scalar mix -> Dense relu -> Dense 1 sigmoid: p_spam float32 [b, 1]."""
    pooled = keras.Input([num_layers, dim], name="pooled_layers")
    mixed = ScalarMix(num_layers, name="scalar_mix")(pooled)
    hidden = keras.layers.Dense(settings.hidden, activation="relu", name="hidden")(mixed)
    head = keras.Model(pooled, keras.layers.Dense(1, activation="sigmoid", name="p_spam")(hidden))
    head.compile(
        keras.optimizers.Adam(settings.learning_rate), "binary_crossentropy", jit_compile=False, steps_per_execution=25
    )
    return head


def fit_head(
    pooled: np.ndarray,
    labels: np.ndarray,
    settings: HeadSettings,
    epochs: int,
    seed: int,
    after_epoch: Callable[[int, keras.Model], None] = lambda epoch, head: None,
) -> keras.Model:
    """Train a head on pooled layers (float32 [n, 3, dim]) and labels (int [n]).

    Args:
        after_epoch: called with the number of epochs done and the head.
    """
    keras.utils.set_random_seed(seed)
    head = build_head(*pooled.shape[1:], settings)

    messages = tf.data.Dataset.from_tensor_slices((pooled, labels)).shuffle(len(pooled), seed=seed).batch(settings.batch_size)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after_epoch(epoch + 1, head))
    head.fit(messages.prefetch(2), epochs=epochs, verbose=0, shuffle=False, callbacks=[callback])
    return head


def choose_epochs(
    pooled: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    settings: HeadSettings,
    seed: int,
    shown: Callable[[int], None] = lambda epoch: None,
) -> int:
    """The most epochs, of EPOCHS_TRIED, with errors on the validation part within a standard error of the fewest.

    Errors fall to a plateau, and differ by luck there: the fewest alone would often be met by chance early on the way.
    The lowest log loss comes earlier still, because it counts how sure a head is of its few errors.

    Args:
        pooled, labels: float32 [n, 3, dim], int [n]; train, validation: positions in them.
        shown: called with the number of epochs done.
    """
    errors = []

    def measure(epoch, head):
        verdicts = p_spam(head, pooled[validation], prior=0.5) >= THRESHOLD
        errors.append(int((verdicts != labels[validation]).sum()))
        shown(epoch)

    fit_head(pooled[train], labels[train], settings, EPOCHS_TRIED, seed, measure)
    return last_within_one_standard_error(errors, len(validation))


def last_within_one_standard_error(errors: list[int], n: int) -> int:
    """Position, from 1, of the last of some error counts of n that is at most the fewest plus its (binomial) standard error."""
    fewest = max(min(errors), 1)  # none in n does not mean that none can happen
    bound = fewest + (fewest * (1 - fewest / n)) ** 0.5
    return max(position for position, count in enumerate(errors, start=1) if count <= bound)


def mixing_weights(head: keras.Model) -> tuple[list[float], float]:
    """The learned s after its softmax, one weight a layer, and gamma."""
    mix = head.get_layer("scalar_mix")
    return [float(weight) for weight in ops.softmax(mix.s)], float(mix.gamma)


def p_spam(head: keras.Model, pooled: np.ndarray, prior: float) -> np.ndarray:
    """p_spam of pooled layers (float32 [n, 3, dim]): float64 [n]; the prior where they are NaN, a message without tokens."""
    result = np.full(len(pooled), prior)
    spoken = has_tokens(pooled)
    if spoken.any():
        result[spoken] = head.predict_on_batch(pooled[spoken])[:, 0]
    return result
