"""A trained classifier as one ONNX file, from char ids to p_spam, for `runtime`.

The encoder's part is the same for all classifiers on one ELMo: it is converted once and kept in a cache.
"""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from google.protobuf.message import DecodeError
from onnx import ModelProto, compose

from spamcli import onnx_graph
from spamcli.bilm.export import SIZES_FILE, in_bfloat16, read_bilm
from spamcli.bilm.model import BiLM
from spamcli.characters import batches, first_tokens
from spamcli.classifier import Classifier, Features, bounded
from spamcli.elmo import ELMo
from spamcli.errors import UnavailableError
from spamcli.files import finish, unfinished
from spamcli.runtime import MAX_BATCH_TOKENS, Session
from spamcli.settings import ClassifierSettings

OPSET, IR_VERSION = 18, 9  # that ONNX Runtime has known since 1.17
TOLERANCE = 1e-4  # of p_spam and of the pooled layers, ONNX Runtime's against TensorFlow's
CHECKED = 64  # messages
INT8_TOLERANCE = 0.1  # of p_spam, int8's against TensorFlow's; it is mostly a hundredth of it
_ENCODER = "encoder-2"  # in the cache's name: count it up when the graph changes


def convert(
    elmo: ELMo, classifier: Classifier, texts: Sequence[str], cache: Path | None, precision: str = "float32"
) -> bytes | None:
    """The ONNX file, checked; None for a module that spamcli did not write, or whose products are not in float32.

    Args:
        texts: of messages that the classifier has learned from.
        cache: folder for the encoder's part; None for none.
        precision: of the matrix products, float32 or int8.
    Raises: UnavailableError, if ONNX Runtime does not give what TensorFlow gives on some of `texts`, TOLERANCE apart at most.
    """
    if not (elmo.directory / SIZES_FILE).is_file() or in_bfloat16(elmo.directory):
        return None
    path = (
        cache / f"{_ENCODER}-{version('tf2onnx')}-{tf.__version__}-{elmo.pooling}-{elmo.fingerprint[:32]}.onnx"
        if cache
        else None
    )
    kept = _read(path) if path else None
    whole = kept and _joined(kept, classifier)
    if not whole or not _differences(whole, elmo, classifier, texts).max() <= TOLERANCE:
        encoder = _encoder(read_bilm(elmo.directory), elmo.pooling)
        whole = _joined(encoder, classifier)
        _check(_differences(whole, elmo, classifier, texts).max(), TOLERANCE)
        if path:
            _keep(encoder, path)
    if precision == "int8":
        whole = onnx_graph.in_int8(whole)
        _check(_differences(whole, elmo, classifier, texts)[0], INT8_TOLERANCE)
    onnx_graph.store_in_half(whole.graph)
    return whole.SerializeToString()


def _check(difference: float, tolerance: float) -> None:
    if not difference <= tolerance:
        raise UnavailableError(
            f"ONNX Runtime and TensorFlow differ by {difference:.1g}; nothing was written; "
            "update onnxruntime and tf2onnx, and train again"
        )


def _joined(encoder: ModelProto, classifier: Classifier) -> ModelProto:
    joint, shown = [("pooled_layers", "pooled")], ["pooled_layers", "p_spam"]
    whole = compose.merge_models(encoder, _heads(classifier), io_map=joint, outputs=shown)
    domains = {domain.domain: domain.version for domain in whole.opset_import}  # merging names each twice
    del whole.opset_import[:]
    whole.opset_import.extend(onnx.helper.make_opsetid(*domain) for domain in domains.items())
    return whole


