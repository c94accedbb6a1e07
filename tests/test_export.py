"""The exported module: the same tokens and char ids as Python's, the biLM's numbers, TF-Hub ELMo's signatures."""

import json
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from hypothesis import given, settings
from hypothesis import strategies as st
from test_characters import ANY_TEXT

from spamcli.bilm.export import char_ids_in_graph, export, read_bilm, split_in_graph
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.characters import TOKENIZERS, encode_tokens, replace_surrogates, sentence_marks
from spamcli.errors import NotFoundError, UnavailableError, WriteError

SIZE = {"max_characters": 10, "char_dim": 3, "filters": ((1, 2), (2, 3), (3, 4)), "cells": 8, "projection": 4}
MESSAGES = ["WIN £1000 now!!!", "", "Ok, see you at the station at six", "\t ", "naïve 😀 extraordinarily", "Ok"]
OUTPUTS = {"word_emb": 4, "lstm_outputs1": 8, "lstm_outputs2": 8, "elmo": 8, "default": 8}
TEXTS = st.lists(ANY_TEXT.map(replace_surrogates), max_size=12)


def tokens_in_graph(texts, tokenizer):
    rows = split_in_graph(tf.constant([text.encode() for text in texts], tf.string), tokenizer).to_list()
    return [[token.decode() for token in row] for row in rows]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(deadline=None)
@given(TEXTS)
def test_tokens_of_any_text(tokenizer, texts):
    assert tokens_in_graph(texts, tokenizer) == [TOKENIZERS[tokenizer](text) for text in texts]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tokens_around_every_character(tokenizer):
    """Each code point of Unicode alone, twice, within a word, and before and after an apostrophe and an ending."""
    points = [chr(point) for point in [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F000, 0x1FB00), 0x10FFFF]]
    texts = [f"{c} {c}{c} a{c}b {c}'s a'{c} a’{c}s" for c in points]
    for text, tokens in zip(texts, tokens_in_graph(texts, tokenizer)):
        assert tokens == TOKENIZERS[tokenizer](text), ascii(text)


@settings(deadline=None)
@given(TEXTS, st.integers(3, 24))
def test_char_ids_of_any_token(tokens, max_characters):
    ids = char_ids_in_graph(tf.constant([token.encode() for token in tokens], tf.string), max_characters)
    assert ids.dtype == tf.int32
    np.testing.assert_array_equal(ids, encode_tokens(tokens, max_characters))


def test_char_ids_of_awkward_tokens():
    tokens = ["", "\x00", "a\x00", "\x00\x00\x00\x00\x00\x00", "£" * 3, "😀" * 30, "x" * 3, "x" * 4, "x" * 5, "x" * 500]
    ids = char_ids_in_graph(tf.constant([token.encode() for token in tokens]), 6)
    np.testing.assert_array_equal(ids, encode_tokens(tokens, 6))


def random_bilm(tokenizer: str) -> BiLM:
    config, random = BiLMConfig(tokenizer=tokenizer, **SIZE), np.random.default_rng(0)
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in config.weight_shapes().items()}
    return BiLM(config, weights, trainable=True)


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return request.param


