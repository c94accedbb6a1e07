"""ELMo's biLM: char ids of messages -> three layers of vectors for each token."""

import math
from dataclasses import asdict, dataclass

import tensorflow as tf

from spamcli.bilm import layers
from spamcli.characters import NUM_CHAR_IDS, TOKENIZERS, sentence_marks

DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class BiLMConfig:
    """Sizes of a biLM. The defaults are the built-in ELMo's."""

    tokenizer: str = "punctuation"  # a key of characters.TOKENIZERS
    max_characters: int = 20  # bytes of a token that are read, word marks included
    char_dim: int = 16
    filters: tuple[tuple[int, int], ...] = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 128), (6, 128))  # (width, number)
    activation: str = "relu"  # of the char-CNN, a key of layers.ACTIVATIONS
    highways: int = 1
    cells: int = 512
    projection: int = 256  # of each direction; a token's vector is twice that
    lstm_layers: int = 2
    clip: float = 3.0  # of cells and of projected outputs
    residual: bool = True  # each LSTM's input is added to its output, from the second on

    def __post_init__(self):
        if self.tokenizer not in TOKENIZERS or self.activation not in layers.ACTIVATIONS:
            raise ValueError(f"unknown tokenizer or activation. Received: {self.tokenizer}, {self.activation}")
        sizes = self.max_characters - 2, self.char_dim, self.highways + 1, self.cells, self.projection, self.lstm_layers
        if not all(isinstance(size, int) and size > 0 for size in sizes) or not 0 < self.clip < math.inf:
            raise ValueError(f"a size or the clip is none. Received: {self}")

    @property
    def dim(self) -> int:
        """Length of a token's vector in each layer: both directions."""
        return 2 * self.projection

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "BiLMConfig":
        return cls(**{**values, "filters": tuple(tuple(pair) for pair in values["filters"])})

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight."""
        num_filters = sum(number for _, number in self.filters)
        shapes = {"char_embedding": (NUM_CHAR_IDS, self.char_dim)}
        for width, number in self.filters:
            shapes[f"conv{width}_kernel"], shapes[f"conv{width}_bias"] = (width, self.char_dim, number), (number,)
        for k in range(self.highways):
            shapes[f"highway{k}_kernel"], shapes[f"highway{k}_bias"] = (
                (num_filters, 2 * num_filters),
                (2 * num_filters,),
            )
        shapes["projection_kernel"], shapes["projection_bias"] = (num_filters, self.projection), (self.projection,)
        for name in (f"{direction}{k}" for direction in DIRECTIONS for k in range(self.lstm_layers)):
            shapes[f"{name}_input_kernel"] = (self.projection, 4 * self.cells)
            shapes[f"{name}_recurrent_kernel"] = (self.projection, 4 * self.cells)
            shapes[f"{name}_bias"] = (4 * self.cells,)
            shapes[f"{name}_projection"] = (self.cells, self.projection)
        return shapes


class BiLM(tf.Module):
    """The frozen or trainable biLM (Peters et al. 2018, section 3.1): char-CNN, highways, LSTMs in both directions.

    Stateless: every message starts from zero state with the begin-sentence token (end-sentence for the backward
    direction), so that neither its neighbours nor the call before can change a message's vectors.

    Args:
        config: the sizes.
        weights: name -> array, as `config.weight_shapes()`; random without (seeded by tf.random.set_seed).
        storage: dtype of the variables; a half-precision encoder is computed in float32 all the same. bfloat16 is too
            short for the char-CNN and the biases, which stay float32.
        precision: dtype of the matrix products, float32 or bfloat16.
    """

    def __init__(self, config: BiLMConfig, weights=None, storage=tf.float32, precision=tf.float32, trainable=False):
        super().__init__()
        self.config, self.precision = config, precision
        initial = weights or {name: _initial(name, shape) for name, shape in config.weight_shapes().items()}
        self.weights = {
            name: tf.Variable(tf.cast(initial[name], _stored(name, storage)), name=name, trainable=trainable)
            for name in config.weight_shapes()
        }

    def weight(self, name: str) -> tf.Tensor:
        """In float32, but for a matrix that is stored as the products need it: no call has to round it again."""
        variable = self.weights[name]
        return variable.value() if variable.dtype == self.precision else tf.cast(variable, tf.float32)

    def token_vectors(self, char_ids: tf.Tensor) -> tf.Tensor:
        """Layer 0, without context: int32 [tokens, chars] -> float32 [tokens, projection]."""
        widths = [width for width, _ in self.config.filters]
        x = layers.char_cnn(
            char_ids,
            self.weight("char_embedding"),
            [self.weight(f"conv{width}_kernel") for width in widths],
            [self.weight(f"conv{width}_bias") for width in widths],
            self.config.activation,
        )
        for k in range(self.config.highways):
            x = layers.highway(x, self.weight(f"highway{k}_kernel"), self.weight(f"highway{k}_bias"), self.precision)
        return layers.matmul(x, self.weight("projection_kernel"), self.precision) + self.weight("projection_bias")

    def run(self, direction: str, vectors, indices, dropout=None) -> list[tf.Tensor]:
        """The LSTM layers of one direction, the sentence mark first.

        Args:
            vectors: float32 [2 + distinct tokens, projection]: begin-sentence, end-sentence, then the tokens' layer 0.
            indices: int32 [b, l], rows of `vectors` in the order of reading; anything in padded places.
            dropout: in training, a function of an LSTM's input.
        Returns: for each LSTM layer float32 [l + 1, b, projection]; the first time step is what the mark alone gives.
        """
        mark = tf.fill([tf.shape(indices)[0], 1], DIRECTIONS.index(direction))
        x = tf.gather(vectors, tf.transpose(tf.concat([mark, indices], axis=1)))  # [l + 1, b, projection]
        outputs = []
        for k in range(self.config.lstm_layers):
            parts = ("input_kernel", "recurrent_kernel", "bias", "projection")
            weights = [self.weight(f"{direction}{k}_{part}") for part in parts]
            read = dropout(x) if dropout else x
            y = layers.projected_lstm(read, *weights, self.config.clip, self.precision, training=dropout is not None)
            x = y + x if self.config.residual and k > 0 else y
            outputs.append(x)
        return outputs

    def layer_vectors(self, vectors, indices, lengths) -> list[tf.Tensor]:
        """All layers of messages (arguments as in `run`, in the messages' own order; lengths: int32 [b], their tokens).

        Returns: lstm_layers + 1 tensors, float32 [b, l, 2 projection]; the first is layer 0 beside itself. Padded
            places hold junk.
        """
        word = tf.gather(vectors, indices)
        reversed_indices = tf.reverse_sequence(indices, lengths, seq_axis=1)
        forward = [tf.transpose(y[1:], [1, 0, 2]) for y in self.run("forward", vectors, indices)]  # [b, l, projection]
        backward = [tf.transpose(y[1:], [1, 0, 2]) for y in self.run("backward", vectors, reversed_indices)]
        backward = [tf.reverse_sequence(y, lengths, seq_axis=1) for y in backward]
        return [tf.concat(pair, axis=-1) for pair in zip([word, *forward], [word, *backward])]

    def mark_char_ids(self) -> tf.Tensor:
        """Char ids of the sentence marks: int32 [2, chars]."""
        return tf.constant(sentence_marks(self.config.max_characters))


def _stored(name: str, storage: tf.DType) -> tf.DType:
    """dtype of a variable; only what a product rounds anyway is stored in bfloat16."""
    is_matrix = name.endswith(("kernel", "projection")) and not name.startswith("conv")
    return storage if is_matrix or storage != tf.bfloat16 else tf.float32


def _initial(name: str, shape: tuple[int, ...]) -> tf.Tensor:
    if name.endswith("bias"):
        # a highway starts by carrying its input through
        return tf.constant([0.0] * (shape[0] // 2) + [1.0] * (shape[0] // 2)) if name.startswith("highway") else tf.zeros(shape)
    if name == "char_embedding":
        return tf.random.uniform(shape, -1.0, 1.0)
    fan_in = shape[0] * (shape[1] if name.startswith("conv") else 1)
    return tf.random.normal(shape, stddev=fan_in**-0.5)
