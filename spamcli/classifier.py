"""The classifier on top of a frozen ELMo.

Deep: scalar mix, Dense 256, sigmoid, several such heads averaged. Wide, beside it: a linear part over n-grams (Cheng et al.
2016): a linear SVM, and naive Bayes. Each head, and each linear part, learns without another fold of the training messages; on
the messages that they have not seen, a logistic regression learns how much to believe each. So p_spam is calibrated as well.
What has few numbers or knows no labels is learned from all training messages: the scalar mix, the normalisation, the weights of
n-grams.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from scipy.sparse import csr_matrix, hstack
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from spamcli import ngrams
from spamcli.characters import in_another_script
from spamcli.elmo import ELMo, has_tokens
from spamcli.ngrams import BITS, Entries, Linear, Means, Presence, TfIdf, Wide
from spamcli.protocols import folds
from spamcli.settings import BOUND, ClassifierSettings
from spamcli.word_vectors import WordVectors

SVM_C = 1.0  # of the linear SVM
SMOOTHING = 0.1  # of naive Bayes: in how many messages more of a class each n-gram is held to occur
STACK_C = 10.0  # of the logistic regression: hardly any regularisation, but a finite answer where classes are separable


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


@dataclass(frozen=True, eq=False)
class Features:
    """What a classifier knows of n messages.

    Attributes:
        pooled: means over the tokens of the biLM's layers, with `mean+max` the maxima behind them, float32 [n, 3, dim]; NaN
            where there are no tokens.
        counted: their n-grams; or their words, if these are to be looked up in `vectors`.
        in_another_script: as `characters` has it, bool [n].
    """

    pooled: np.ndarray
    counted: Entries
    in_another_script: np.ndarray
    vectors: WordVectors | None = None

    @classmethod
    def of(
        cls,
        elmo: ELMo,
        texts: Sequence[str],
        progress: Callable[[int, int], None] = lambda done, total: None,
        static: WordVectors | Wide | None = None,
    ) -> "Features":
        """Those of messages; `static` counts what is to stand beside the ELMo, by default n-grams."""
        counted = static.count(texts) if static else ngrams.count(texts)
        vectors = static if isinstance(static, WordVectors) else None
        return cls(elmo.pooled_layers(texts, progress), counted, np.array(list(map(in_another_script, texts)), bool), vectors)

    def __getitem__(self, rows: np.ndarray) -> "Features":
        """Those of some messages: positions, int [m]."""
        return Features(self.pooled[rows], self.counted.of(rows), self.in_another_script[rows], self.vectors)

    def __len__(self) -> int:
        return len(self.pooled)

    @property
    def spoken(self) -> np.ndarray:
        """Which messages have tokens: bool [n]."""
        return has_tokens(self.pooled)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Features of messages -> log-odds of spam.

    Attributes:
        heads: pooled layers, float32 [b, 3, dim] -> log-odds of each head, float32 [b, heads].
        wide: None without static features.
        stack: weight of the heads' mean, weight of each linear part, bias.
        prior: share of spam among the training messages; p_spam of one without tokens, and of a foreign one at most.
        unseen: log-odds of each training message by what had not seen it, float64 [n]; None for a single head, or once saved.
    """

    heads: keras.Model
    wide: Wide | None
    stack: tuple[float, ...]
    prior: float
    unseen: np.ndarray | None = None

    def log_odds(self, features: Features) -> np.ndarray:
        """float64 [n]; exact also where p_spam is rounded to 1."""
        return self.stacked(_predict(self.heads, features).mean(axis=1), features)

    def stacked(self, deep: np.ndarray, features: Features) -> np.ndarray:
        """Log-odds of spam from the heads' mean, float64 [n]: float64 [n]."""
        deep_weight, *_, bias = self.stack
        static, foreign = self.static(features)
        log_odds = deep_weight * deep + static + bias
        held = np.where(foreign, np.minimum(log_odds, self._prior_log_odds), log_odds)
        return np.where(features.spoken, held, self._prior_log_odds)

    def static(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """What the linear parts add to the log-odds, float64 [n]; which messages are foreign, bool [n].

        That is, in another script than Latin, and unfamiliar: of spam in it nothing is known.
        """
        if not self.wide:
            return np.zeros(len(features)), np.zeros(len(features), bool)
        scores, unfamiliar = self.wide.read(features.counted, len(features))
        return scores @ self.stack[1:-1], unfamiliar & features.in_another_script

    def p_spam(self, features: Features) -> np.ndarray:
        """Probability of spam: float64 [n]."""
        return self.probabilities(self.log_odds(features), features)

    def probabilities(self, log_odds: np.ndarray, features: Features) -> np.ndarray:
        """Log-odds as probabilities, those of the prior as the prior itself: float64 [n]."""
        return np.where(features.spoken & (log_odds != self._prior_log_odds), expit(log_odds), self.prior)

    def normalised(self, pooled: np.ndarray) -> np.ndarray:
        """The layers as they go into the mix: float32 [n, 3, dim]."""
        return _part(self.heads.input, self._mix.input, pooled)

    def deep(self, normalised: np.ndarray) -> np.ndarray:
        """The heads' mean log-odds of such layers: float64 [n]."""
        return np.asarray(bounded(_part(self._mix.input, self.heads.output, normalised)), np.float64).mean(axis=1)

    def mixed(self, pooled: np.ndarray) -> np.ndarray:
        """The mix of the layers: float32 [n, dim]; NaN where there are no tokens."""
        return _part(self.heads.input, self._mix.output, pooled)

    @property
    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation that the layers are normalised with: float32, [1, 3, dim] or 0 and 1."""
        if "normalisation" not in {layer.name for layer in self.heads.layers}:
            return np.float32(0), np.float32(1)
        layer = self.heads.get_layer("normalisation")
        return np.asarray(layer.mean), np.maximum(np.sqrt(np.asarray(layer.variance)), keras.backend.epsilon())

    @property
    def mixing(self) -> dict:
        """The learned s after its softmax, one weight a layer, and gamma."""
        return {"s": [float(weight) for weight in ops.softmax(self._mix.s)], "gamma": float(self._mix.gamma)}

    @property
    def _prior_log_odds(self) -> float:
        smallest = np.finfo(np.float64).eps
        return float(logit(np.clip(self.prior, smallest, 1 - smallest)))

    @property
    def _mix(self) -> ScalarMix:
        return self.heads.get_layer("scalar_mix")


def _part(start, end, values: np.ndarray) -> np.ndarray:
    """What a part of the heads' graph makes of its input."""
    return np.asarray(keras.Model(start, end)(values)) if start is not end else values


def _predict(heads: keras.Model, features: Features) -> np.ndarray:
    """Log-odds of each head: float64 [n, heads]; 0 where there are no tokens."""
    result = np.zeros([len(features), heads.output_shape[1]])
    if features.spoken.any():
        result[features.spoken] = bounded(heads.predict_on_batch(features.pooled[features.spoken]))
    return result


def bounded(log_odds):
    """Log-odds of heads, float [n, heads], none of several beyond BOUND."""
    return log_odds if log_odds.shape[1] == 1 else ops.clip(log_odds, -BOUND, BOUND)


def build_heads(num_layers: int, dim: int, settings: ClassifierSettings) -> keras.Model:
    """Pooled layers float32 [b, layers, dim] -> one scalar mix -> heads of Dense relu, Dense 1: float32 [b, heads].

    The paper normalises layers "in some cases" (section 3.2) and adds "a moderate amount of dropout" (3.3); so do we, unless
    the settings say otherwise.
    """
    layers = pooled = keras.Input([num_layers, dim], name="pooled_layers")
    if settings.normalise:
        layers = keras.layers.Normalization(axis=(1, 2), name="normalisation")(layers)
    mixed = ScalarMix(num_layers, name="scalar_mix")(layers)  # [b, dim]
    mixed = keras.layers.Dropout(settings.dropout)(mixed) if settings.dropout else mixed
    log_odds = []
    for head in range(settings.heads):
        x = keras.layers.Dense(settings.hidden, activation="relu", name=f"hidden_{head}")(mixed)
        x = keras.layers.Dropout(settings.hidden_dropout)(x) if settings.hidden_dropout else x
        log_odds.append(keras.layers.Dense(1, name=f"log_odds_{head}")(x))
    return keras.Model(pooled, keras.layers.Concatenate(name="log_odds")(log_odds) if len(log_odds) > 1 else log_odds[0])


def fit_classifier(
    features: Features,
    labels: np.ndarray,
    groups: np.ndarray,
    settings: ClassifierSettings,
    seed: int,
    files: np.ndarray | None = None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Classifier:
    """Train on messages that have tokens.

    Args:
        labels, groups: int [n] (0 ham, 1 spam); int [n], of near copies, which no fold tears apart.
        files: which file each message is from, int [n]; all from one by default. Of several each has an intercept, so
            that their shares of spam are not learned as signs of it; the classifier has their mean over the messages.
        after_epoch: called with the number of epochs done.
    Raises: ValueError, if a class has fewer groups than there are heads.
    """
    held_out = np.zeros([len(labels), settings.heads], bool)
    if settings.heads > 1:
        for head, (_, test) in enumerate(folds(labels, groups, settings.heads, seed)):
            held_out[test, head] = True
    heads = fit_heads(features.pooled, labels, held_out, settings, seed, after_epoch)
    wide, stack, unseen, prior = None, (1.0, 0.0), None, float(labels.mean())
    if settings.heads > 1:
        files = np.zeros(len(labels), int) if files is None else files
        scores, biases = [_predict(heads, features)[held_out]], [0.0]  # each message's by the head that has not seen it
        if settings.static != "none":
            wide, of_parts, of_biases = _fit_wide(features, labels, held_out, files, seed)
            scores, biases = [*scores, *of_parts], [*biases, *of_biases]
        inputs, source = np.stack(scores, axis=1), indicators(files)
        stacked = LogisticRegression(C=STACK_C, tol=1e-8, max_iter=1000).fit(np.hstack([inputs, source]), labels)
        weights, intercepts = np.split(stacked.coef_[0], [inputs.shape[1]])
        bias = float(stacked.intercept_[0] + intercepts @ source.mean(axis=0))
        stack, unseen = (*weights.tolist(), bias + float(weights @ biases)), inputs @ weights + bias
    return Classifier(heads, wide, stack, prior, unseen)


def indicators(files: np.ndarray) -> np.ndarray:
    """Which of several files a message is from: float64 [n, files]; of a single one [n, 0]."""
    numbers = np.unique(files)
    return (files[:, None] == numbers).astype(float) if len(numbers) > 1 else np.zeros([len(files), 0])


def fit_heads(
    pooled: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    settings: ClassifierSettings,
    seed: int,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> keras.Model:
    """Train heads side by side on pooled layers, float32 [n, 3, dim], and labels, int [n].

    Args:
        held_out: which message is kept from which head, bool [n, heads]. The mix, four numbers, learns from all.
    """
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    heads = build_heads(*pooled.shape[1:], settings)
    if settings.normalise:
        heads.get_layer("normalisation").adapt(pooled)
    heads.compile(keras.optimizers.Adam(settings.learning_rate), crossentropy, jit_compile=False)
    targets = np.where(held_out, HELD_OUT, labels[:, None]).astype(np.float32)
    messages = tf.data.Dataset.from_tensor_slices((pooled, targets)).shuffle(len(pooled), seed=seed).batch(settings.batch_size)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after_epoch(epoch + 1))
    heads.fit(messages.prefetch(2), epochs=settings.epochs, verbose=0, shuffle=False, callbacks=[callback])
    trained = build_heads(*pooled.shape[1:], settings)  # without the optimizer's numbers, twice as many as the heads'
    trained.set_weights(heads.get_weights())
    if settings.normalise:
        trained.get_layer("normalisation").finalize_state()
    return trained


HELD_OUT = -1.0  # a target that teaches nothing


def crossentropy(targets, log_odds):
    """Binary cross-entropy of targets and log-odds, float32 [b, heads], where something is to be learned, summed: [b]."""
    losses = ops.binary_crossentropy(ops.maximum(targets, 0.0), log_odds, from_logits=True)
    return ops.sum(ops.where(targets == HELD_OUT, 0.0, losses), axis=-1)


def _fit_wide(
    features: Features, labels: np.ndarray, held_out: np.ndarray, files: np.ndarray, seed: int
) -> tuple[Wide, Sequence[np.ndarray], Sequence[float]]:
    """The linear parts, each the mean of one for each fold.

    Of mean word vectors each number is scaled to variance 1 over the messages; what comes out scores words, not vectors.

    Returns: the parts; of each every message's score by the one that has not seen it, float64 [n], and the mean bias.
    """
    counted, vectors, source = features.counted, features.vectors, csr_matrix(indicators(files))

    def svm(matrix: csr_matrix) -> tuple[np.ndarray, np.ndarray, float]:
        return _over_folds(matrix, held_out, lambda rows: _svm(matrix[rows], labels[rows], source[rows], seed))

    if vectors is not None:
        means = vectors.means(counted, len(labels))
        deviation = means.std(axis=0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > np.finfo(np.float32).eps)
        weights, unseen, bias = svm(csr_matrix(means * scale))
        part = Linear(Means(vectors.columns), (vectors.vectors @ (weights * scale)).astype(np.float32))
        return Wide((part,)), [unseen], [bias]
    tf_idf = TfIdf.of(counted, len(labels))
    words = Presence(tf_idf.columns[tf_idf.columns >> BITS > 0])
    weighed = _matrix(words.weigh(counted), len(labels), len(words.columns))
    present = weighed.sign()
    of_svm = svm(_matrix(tf_idf.weigh(counted), len(labels), len(tf_idf.columns)))
    of_bayes = _over_folds(weighed, held_out, lambda rows: (_log_ratios(present[rows], labels[rows], files[rows]), 0.0))
    weights, unseen, biases = zip(of_svm, of_bayes)
    parts = (Linear(weighting, each.astype(np.float32)) for weighting, each in zip((tf_idf, words), weights))
    return Wide(tuple(parts)), unseen, biases


def _matrix(weighed: Entries, num_messages: int, known: int) -> csr_matrix:
    return csr_matrix((weighed.values, (weighed.messages, weighed.columns)), shape=(num_messages, known))


def _over_folds(
    matrix: csr_matrix, held_out: np.ndarray, fit: Callable[[np.ndarray], tuple[np.ndarray, float]]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit to the rest of each fold: mean weights; the score of each message by the fit without it, float64 [n]; mean bias."""
    unseen, fitted = np.zeros(len(held_out)), []
    for test in held_out.T:
        weights, bias = fit(~test)
        unseen[test] = matrix[test] @ weights + bias
        fitted.append((weights, bias))
    weights, biases = zip(*fitted)
    return np.mean(weights, axis=0), unseen, float(np.mean(biases))


def _svm(matrix: csr_matrix, labels: np.ndarray, source: csr_matrix, seed: int) -> tuple[np.ndarray, float]:
    """Weights and bias of a linear SVM with an intercept for each file, of which the bias has the mean."""
    svm = LinearSVC(C=SVM_C, dual=True, max_iter=20_000, random_state=seed).fit(hstack([matrix, source]).tocsr(), labels)
    weights, intercepts = np.split(svm.coef_[0], [matrix.shape[1]])
    return weights, float(svm.intercept_[0] + intercepts @ np.asarray(source.mean(axis=0)).ravel())


def _log_ratios(present: csr_matrix, labels: np.ndarray, files: np.ndarray) -> np.ndarray:
    """Naive Bayes: log P(n-gram | spam) - log P(n-gram | ham), smoothed, 0 of what does not occur: float64 [known].

    A message that repeats an n-gram has it once: else padding with it would decide.

    Of each file ham and spam count the same, whichever there is more of, so that no n-gram is a sign of one because it is
    of a file that has more of it. So a file of ham or spam alone does not count.
    """
    balance = np.zeros(len(labels))
    for file in np.unique(files):
        sides = [(files == file) & (labels == label) for label in (0, 1)]
        fewest = min(np.count_nonzero(side) for side in sides)
        for side in sides:
            balance[side] = fewest / max(1, np.count_nonzero(side))
    messages = [present.T @ (balance * (labels == label)) for label in (0, 1)]
    occurring, ratios = sum(messages) > 0, np.zeros(present.shape[1])
    ham, spam = (number[occurring] + SMOOTHING for number in messages)
    ratios[occurring] = np.log(spam / spam.sum()) - np.log(ham / ham.sum())
    return ratios