@pytest.fixture(scope="module")
def directory(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "new" / "module"
    export(random_bilm(tokenizer), path, "# A card\n")
    return path


@pytest.fixture(scope="module", params=[tf.saved_model.load, hub.load], ids=["tf", "hub"])
def module(request, directory):
    return request.param(str(directory))


@pytest.fixture(scope="module")
def expected(tokenizer):
    """Layers of each message, one at a time, from the biLM with weights rounded to float16: [layers, tokens, dim]."""
    bilm = random_bilm(tokenizer)
    rounded = {name: value.numpy().astype(np.float16).astype(np.float32) for name, value in bilm.weights.items()}
    bilm = BiLM(bilm.config, rounded)
    layers = []
    for message in MESSAGES:
        tokens = TOKENIZERS[tokenizer](message)
        vectors = bilm.token_vectors(np.concatenate([sentence_marks(10), encode_tokens(tokens, 10)]))
        indices = np.arange(2, 2 + len(tokens), dtype=np.int32)[None]
        layers.append(np.array(bilm.layer_vectors(vectors, indices, np.int32([len(tokens)])))[:, 0])
    return layers


def by_tokens(module, tokenizer, messages, junk=""):
    tokens = [TOKENIZERS[tokenizer](message) for message in messages]
    longest = max(map(len, tokens))
    padded = [row + [junk] * (longest - len(row)) for row in tokens]
    return module.signatures["tokens"](
        tokens=tf.constant(padded, shape=[len(tokens), longest], dtype=tf.string),
        sequence_len=tf.constant(list(map(len, tokens)), tf.int32),
    )


def test_layers_are_the_rounded_bilms(module, expected):
    outputs = module.signatures["default"](text=tf.constant(MESSAGES))
    for row, layers in enumerate(expected):
        length = layers.shape[1]
        np.testing.assert_allclose(outputs["word_emb"][row, :length], layers[0, :, :4], atol=1e-5)
        np.testing.assert_allclose(outputs["word_emb"][row, :length], layers[0, :, 4:], atol=1e-5)
        np.testing.assert_allclose(outputs["lstm_outputs1"][row, :length], layers[1], atol=1e-5)
        np.testing.assert_allclose(outputs["lstm_outputs2"][row, :length], layers[2], atol=1e-5)
        np.testing.assert_allclose(outputs["elmo"][row, :length], layers.mean(axis=0), atol=1e-5)
        for name in OUTPUTS.keys() - {"default"}:
            assert not np.any(outputs[name][row, length:])


def test_default_is_the_mean_over_real_tokens_of_the_mean_of_layers(module, expected):
    pooled = [layers.mean(axis=(0, 1)) if layers.shape[1] else np.zeros(8) for layers in expected]
    assert np.abs(pooled[0] - pooled[2]).max() > 0.01
    np.testing.assert_allclose(module(tf.constant(MESSAGES)), pooled, atol=1e-5)


@pytest.mark.parametrize("junk", ["", "junk"])
def test_call_and_both_signatures_agree_on_a_padded_batch(module, tokenizer, junk):
    called = module(tf.constant(MESSAGES))
    by_text = module.signatures["default"](text=tf.constant(MESSAGES))
    outputs = by_tokens(module, tokenizer, MESSAGES, junk)
    np.testing.assert_allclose(called, by_text["default"], atol=1e-6)
    assert outputs.keys() == by_text.keys() == OUTPUTS.keys()
    for name in OUTPUTS:
        np.testing.assert_allclose(outputs[name], by_text[name], atol=1e-6)
        assert np.isfinite(outputs[name]).all()


def test_only_the_message_matters(module):
    together = module(tf.constant(MESSAGES)).numpy()
    for batch in ([0, 2, 4, 5], [5, 4, 3, 2, 1, 0], [2, 2, 2], [4, 1]):
        np.testing.assert_allclose(module(tf.constant([MESSAGES[row] for row in batch])), together[batch], atol=1e-5)
    for row, message in enumerate(MESSAGES):
        np.testing.assert_allclose(module(tf.constant([message])), together[[row]], atol=1e-5)


def test_nothing_to_read_is_no_error(module, tokenizer):
    assert module(tf.constant([], tf.string)).shape == (0, 8)
    np.testing.assert_array_equal(module(tf.constant(["", " "])), np.zeros([2, 8]))
    assert by_tokens(module, tokenizer, ["", " "])["elmo"].shape == (2, 0, 8)


def test_nothing_is_trainable(module):
    with tf.GradientTape() as tape:
        module(tf.constant(MESSAGES))
    assert not tape.watched_variables()
    for signature in module.signatures.values():
        assert signature.variables and not signature.trainable_variables


def test_signatures_are_those_of_tf_hubs_elmo(module):
    assert set(module.signatures) == {"default", "tokens"}
    inputs = {name: s.structured_input_signature for name, s in module.signatures.items()}
    assert inputs == {
        "default": ((), {"text": tf.TensorSpec([None], tf.string, "text")}),
        "tokens": (
            (),
            {
                "tokens": tf.TensorSpec([None, None], tf.string, "tokens"),
                "sequence_len": tf.TensorSpec([None], tf.int32, "sequence_len"),
            },
        ),
    }
    for signature in module.signatures.values():
        outputs = signature.structured_outputs
        assert {name: spec.dtype for name, spec in outputs.items()} == dict.fromkeys(OUTPUTS, tf.float32)
        assert {name: tuple(spec.shape) for name, spec in outputs.items()} == {
            name: (None, size) if name == "default" else (None, None, size) for name, size in OUTPUTS.items()
        }


def test_directory_holds_a_card_the_tokenizer_and_the_sizes(directory, tokenizer):
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    variables = {"variables/variables.index", "variables/variables.data-00000-of-00001"}
    assert files == {"saved_model.pb", "README.md", "assets.extra/tokenizer.json", "assets.extra/bilm.json"} | variables
    assert json.loads((directory / "assets.extra" / "tokenizer.json").read_text()) == {"tokenizer": tokenizer}
    sizes = json.loads((directory / "assets.extra" / "bilm.json").read_text())
    assert BiLMConfig.from_dict(sizes) == BiLMConfig(tokenizer=tokenizer, **SIZE)
    assert (directory / "README.md").read_text() == "# A card\n"
    assert directory.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in directory.parent.iterdir()] == ["module"]


