"""A biLM as a module in TF-Hub's format: a SavedModel with ELMo's two signatures, strings in, vectors out."""

import json
import os
from pathlib import Path

import tensorflow as tf

from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.characters import BEGIN_WORD, END_WORD, FIRST_BYTE, PAD_CHAR, SEPARATORS_PATTERN, TOKEN_PATTERN
from spamcli.errors import NotFoundError, UnavailableError, WriteError
from spamcli.files import finish_folder, unfinished_folder
from spamcli.modules import TOKENIZER_FILE, is_unicode
from spamcli.saved_model import check_variables

MAX_SIZE = 1000  # of what is counted in a sizes file: bytes of a token, filters, highways, layers; more than any ELMo has
SIZES_FILE = TOKENIZER_FILE.with_name("bilm.json")  # the BiLMConfig, for `read_bilm`


def split_in_graph(text: tf.Tensor, tokenizer: str) -> tf.RaggedTensor:
    """The same tokens as `characters.TOKENIZERS[tokenizer]`: string [b] -> ragged string [b, tokens]."""
    if tokenizer == "space":
        tokens = tf.strings.split(text, sep=" ")
        return tf.ragged.boolean_mask(tokens, tf.ragged.map_flat_values(tf.not_equal, tokens, ""))
    text = tf.strings.regex_replace(text, SEPARATORS_PATTERN, " ")
    return tf.strings.split(tf.strings.regex_replace(text, TOKEN_PATTERN, r"\0 "))


def char_ids_in_graph(tokens: tf.Tensor, max_characters: int) -> tf.Tensor:
    """The same char ids as `characters.encode_tokens`: string [n] -> int32 [n, max_characters]."""
    size = max_characters - 2
    data = tf.cast(tf.io.decode_raw(tokens, tf.uint8, fixed_length=size), tf.int32) + FIRST_BYTE  # [n, size]
    data = tf.pad(data, [[0, 0], [0, 1]])
    length = tf.minimum(tf.strings.length(tokens), size)[:, None]
    place = tf.range(size + 1)[None, :]
    ids = tf.where(place < length, data, tf.where(place == length, END_WORD, PAD_CHAR))
    return tf.pad(ids, [[0, 0], [1, 0]], constant_values=BEGIN_WORD)


class ELMoModule(tf.Module):
    """What `tf.saved_model.load` gives back: `__call__` and the signatures `default` and `tokens`."""

    def __init__(self, bilm: BiLM):
        super().__init__()
        self.bilm = bilm

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, text):
        """One vector a message, the mean over its tokens of the mean of the layers: string [b] -> float32 [b, dim]."""
        return self.default(text)["default"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def default(self, text):
        """TF-Hub ELMo's signature `default`: string [b] -> all its outputs."""
        tokens = split_in_graph(text, self.bilm.config.tokenizer)
        return self.tokens(tokens.to_tensor(""), tf.cast(tokens.row_lengths(), tf.int32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, "tokens"),
            tf.TensorSpec([None], tf.int32, "sequence_len"),
        ]
    )
    def tokens(self, tokens, sequence_len):
        """TF-Hub ELMo's signature `tokens`: string [b, l], int32 [b] -> the layers, their mean `elmo`, and `default`.

        Each distinct token goes through the char-CNN once. Vectors in padded places are zero.
        """
        distinct, positions = tf.unique(tf.reshape(tokens, [-1]))
        char_ids = char_ids_in_graph(distinct, self.bilm.config.max_characters)
        vectors = self.bilm.token_vectors(tf.concat([self.bilm.mark_char_ids(), char_ids], axis=0))
        layers = self.bilm.layer_vectors(vectors, tf.reshape(positions + 2, tf.shape(tokens)), sequence_len)
        real = tf.sequence_mask(sequence_len, tf.shape(tokens)[1], tf.float32)[:, :, None]
        layers = [layer * real for layer in layers]
        elmo = tf.add_n(layers) / len(layers)
        return {
            "word_emb": layers[0][:, :, : self.bilm.config.projection],
            **{f"lstm_outputs{k}": layer for k, layer in enumerate(layers[1:], start=1)},
            "elmo": elmo,
            "default": tf.math.divide_no_nan(tf.reduce_sum(elmo, axis=1), tf.reduce_sum(real, axis=1)),
        }