def _differences(converted: ModelProto, elmo: ELMo, classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """The largest one in p_spam, and in a pooled layer, on messages of all lengths, in padded batches: float64 [2]."""
    tokens_of = first_tokens(texts, elmo.tokenizer)
    spoken = sorted((text for text in tokens_of if tokens_of[text]), key=lambda text: len(tokens_of[text]))
    chosen = [spoken[place] for place in np.linspace(0, len(spoken) - 1, min(CHECKED, len(spoken))).astype(int)]
    features = Features.of(elmo, chosen, static=classifier.wide)
    static, _ = classifier.static(features)  # of what training has seen, nothing is foreign
    session, tokens, found = Session(converted.SerializeToString()), [tokens_of[text] for text in chosen], []
    for batch in batches([len(message) for message in tokens], MAX_BATCH_TOKENS):
        found.append(session.run(tokens[batch.start : batch.stop], static[batch.start : batch.stop]))
    p_spam, pooled = (np.concatenate(parts) for parts in zip(*found))
    expected = classifier.p_spam(features), features.pooled
    return np.array([np.abs(ours - theirs).max() for ours, theirs in zip((p_spam, pooled), expected)])


def _read(path: Path) -> ModelProto | None:
    """A kept encoder, if it is there and can be read."""
    try:
        encoder = onnx.load(path)
        onnx.checker.check_model(encoder)
        return encoder
    except (OSError, DecodeError, onnx.checker.ValidationError):
        return None


def _keep(encoder: ModelProto, path: Path) -> None:
    """For the next time; where that cannot be, it is made again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path.parent, ".onnx") as partial:
            partial.write_bytes(encoder.SerializeToString())
            finish(partial, path)
    except OSError:
        pass


def _encoder(bilm: BiLM, pooling: str = ClassifierSettings.pooling) -> ModelProto:
    """char_ids int32 [distinct tokens, chars], places int32 [b, l] -> pooled_layers float32 [b, 3, dim].

    Each place names a row of char_ids, -1 where there is no token. Each distinct token goes through the char-CNN once.
    """
    ids = tf.TensorSpec([None, bilm.config.max_characters], tf.int32, "char_ids")

    def encode(char_ids, places):
        real = (places >= 0)[:, :, None]
        lengths = tf.reduce_sum(tf.cast(places >= 0, tf.int32), axis=1)
        vectors = bilm.token_vectors(tf.concat([bilm.mark_char_ids(), char_ids], axis=0))
        layers = bilm.layer_vectors(vectors, tf.maximum(places, 0) + 2, lengths)
        count, ones = tf.cast(lengths, tf.float32)[:, None], tf.cast(real, tf.float32)
        pooled = tf.stack([tf.reduce_sum(layer * ones, axis=1) / count for layer in layers], axis=1)
        if pooling == "mean+max":
            maxima = [tf.reduce_max(tf.where(real, layer, layer.dtype.min), axis=1) for layer in layers]
            pooled = tf.concat([pooled, tf.stack(maxima, axis=1)], axis=-1)
        return {"pooled_layers": pooled}

    encoder = _converted(encode, [ids, tf.TensorSpec([None, None], tf.int32, "places")], "encoder")
    onnx_graph.unchanged_out_of_loops(encoder)
    return encoder


def _heads(classifier: Classifier) -> ModelProto:
    """pooled float32 [b, 3, dim], static float32 [b] -> p_spam float32 [b]."""
    mean, deviation = classifier.normalisation
    mix = classifier.heads.get_layer("scalar_mix")
    heads = keras.Model(mix.input, classifier.heads.output)
    deep_weight, *_, bias = classifier.stack

    def judge(pooled, static):
        deep = tf.reduce_mean(bounded(heads((pooled - tf.constant(mean)) / tf.constant(deviation))), axis=1)
        return {"p_spam": tf.sigmoid(deep_weight * deep + static + bias)}

    shapes = [tf.TensorSpec([None, *mix.input.shape[1:]], tf.float32, "pooled"), tf.TensorSpec([None], tf.float32, "static")]
    return _converted(judge, shapes, "heads")


def _converted(function, signature: list[tf.TensorSpec], name: str) -> ModelProto:
    """A TensorFlow function as ONNX; all names but those of inputs and outputs begin with `name`."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    import tf2onnx

    traced = tf.function(function, input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=OPSET)
    shown = {value.name for value in [*proto.graph.input, *proto.graph.output]}
    if {value.name for value in proto.graph.input} != {spec.name for spec in signature}:
        raise ValueError(f"inputs of the graph {name}. Received: {sorted(shown)}")
    prefixed = compose.add_prefix(proto, f"{name}/", rename_inputs=False, rename_outputs=False)
    prefixed.ir_version = IR_VERSION
    return prefixed