def test_weights_take_two_bytes(directory, tokenizer):
    stored = tf.train.load_checkpoint(str(directory / "variables" / "variables")).get_variable_to_dtype_map()
    assert list(stored.values()).count(tf.float16) == len(random_bilm(tokenizer).weights)
    assert tf.float32 not in stored.values()


def test_existing_directory_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(WriteError, match="mine: exists already; name another directory"):
        export(random_bilm("space"), tmp_path / "mine", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_place_below_a_file_is_a_write_error(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(WriteError, match="module: cannot be written"):
        export(random_bilm("space"), tmp_path / "file" / "module", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_full_disk_leaves_nothing_behind(tmp_path):
    """No file may grow past 1,000 bytes, which stops the export in the middle as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    bilm = random_bilm("space")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WriteError, match="module: cannot be written"):
            export(bilm, tmp_path / "module", "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_mistake_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        export(random_bilm("space"), tmp_path / "module", b"a card that is no text")
    assert not list(tmp_path.iterdir())
    export(random_bilm("space"), tmp_path / "module", "half a character: \ud83d")
    assert (tmp_path / "module" / "README.md").read_text() == "half a character: ?"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same biLM in each dtype of storage: name -> directory."""
    folder = tmp_path_factory.mktemp("stored")
    for storage in (tf.float16, tf.float32, tf.bfloat16):
        export(random_bilm("space"), folder / storage.name, "", storage)
    return folder


@pytest.mark.parametrize("storage", [tf.float16, tf.float32, tf.bfloat16], ids=lambda storage: storage.name)
def test_what_was_exported_can_be_read_back(stored, storage):
    """The same sizes, and the weights as they were stored: float32 exactly, the others rounded."""
    bilm, back = random_bilm("space"), read_bilm(stored / storage.name)
    assert back.config == bilm.config and back.precision == tf.float32 and not back.trainable_variables
    assert back.weights.keys() == bilm.weights.keys()
    for name, variable in back.weights.items():
        whole = storage == tf.bfloat16 and (name.startswith(("char", "conv")) or name.endswith("bias"))
        expected = bilm.weights[name].numpy()
        expected = expected if whole else expected.astype(storage.as_numpy_dtype).astype(np.float32)
        assert variable.dtype == tf.float32
        np.testing.assert_array_equal(variable, expected, err_msg=name)


def test_what_is_read_back_can_be_trained(stored):
    back = read_bilm(stored / "float32", precision=tf.bfloat16, trainable=True)
    assert back.precision == tf.bfloat16
    assert len(back.trainable_variables) == len(back.weights)


def test_products_are_float32_unless_asked(stored, tmp_path):
    """Pretraining's biLM has bfloat16 products; its module's are float32 all the same."""
    bilm = read_bilm(stored / "float32", precision=tf.bfloat16)
    export(bilm, tmp_path / "plain", "", tf.float32)
    export(bilm, tmp_path / "rounded", "", tf.float32, tf.bfloat16)
    exact, plain, rounded = (
        tf.saved_model.load(str(path))(tf.constant(MESSAGES)).numpy()
        for path in (stored / "float32", tmp_path / "plain", tmp_path / "rounded")
    )
    np.testing.assert_allclose(plain, exact, atol=1e-6)
    assert 1e-4 < np.abs(rounded - exact).max() < 0.2


def test_no_module_cannot_be_read(tmp_path):
    with pytest.raises(NotFoundError, match="absent: no SavedModel there; name the directory that holds saved_model.pb$"):
        read_bilm(tmp_path / "absent")


def changed(directory, tmp_path, change):
    """A copy of a module with one thing changed."""
    copy = tmp_path / "changed"
    shutil.copytree(directory, copy)
    change(copy / "assets.extra" / "bilm.json", copy / "variables" / "variables.data-00000-of-00001")
    return copy


def test_a_module_of_others_cannot_be_read(stored, tmp_path):
    directory = changed(stored / "float32", tmp_path, lambda sizes, data: sizes.unlink())
    message = "changed: no assets.extra/bilm.json; only modules that this version's `spamcli pretrain` or `spamcli import`"
    with pytest.raises(UnavailableError, match=f"^[^\n]*{message} wrote can be continued$"):
        read_bilm(directory)


def sizes_with(**change):
    return lambda sizes, data: sizes.write_text(json.dumps(json.loads(sizes.read_text()) | change))


DAMAGES = {  # what is done to sizes and weights, and the reason that is given
    "not JSON": (lambda sizes, data: sizes.write_text("no JSON"), "Expecting value: .*"),
    "not UTF-8": (lambda sizes, data: sizes.write_bytes(b"\xff"), ".*can't decode.*"),
    "a list": (lambda sizes, data: sizes.write_text("[1]"), ".*"),
    "nothing in it": (lambda sizes, data: sizes.write_text("{}"), "'filters'"),
    "another field": (sizes_with(dimension=3), ".*dimension.*"),
    "another tokenizer": (sizes_with(tokenizer="letters"), "unknown tokenizer or activation. Received: letters, relu"),
    "no name": (sizes_with(activation=["relu"]), ".*"),
    "no filters": (sizes_with(filters=7), ".*"),
    "another projection": (sizes_with(projection=5), r"projection_kernel has shape \[9, 4\] instead of \[9, 5\]"),
    "cells in words": (sizes_with(cells="eight"), "a size or the clip is none.*"),
    "no layers": (sizes_with(lstm_layers=0), "a size or the clip is none.*"),
    "tokens of marks alone": (sizes_with(max_characters=2), "a size or the clip is none.*"),
    "half a character": (sizes_with(max_characters=20.5), "a size or the clip is none.*"),
    "no clip": (sizes_with(clip=float("nan")), "a size or the clip is none.*"),
    "a clip in words": (sizes_with(clip="x"), ".*not supported.*"),
    "a highway to nowhere": (sizes_with(highways=10**12), "sizes above 1000"),
    "layers without end": (sizes_with(lstm_layers=10**12), "sizes above 1000"),
    "tokens without end": (sizes_with(max_characters=10**12), "sizes above 1000"),
    "thousands of filters": (sizes_with(filters=[[n, 1] for n in range(2000)]), "sizes above 1000"),
    "a tower of lists": (lambda sizes, data: sizes.write_text("[" * 60_000), ".*recursion.*"),
    "another layer": (sizes_with(lstm_layers=3), ".*forward2_input_kernel.*"),
    "no weights": (lambda sizes, data: data.unlink(), ".*variables.data.*"),
    "half the weights": (lambda sizes, data: data.write_bytes(data.read_bytes()[:1000]), ".*"),
    "other weights": (lambda sizes, data: data.write_bytes(bytes(len(data.read_bytes()))), ".*"),
    "no index": (lambda sizes, data: data.with_name("variables.index").unlink(), ".*"),
    "another index": (lambda sizes, data: data.with_name("variables.index").write_bytes(b"junk"), ".*"),
}


@pytest.mark.parametrize("change, reason", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_module_is_said_to_be_so(stored, tmp_path, change, reason):
    directory = changed(stored / "float32", tmp_path, change)
    with pytest.raises(UnavailableError, match=rf"^[^\n]*changed: damaged \({reason}\); (write|fetch or export) it again$"):
        read_bilm(directory)