def refuse_existing(directory: Path) -> None:
    """Raises: WriteError, if something is there already, or no module can be."""
    if os.path.lexists(directory):
        raise WriteError(f"{directory}: exists already; name another directory with -o")
    if not is_unicode(directory):
        raise WriteError(f"{directory}: TensorFlow writes only where names are UTF-8; name another directory with -o")


def export(bilm: BiLM, directory: Path, card: str, storage: tf.DType = tf.float16, precision: tf.DType = tf.float32) -> None:
    """Write a module: SavedModel, tokenizer, sizes and a card (README.md). The directory appears whole or not at all.

    Args:
        storage: dtype of the weights, as `BiLM` takes it; two bytes each unless float32 is asked for.
        precision: dtype of the module's matrix products, whatever the biLM's own: pretraining's bfloat16 is not for users.
    Raises: WriteError, also if something is there already.
    """
    refuse_existing(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(directory.parent) as partial:
            _write(bilm, partial, card, storage, precision)
            partial.chmod(0o755)
            finish_folder(partial, directory)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise WriteError(
            f"{directory}: cannot be written ({reason}); free some space, or name another directory with -o"
        ) from error


def _write(bilm: BiLM, partial: Path, card: str, storage: tf.DType, precision: tf.DType) -> None:
    """All files of a module."""
    weights = {name: variable.value() for name, variable in bilm.weights.items()}
    module = ELMoModule(BiLM(bilm.config, weights, storage, precision))
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    signatures = {"default": module.default, "tokens": module.tokens}
    tf.saved_model.save(module, str(partial), signatures=signatures, options=options)
    (partial / "fingerprint.pb").unlink(missing_ok=True)  # random; nothing reads it
    (partial / TOKENIZER_FILE).parent.mkdir()
    (partial / TOKENIZER_FILE).write_text(json.dumps({"tokenizer": bilm.config.tokenizer}) + "\n", encoding="utf-8")
    (partial / SIZES_FILE).write_text(json.dumps(bilm.config.to_dict()) + "\n", encoding="utf-8")
    (partial / "README.md").write_text(card, encoding="utf-8", errors="replace")


def read_bilm(directory: Path, **settings) -> BiLM:
    """The biLM of a module that `export` wrote, its weights in float32; the module's graph is neither loaded nor run.

    Args:
        settings: precision and trainable, as `BiLM` takes them.
    Raises: NotFoundError, no module there; UnavailableError, it is not one of ours, or damaged.
    """
    if not (directory / "saved_model.pb").is_file():
        raise NotFoundError(f"{directory}: no SavedModel there; name the directory that holds saved_model.pb")
    if not (directory / SIZES_FILE).is_file():
        raise UnavailableError(
            f"{directory}: no {SIZES_FILE}; only modules that this version's `spamcli pretrain` or `spamcli import` wrote "
            "can be continued"
        )
    check_variables(directory)
    try:
        with (directory / SIZES_FILE).open(encoding="utf-8") as file:
            config = BiLMConfig.from_dict(json.loads(file.read(2**16)))  # more than any, whatever the file's length
        if max(config.max_characters, len(config.filters), config.highways, config.lstm_layers) > MAX_SIZE:
            raise ValueError(f"sizes above {MAX_SIZE}")
        checkpoint = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
        weights = {}
        for name, shape in config.weight_shapes().items():
            weights[name] = checkpoint.get_tensor(f"bilm/weights/{name}/.ATTRIBUTES/VARIABLE_VALUE")
            if weights[name].shape != shape:
                raise ValueError(f"{name} has shape {list(weights[name].shape)} instead of {list(shape)}")
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(f"{directory}: damaged ({reason}); write it again") from error
    return BiLM(config, weights, **settings)


def in_bfloat16(directory: Path) -> bool:
    """Whether a module that `export` wrote stores its matrices in bfloat16, and so computes with them."""
    checkpoint = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    return tf.bfloat16 in checkpoint.get_variable_to_dtype_map().values()
