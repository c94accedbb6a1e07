"""The classifier on top of a frozen ELMo: scalar mix, Dense 256, sigmoid."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops
from sklearn.metrics import log_loss, zero_one_loss

from spamcli.settings import THRESHOLD, HeadSettings

EPOCHS_TRIED = 30  # at most, when the number of epochs is chosen


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
    head.compile(keras.optimizers.Adam(settings.learning_rate), "binary_crossentropy", jit_compile=False)
    return head


def fit_head(
    pooled: np.ndarray,
    labels: np.ndarray,
    settings: HeadSettings,
    epochs: int,
    seed: int,
    after_epoch: Callable[[int, keras.Model], bool | None] = lambda epoch, head: None,
) -> keras.Model:
    """Train a head on pooled layers (float32 [n, 3, dim]) and labels (int [n]).

    Args:
        after_epoch: called with the number of epochs done and the head; True stops the training.
    """
    keras.utils.set_random_seed(seed)
    head = build_head(*pooled.shape[1:], settings)

    def ended(epoch, logs):
        head.stop_training = bool(after_epoch(epoch + 1, head))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=ended)
    head.fit(pooled, labels, settings.batch_size, epochs, verbose=0, callbacks=[callback])
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
    """Epochs with the fewest errors on the validation part, of these the one with the lowest log loss.

    The loss alone stops too early: it counts how sure a head is of its errors, and verdicts go on improving after that.

    Args:
        pooled, labels: float32 [n, 3, dim], int [n]; train, validation: positions in them.
        shown: called with the number of epochs done.
    """
    results = []

    def measure(epoch, head):
        p = p_spam(head, pooled[validation], prior=0.5)
        results.append((zero_one_loss(labels[validation], p >= THRESHOLD), log_loss(labels[validation], p)))
        shown(epoch)

    fit_head(pooled[train], labels[train], settings, EPOCHS_TRIED, seed, measure)
    return results.index(min(results)) + 1


def mixing_weights(head: keras.Model) -> tuple[list[float], float]:
    """The learned s after its softmax, one weight a layer, and gamma."""
    mix = head.get_layer("scalar_mix")
    return [float(weight) for weight in ops.softmax(mix.s)], float(mix.gamma)


def p_spam(head: keras.Model, pooled: np.ndarray, prior: float) -> np.ndarray:
    """p_spam of pooled layers (float32 [n, 3, dim]): float64 [n]; the prior where they are NaN, a message without tokens."""
    result = np.full(len(pooled), prior)
    spoken = ~np.isnan(pooled).any(axis=(1, 2)) & (pooled.shape[2] > 0)
    if spoken.any():
        result[spoken] = head.predict_on_batch(pooled[spoken])[:, 0]
    return result
