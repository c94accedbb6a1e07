"""A biLM that learns: two language models, one in each direction, with one char-CNN and softmax (Peters et al. 2018, 3.1)."""

import hashlib
import itertools
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from spamcli.bilm import corpus as text
from spamcli.bilm import layers
from spamcli.bilm.card import Perplexities
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.errors import DataError, WriteError
from spamcli.files import finish, unfinished
from spamcli.settings import PretrainingSettings

# One graph for batches of any shape: those that are specialised for one round otherwise, so a resumed run would go another way.
_BATCH = [tf.TensorSpec(shape, tf.int32) for shape in ([None, None], [None, None], [None], [None, None])]
_SAMPLE = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)]
_STEP = [tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)]


@dataclass(frozen=True)
class Progress:
    """Where pretraining stands."""

    tokens: int
    tokens_per_second: float
    loss: float  # nats, running mean, sampled softmax


class Pretraining(tf.Module):
    """A biLM in training with its softmax and Adam's moments; everything that a checkpoint holds."""

    def __init__(
        self, config: BiLMConfig, settings: PretrainingSettings, counts: np.ndarray, weights: dict | None = None, sha256=""
    ):
        """Random weights, by the seed, unless the encoder's are given: name -> float32, as `config.weight_shapes()`.

        Args:
            counts: the corpus's, int64 [vocabulary]; sha256: the corpus's, which a checkpoint is of.
        """
        super().__init__()
        self.identity = json.dumps(_identity(config, settings, counts, weights, sha256))
        tf.random.set_seed(settings.seed)
        self.settings = settings
        self.bilm = BiLM(config, weights, precision=tf.bfloat16, trainable=True)
        self.softmax_kernel = tf.Variable(tf.random.normal([len(counts), config.projection], stddev=config.projection**-0.5))
        self.softmax_bias = tf.Variable(np.log((counts + 1.0) / (counts + 1.0).sum()).astype(np.float32))
        self.proposal = 0.75 * np.log(counts + 1.0)
        self.trained = [*self.bilm.weights.values(), self.softmax_kernel, self.softmax_bias]
        self.moments = [[tf.Variable(tf.zeros_like(v), trainable=False) for v in self.trained] for _ in range(2)]
        self.tokens_read, self.steps, self.epoch, self.batch_of_epoch = 0, 0, 0, 0

    def top_vectors(self, char_ids, indices, lengths, words, dropout):
        """For each direction what it says at each place, float32 [n, projection], and the word it should, int32 [n]."""
        vectors = self.bilm.token_vectors(tf.concat([self.bilm.mark_char_ids(), char_ids], axis=0))
        real = tf.transpose(tf.sequence_mask(lengths + 1))  # [l + 1, b]
        results = []
        for direction, last in (("forward", text.END), ("backward", text.BEGIN)):
            ordered = [x if direction == "forward" else tf.reverse_sequence(x, lengths, seq_axis=1) for x in (indices, words)]
            targets = tf.pad(ordered[1], [[0, 0], [0, 1]])
            place = tf.one_hot(lengths, tf.shape(targets)[1], on_value=True, off_value=False)
            targets = tf.where(place, last, targets)  # the mark that ends the message, right behind its words
            top = self.bilm.run(direction, vectors, ordered[0], dropout)[-1]
            results.append((tf.boolean_mask(top, real), tf.boolean_mask(tf.transpose(targets), real)))
        return results

    @tf.function(input_signature=[*_BATCH, *_SAMPLE, *_STEP])
    def step(self, char_ids, indices, lengths, words, sample, sample_log_q, learning_rate, step):
        """One step of Adam; returns the mean loss in nats, of both directions."""
        call = itertools.count()  # every call has a mask of its own

        def dropout(x):
            seed = [self.settings.seed + 1_000_003 * next(call), step]
            return tf.nn.experimental.stateless_dropout(
                x, self.settings.dropout, seed=tf.cast(seed, tf.int64), rng_alg="philox"
            )

        with tf.GradientTape() as tape:
            pairs = self.top_vectors(char_ids, indices, lengths, words, dropout)
            states, targets = (tf.concat(parts, axis=0) for parts in zip(*pairs))
            loss = self.sampled_loss(dropout(states), targets, sample, sample_log_q)
        gradients = tape.gradient(loss, self.trained)
        gradients, _ = tf.clip_by_global_norm([tf.convert_to_tensor(g) for g in gradients], self.settings.clip_norm)
        self.adam(gradients, learning_rate, tf.cast(step + 1, tf.float32))
        return loss

    def sampled_loss(self, states, targets, sample, sample_log_q):
        """Negative log likelihood with the partition function estimated, without bias, from a sample of the words.

        Word i is in the sample with probability q_i, so it stands for 1 / q_i words; the target always counts once.
        """
        kernel, bias = tf.gather(self.softmax_kernel, targets), tf.gather(self.softmax_bias, targets)
        target_logits = tf.reduce_sum(states * kernel, axis=-1) + bias
        sampled_bias = tf.gather(self.softmax_bias, sample) - sample_log_q
        logits = layers.matmul(states, tf.gather(self.softmax_kernel, sample), self.bilm.precision, transpose_b=True)
        logits = tf.where(targets[:, None] == sample[None, :], -1e9, logits + sampled_bias)
        partition = tf.reduce_logsumexp(tf.concat([target_logits[:, None], logits], axis=1), axis=1)
        return tf.reduce_mean(partition - target_logits)

    def adam(self, gradients, learning_rate, step, beta1=0.9, beta2=0.999):
        for variable, m, v, gradient in zip(self.trained, *self.moments, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=m.handle, v=v.handle, grad=gradient, lr=learning_rate, epsilon=1e-8,
                beta1=beta1, beta2=beta2, beta1_power=beta1**step, beta2_power=beta2**step,
            )  # fmt: skip

    def sample_words(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct words for a step, drawn by Gumbel's top k, with the log of each one's chance to be drawn."""
        k = min(self.settings.samples, len(self.proposal) - 1)
        random = np.random.default_rng([self.settings.seed, 2, self.steps])
        perturbed = self.proposal + random.gumbel(size=len(self.proposal))
        order = np.argpartition(-perturbed, k)
        chosen, threshold = np.sort(order[:k]), perturbed[order[k]]
        log_q = np.log(-np.expm1(-np.exp(self.proposal[chosen] - threshold)))
        return chosen.astype(np.int32), log_q.astype(np.float32)

    def learning_rate(self) -> float:
        done = self.tokens_read / self.settings.tokens
        if done < self.settings.warmup:
            return self.settings.learning_rate * (done + 1e-4) / self.settings.warmup
        return self.settings.learning_rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * min(1.0, done))))

    @tf.function(input_signature=_BATCH)
    def losses(self, char_ids, indices, lengths, words):
        """Summed loss of each direction in nats, over the whole vocabulary: float32 [2]; number of places: int32."""
        sums, count = [], 0
        for states, targets in self.top_vectors(char_ids, indices, lengths, words, None):
            logits = layers.matmul(states, self.softmax_kernel, self.bilm.precision, transpose_b=True) + self.softmax_bias
            sums.append(tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)))
            count = tf.size(targets)
        return tf.stack(sums), count

    def batches(self, corpus: text.Corpus) -> Iterator[text.Batch]:
        """What is left of the present epoch, from the place where training stands."""
        rows = list(text.batches(corpus.lengths, self.settings.batch_tokens, [self.settings.seed, 1, self.epoch]))
        for index in range(self.batch_of_epoch, len(rows)):
            random = np.random.default_rng([self.settings.seed, 3, self.steps])
            yield corpus.batch(rows[index], self.settings.misspelt, random)

    def read(self, batch: text.Batch, learning_rate: float) -> float:
        """One step; returns its loss in nats."""
        return float(self.step(*vars(batch).values(), *self.sample_words(), np.float32(learning_rate), np.int32(self.steps)))

    def train(
        self,
        corpus: text.Corpus,
        report: Callable[[Progress], None],
        save: Callable[[], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read the corpus, over and over, until `settings.tokens` are read; call `save` now and then and at the end.

        Raises: KeyboardInterrupt, once all is saved, when `stopped` says so.
        """
        started, start_tokens, saved, running = 0.0, 0, time.monotonic(), []
        while self.tokens_read < self.settings.tokens:
            for batch in self.batches(corpus):
                running = running[-199:] + [self.read(batch, self.learning_rate())]
                self.tokens_read += int(batch.lengths.sum())
                self.steps, self.batch_of_epoch = self.steps + 1, self.batch_of_epoch + 1
                if not started:  # the first step is slow: it makes the graph
                    started, start_tokens = time.monotonic(), self.tokens_read
                else:
                    speed = (self.tokens_read - start_tokens) / (time.monotonic() - started)
                    report(Progress(self.tokens_read, speed, float(np.mean(running))))
                if stopped():
                    save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved > self.settings.checkpoint_seconds:
                    save()
                    saved = time.monotonic()
                if self.tokens_read >= self.settings.tokens:
                    break
            else:
                self.epoch, self.batch_of_epoch = self.epoch + 1, 0
        save()

    def speed(self, corpus: text.Corpus, warm_up: int = 10, seconds: float = 20.0) -> float:
        """Tokens a second, measured on the present epoch, over and over; everything is as before afterwards."""
        variables = [*self.trained, *self.moments[0], *self.moments[1]]
        before = [variable.numpy() for variable in variables]
        place, self.batch_of_epoch = self.batch_of_epoch, 0
        tokens, start = 0, 0.0
        for count, batch in enumerate(itertools.chain.from_iterable(self.batches(corpus) for _ in itertools.count())):
            if count == warm_up:
                tokens, start = 0, time.monotonic()
            self.read(batch, 0.0)
            tokens += int(batch.lengths.sum())
            if count > warm_up and time.monotonic() - start > seconds:
                break
        speed = tokens / (time.monotonic() - start)
        self.batch_of_epoch = place
        for variable, value in zip(variables, before):
            variable.assign(value)
        return speed

    def save(self, path: Path) -> None:
        """Write a checkpoint: all weights, Adam's moments, the place in the corpus. Atomic.

        Raises: WriteError.
        """
        arrays = {f"weight:{name}": variable for name, variable in self.bilm.weights.items()}
        arrays |= {"softmax_kernel": self.softmax_kernel, "softmax_bias": self.softmax_bias}
        arrays |= {f"moment{k}:{n}": variable for k in (0, 1) for n, variable in enumerate(self.moments[k])}
        arrays = {name: variable.numpy() for name, variable in arrays.items()}
        arrays["place"] = np.array([self.tokens_read, self.steps, self.epoch, self.batch_of_epoch])
        arrays["identity"] = np.array(self.identity)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished(path.parent, ".npz") as partial:
                np.savez(partial, **arrays)
                finish(partial, path)
        except OSError as error:
            raise WriteError(
                f"{path}: cannot be written ({error.strerror}); free some space, or name another directory"
            ) from error

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same sizes, settings and corpus.

        Raises: DataError, if the file is damaged or of others.
        """
        theirs = read_identity(path)
        other = [name for name, value in json.loads(self.identity).items() if theirs.get(name) != value]
        if other:
            raise DataError(f"{path}: begun with another {', '.join(other)}; go on with what it began with, or delete it")
        try:
            with np.load(path) as arrays:
                for name, variable in self.bilm.weights.items():
                    variable.assign(arrays[f"weight:{name}"])
                self.softmax_kernel.assign(arrays["softmax_kernel"])
                self.softmax_bias.assign(arrays["softmax_bias"])
                for k in (0, 1):
                    for n, variable in enumerate(self.moments[k]):
                        variable.assign(arrays[f"moment{k}:{n}"])
                self.tokens_read, self.steps, self.epoch, self.batch_of_epoch = (int(n) for n in arrays["place"])
        except _DAMAGED as error:
            raise DataError(f"{path}: damaged; delete it and begin again") from error

    def perplexities(self, held_out: text.Corpus) -> Perplexities:
        """Perplexity of each direction, over the whole vocabulary."""
        total, places = np.zeros(2), 0
        for rows in text.batches(held_out.lengths, 1024, [0]):
            sums, count = self.losses(*vars(held_out.batch(rows)).values())
            total, places = total + sums.numpy(), places + int(count)
        return Perplexities(*map(float, np.exp(total / places))) if places else Perplexities(np.nan, np.nan)


_DAMAGED = OSError, EOFError, KeyError, TypeError, ValueError, OverflowError, RuntimeError, zipfile.BadZipFile


def _identity(config: BiLMConfig, settings: PretrainingSettings, counts: np.ndarray, weights: dict | None, sha256: str) -> dict:
    """All that a checkpoint must have in common with the run that goes on from it: name -> value."""
    digest = hashlib.sha256()
    for name in sorted(weights or {}):
        digest.update(np.asarray(weights[name]).tobytes())
    what = {**asdict(config), **asdict(settings), "init": digest.hexdigest()}
    del what["checkpoint_seconds"]
    return {**what, "corpus": hashlib.sha256(counts.tobytes()).hexdigest() + sha256}


def read_identity(path: Path) -> dict:
    try:
        with np.load(path) as arrays:
            return dict(json.loads(str(arrays["identity"])))
    except _DAMAGED as error:
        raise DataError(f"{path}: damaged, or not a checkpoint of this version; delete it and begin again") from error
