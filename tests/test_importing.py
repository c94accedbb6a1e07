"""Published weights: ELMo's authors' own reference, a NumPy twin in bilm-tf's terms, bfloat16's error, clear refusals."""

import hashlib
import json
import os
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from spamcli.bilm.export import read_bilm
from spamcli.bilm.importing import MESSAGES, import_weights
from spamcli.errors import DataError, NotFoundError, WriteError

REFERENCE = ROOT.parent / "shared" / "fixtures" / "elmo_reference"
SENTENCES = [["Ok", "see", "you", "at", "the", "station"], ["£5", "naïve", "x" * 30], ["win"]]
BOUND = 0.5  # of cells and projected outputs
OPTIONS = {
    "lstm": {
        "cell_clip": BOUND,
        "proj_clip": BOUND,
        "dim": 6,
        "projection_dim": 4,
        "n_layers": 2,
        "use_skip_connections": True,
    },
    "char_cnn": {
        "embedding": {"dim": 3},
        "filters": [[1, 2], [2, 3], [4, 3]],
        "n_highway": 2,
        "n_characters": 261,
        "max_characters_per_token": 12,
        "activation": "relu",
    },
}


def options_with(**change) -> dict:
    """OPTIONS with some of them changed, or, if None, absent."""
    options = json.loads(json.dumps(OPTIONS))
    for key, value in change.items():
        part = options["lstm" if key in OPTIONS["lstm"] else "char_cnn"]
        if value is None:
            del part[key]
        else:
            part[key] = value
    return options


def random_weights(options: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """All datasets of a file as bilm-tf writes it, no number zero."""
    lstm, cnn, random = options["lstm"], options["char_cnn"], np.random.default_rng(seed)
    filters, dim, cells, size = cnn["filters"], cnn["embedding"]["dim"], lstm["dim"], lstm["projection_dim"]
    shapes, features = {"char_embed": [261, dim]}, sum(number for _, number in filters)
    for i, (width, number) in enumerate(filters):
        shapes |= {f"CNN/W_cnn_{i}": [1, width, dim, number], f"CNN/b_cnn_{i}": [number]}
    for k in range(cnn.get("n_highway") or 0):
        for half in ("carry", "transform"):
            shapes |= {f"CNN_high_{k}/W_{half}": [features, features], f"CNN_high_{k}/b_{half}": [features]}
    if features != size:
        shapes |= {"CNN_proj/W_proj": [features, size], "CNN_proj/b_proj": [size]}
    for cell in (f"RNN_{i}/RNN/MultiRNNCell/Cell{k}/LSTMCell" for i in range(2) for k in range(lstm["n_layers"])):
        shapes |= {f"{cell}/W_0": [2 * size, 4 * cells], f"{cell}/B": [4 * cells], f"{cell}/W_P_0": [cells, size]}
    return {name: 0.7 * random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def write(folder, options: dict | str, weights: dict):
    """Both files -> their paths, weights first."""
    paths = folder / "weights.hdf5", folder / "options.json"
    with h5py.File(paths[0], "w") as file:
        for name, value in weights.items():
            file[name] = value
    paths[1].write_text(options if isinstance(options, str) else json.dumps(options))
    return paths


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_elmo(options: dict, weights: dict, sentence: list[str]) -> list[np.ndarray]:
    """The biLM in bilm-tf's own terms, in float64: layer 0 [tokens, size], then the LSTMs' [tokens, 2 size]."""
    lstm, weights = options["lstm"], {name: value.astype(np.float64) for name, value in weights.items()}
    marked = [[256], *(list(token.encode()) for token in sentence), [257]]
    x = np.array([numpy_word(options["char_cnn"], weights, data) for data in marked])  # [tokens + 2, size]
    layers = []
    for i, turn in ((0, slice(None)), (1, slice(None, None, -1))):
        y, outputs = x[turn], []
        for k in range(lstm["n_layers"]):
            cell = {name: weights[f"RNN_{i}/RNN/MultiRNNCell/Cell{k}/LSTMCell/{name}"] for name in ("W_0", "B", "W_P_0")}
            z = numpy_cell(cell, y)
            y = z + y if k > 0 and lstm["use_skip_connections"] else z
            outputs.append(y[turn][1:-1])
        layers.append(outputs)
    return [x[1:-1], *(np.concatenate(pair, axis=-1) for pair in zip(*layers))]


def numpy_word(cnn, weights, data):
    """Layer 0 of a token. Its ids are bilm-tf's, 0 to 260: bytes, or a sentence mark, between 258 and 259, then 260."""
    ids = [258, *data[: cnn["max_characters_per_token"] - 2], 259]
    characters = weights["char_embed"][ids + [260] * (cnn["max_characters_per_token"] - len(ids))]
    activation = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[cnn["activation"]]
    features = []
    for i, (width, number) in enumerate(cnn["filters"]):
        kernel = weights[f"CNN/W_cnn_{i}"].reshape(-1, number)
        windows = [characters[p : p + width].ravel() for p in range(len(characters) - width + 1)]
        features.append(activation(np.array(windows) @ kernel + weights[f"CNN/b_cnn_{i}"]).max(axis=0))
    x = np.concatenate(features)
    for k in range(cnn.get("n_highway") or 0):
        high = {name: weights[f"CNN_high_{k}/{name}"] for name in ("W_carry", "b_carry", "W_transform", "b_transform")}
        carry = sigmoid(x @ high["W_carry"] + high["b_carry"])
        x = carry * np.maximum(x @ high["W_transform"] + high["b_transform"], 0) + (1 - carry) * x
    return x @ weights["CNN_proj/W_proj"] + weights["CNN_proj/b_proj"] if "CNN_proj/W_proj" in weights else x


def numpy_cell(cell, x):
    h, c, outputs = np.zeros(x.shape[1]), np.zeros(cell["W_P_0"].shape[0]), []
    for x_t in x:
        i, j, f, o = np.split(np.concatenate([x_t, h]) @ cell["W_0"] + cell["B"], 4)
        c = np.clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), -BOUND, BOUND)
        h = np.clip((sigmoid(o) * np.tanh(c)) @ cell["W_P_0"], -BOUND, BOUND)
        outputs.append(h)
    return np.array(outputs)


def layers_of(module, sentences) -> list[list[np.ndarray]]:
    """Of each sentence, through the signature `tokens` in one padded batch: word_emb, lstm_outputs1, ..."""
    longest = max(map(len, sentences))
    outputs = module.signatures["tokens"](
        tokens=tf.constant([sentence + [""] * (longest - len(sentence)) for sentence in sentences]),
        sequence_len=tf.constant([len(sentence) for sentence in sentences], tf.int32),
    )
    names = ["word_emb", *sorted(name for name in outputs if name.startswith("lstm_outputs"))]
    return [[outputs[name][row, : len(sentence)].numpy() for name in names] for row, sentence in enumerate(sentences)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The imported module of ELMo's authors' tiny biLM, and their three sentences with its top layer."""
    if not REFERENCE.is_dir():
        if os.environ.get("CI") == "true" and REFERENCE.parents[1].is_dir():
            pytest.fail(f"{REFERENCE} is not there")
        pytest.skip(f"{REFERENCE} is not there")
    directory = tmp_path_factory.mktemp("reference") / "module"
    import_weights(REFERENCE / "lm_weights.hdf5", REFERENCE / "options.json", directory)
    sentences = [group[0] for group in json.loads((REFERENCE / "lm_embeddings_sentences.json").read_text())]
    tops = []
    for group in range(3):
        with h5py.File(REFERENCE / f"lm_embeddings_{group}.hdf5") as file:
            tops.append(np.concatenate(file["0"][...], axis=-1))  # [tokens, 32]
    return tf.saved_model.load(str(directory)), sentences, tops


def test_reference_through_tokens(reference):
    module, sentences, tops = reference
    for layers, top in zip(layers_of(module, [sentence.split() for sentence in sentences]), tops, strict=True):
        assert np.abs(top).max() > 1
        np.testing.assert_allclose(layers[2], top, rtol=0, atol=1e-6)


def test_reference_through_text(reference):
    module, sentences, tops = reference
    outputs = module.signatures["default"](text=tf.constant([" ".join(sentence.split()) for sentence in sentences]))
    for row, top in zip(outputs["lstm_outputs2"], tops, strict=True):
        np.testing.assert_allclose(row[: len(top)], top, rtol=0, atol=1e-6)
        assert not np.any(row[len(top) :])


VARIANTS = {
    "as released": {},
    "no skip connections, tanh": {"use_skip_connections": False, "activation": "tanh", "n_highway": 1},
    "no CNN_proj, no highways": {"projection_dim": 8, "dim": 9, "n_highway": None, "n_characters": 262},
    "three LSTM layers": {"n_layers": 3, "n_highway": 0, "filters": [[3, 4], [1, 2]]},
}


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_equals_its_twin(tmp_path, change):
    options = options_with(**change)
    weights = random_weights(options)
    assert ("CNN_proj/W_proj" in weights) == (change.get("projection_dim") != 8)
    imported = import_weights(*write(tmp_path, options, weights), tmp_path / "module")
    assert imported.config.residual == options["lstm"]["use_skip_connections"] and imported.error is None
    for layers, sentence in zip(layers_of(tf.saved_model.load(str(tmp_path / "module")), SENTENCES), SENTENCES):
        for layer, expected in zip(layers, numpy_elmo(options, weights, sentence), strict=True):
            np.testing.assert_allclose(layer, expected, atol=1e-5)
            assert np.abs(expected).max() > 0.1


def test_the_bound_acts_in_these_weights():
    """Else the twin would not have seen it."""
    _, first, _ = numpy_elmo(OPTIONS, random_weights(OPTIONS), SENTENCES[0])
    assert (np.abs(first) == BOUND).any() and (np.abs(first) < BOUND).any()


def test_weights_in_double_precision_are_taken_too(tmp_path):
    weights = random_weights(OPTIONS)
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    (tmp_path / "wide").mkdir()
    number = import_weights(*write(tmp_path, OPTIONS, weights), tmp_path / "module").weights
    assert number == sum(value.size for value in weights.values()) + 3  # the mask's row
    import_weights(*write(tmp_path / "wide", OPTIONS, wide), tmp_path / "wide" / "module")
    expected, same = (read_bilm(folder / "module").weights for folder in (tmp_path, tmp_path / "wide"))
    for name, value in expected.items():
        np.testing.assert_array_equal(same[name], value)


LARGER = options_with(dim=64, projection_dim=16, n_highway=1)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same weights in both precisions: name -> what `import_weights` returned, and the directories' parent."""
    folder = tmp_path_factory.mktemp("both")
    weights = {name: 0.5 * value for name, value in random_weights(LARGER).items()}
    paths = write(folder, LARGER, weights)
    return {name: import_weights(*paths, folder / name, name) for name in ("float32", "bfloat16")}, folder


def pooled_layers(directory):
    """Mean over the tokens of each layer of the messages: [messages, layers' numbers]."""
    sentences = [message.split(" ") for message in MESSAGES]
    layers = layers_of(tf.saved_model.load(str(directory)), sentences)
    return np.array([np.concatenate([layer.mean(axis=0, dtype=np.float64) for layer in row]) for row in layers])


def test_bfloat16s_error_is_what_one_measures(both):
    imported, folder = both
    exact, rounded = pooled_layers(folder / "float32"), pooled_layers(folder / "bfloat16")
    error = np.sqrt(((rounded - exact) ** 2).mean() / (exact**2).mean())
    largest = np.abs(rounded - exact).max()
    assert 1e-4 < error < 0.05
    np.testing.assert_allclose(imported["bfloat16"].error, error, rtol=1e-3)
    np.testing.assert_allclose(imported["bfloat16"].largest_error, largest, rtol=1e-3)
    stated = re.search(
        r"differ from those in float32 by (\S+) of their root mean square, and by\n(\S+) at most\.",
        (folder / "bfloat16" / "README.md").read_text(encoding="utf-8"),
    )
    np.testing.assert_allclose([float(number) for number in stated.groups()], [error, largest], rtol=6e-3)


def test_float32_states_no_error(both):
    imported, folder = both
    assert imported["float32"].error is None and imported["float32"].largest_error is None
    assert "bfloat16" not in (folder / "float32" / "README.md").read_text(encoding="utf-8")


def test_storage(both):
    """float32 throughout; with bfloat16 the matrices of the products take half of that."""
    dtypes = {}
    for name in both[0]:
        checkpoint = tf.train.load_checkpoint(str(both[1] / name / "variables" / "variables"))
        stored = checkpoint.get_variable_to_dtype_map().items()
        dtypes[name] = {key.split("/")[2]: dtype for key, dtype in stored if key.startswith("bilm/weights/")}
    assert set(dtypes["float32"].values()) == {tf.float32}
    matrices = [name for name, dtype in dtypes["bfloat16"].items() if dtype == tf.bfloat16]
    assert len(matrices) == 1 + 1 + 4 * 3 and set(dtypes["bfloat16"].values()) == {tf.float32, tf.bfloat16}
    assert not any(name.startswith(("char", "conv")) or name.endswith("bias") for name in matrices)


def test_card(both):
    imported, folder = both
    card = (folder / "bfloat16" / "README.md").read_text(encoding="utf-8")
    assert "Made by `spamcli import weights.hdf5 options.json -o bfloat16 --precision bfloat16`.\n" in card
    assert f"Its {imported['bfloat16'].weights:,} weights" in card
    assert "- projection: 16\n" in card and "- tokenizer: space\n" in card
    for name in ("weights.hdf5", "options.json"):
        assert f"- `{name}`, sha256 `{hashlib.sha256((folder / name).read_bytes()).hexdigest()}`\n" in card
    plain = (folder / "float32" / "README.md").read_text(encoding="utf-8")
    assert "Made by `spamcli import weights.hdf5 options.json -o float32`.\n" in plain


def refused(folder, paths, error) -> str:
    """The one line of an import that fails and leaves nothing behind, without the folder."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(error) as caught:
        import_weights(*paths, folder / "module")
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


PAIRS = "pairs [width, number] of whole numbers above 0, each width once, none above 12"
WHOLE = "a whole number above 0"
BAD_OPTIONS = [  # option, value, what it must be, what is said to be received
    ("lstm.dim", None, WHOLE, "nothing"),
    ("lstm.dim", 6.5, WHOLE, "6.5"),
    ("lstm.projection_dim", 0, WHOLE, "0"),
    ("lstm.n_layers", True, WHOLE, "true"),
    ("lstm.cell_clip", None, "a number above 0", "nothing"),
    ("lstm.cell_clip", float("inf"), "a number above 0", "Infinity"),
    ("lstm.proj_clip", None, "0.5, as lstm.cell_clip is", "nothing"),
    ("lstm.proj_clip", 3, "0.5, as lstm.cell_clip is", "3"),
    ("lstm.use_skip_connections", None, "true or false", "nothing"),
    ("lstm.use_skip_connections", 1, "true or false", "1"),
    ("char_cnn.embedding", {"dim": "4"}, None, None),
    ("char_cnn.embedding", 4, None, None),
    ("char_cnn.filters", [], PAIRS, "[]"),
    ("char_cnn.filters", {"1": 2}, PAIRS, '{"1": 2}'),
    ("char_cnn.filters", [[1, 2], 3], PAIRS, "[[1, 2], 3]"),
    ("char_cnn.filters", [[1, 2, 3]], PAIRS, "[[1, 2, 3]]"),
    ("char_cnn.filters", [[1, 2], [1, 3]], PAIRS, "[[1, 2], [1, 3]]"),
    ("char_cnn.filters", [[1, 2], [13, 3]], PAIRS, "[[1, 2], [13, 3]]"),
    ("char_cnn.filters", [[1, 0]], PAIRS, "[[1, 0]]"),
    ("char_cnn.filters", [[[1], 2]], PAIRS, "[[[1], 2]]"),
    ("char_cnn.n_highway", -1, "a whole number", "-1"),
    ("char_cnn.n_highway", "two", "a whole number", '"two"'),
    ("char_cnn.n_characters", 260, "261 or 262", "260"),
    ("char_cnn.max_characters_per_token", 2, "from 3 to 1000", "2"),
    ("char_cnn.max_characters_per_token", 10**12, "from 3 to 1000", "1000000000000"),
    ("char_cnn.activation", "gelu", "relu or tanh", '"gelu"'),
    ("char_cnn.activation", ["relu"], "relu or tanh", '["relu"]'),
    ("char_cnn.activation", None, "relu or tanh", "nothing"),
]


@pytest.mark.parametrize("key, value, needed, received", BAD_OPTIONS, ids=str)
def test_bad_options_are_named(tmp_path, key, value, needed, received):
    paths = write(tmp_path, options_with(**{key.split(".")[1]: value}), {})
    if key == "char_cnn.embedding":
        key, needed, received = "char_cnn.embedding.dim", WHOLE, '"4"' if isinstance(value, dict) else "nothing"
    assert refused(tmp_path, paths, DataError) == f"options.json: {key} must be {needed}. Received: {received}"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "options.json: not JSON (Expecting value: line 1 column 1 (char 0)); name the options.json of the weights"),
        ("[" * 100_000, "options.json: not JSON (maximum recursion depth exceeded"),
        ("[]", "options.json: char_cnn.max_characters_per_token must be from 3 to 1000. Received: nothing"),
        ('{"char_cnn": []}', "options.json: char_cnn.max_characters_per_token must be from 3 to 1000. Received: nothing"),
    ],
    ids=["empty", "deep", "list", "no object"],
)
def test_options_that_are_none(tmp_path, text, message):
    assert refused(tmp_path, write(tmp_path, text, {}), DataError).startswith(message)


def changed_weights(name, value):
    weights = random_weights(OPTIONS)
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    return weights


CELL = "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell"
BAD_WEIGHTS = {  # dataset, what stands there, the shape it must have, what is said to be received
    "no embedding": ("char_embed", None, [261, 3], "nothing"),
    "mask's row": ("char_embed", np.ones([262, 3]), [261, 3], '<HDF5 dataset "char_embed": shape (262, 3), type "<f8">'),
    "whole numbers": ("CNN/b_cnn_1", np.ones(3, int), [3], '<HDF5 dataset "b_cnn_1": shape (3,), type "<i8">'),
    "text": ("CNN/b_cnn_1", "abc", [3], '<HDF5 dataset "b_cnn_1": shape (), type "|O">'),
    "one width short": ("CNN/W_cnn_2", None, [1, 4, 3, 3], "nothing"),
    "NaN": ("CNN_high_1/b_carry", np.full(8, np.nan, np.float32), [8], "infinite numbers or NaN"),
    "infinite": ("CNN_high_0/W_transform", np.full([8, 8], np.inf), [8, 8], "infinite numbers or NaN"),
    "past float32": ("CNN_high_0/W_carry", np.full([8, 8], 1e300), [8, 8], "infinite numbers or NaN"),
    "no projection": ("CNN_proj/W_proj", None, [8, 4], "nothing"),
    "half a projection": ("CNN_proj/b_proj", None, [4], "nothing"),
    "turned": (f"{CELL}/W_0", np.ones([24, 8], np.float32), [8, 24], '<HDF5 dataset "W_0": shape (24, 8), type "<f4">'),
    "no bias": (f"{CELL}/B", None, [24], "nothing"),
    "other cells": (f"{CELL}/W_P_0", np.ones([5, 4], np.float32), [6, 4], '<HDF5 dataset "W_P_0": shape (5, 4), type "<f4">'),
}


@pytest.mark.parametrize("name, value, shape, received", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS.keys())
def test_bad_weights_are_named(tmp_path, name, value, shape, received):
    paths = write(tmp_path, OPTIONS, changed_weights(name, value))
    message = refused(tmp_path, paths, DataError)
    assert message == f"weights.hdf5: {name} must hold float numbers of shape {shape}. Received: {received}"


def test_a_group_is_no_dataset(tmp_path):
    paths = write(tmp_path, OPTIONS, changed_weights("char_embed", None) | {"char_embed/inner": np.ones(3)})
    assert refused(tmp_path, paths, DataError).endswith('Received: <HDF5 group "/char_embed" (1 members)>')


def test_numbers_of_another_file_are_not_taken(tmp_path):
    """They would be in a module that its maker may publish."""
    raw, other = tmp_path / "raw", tmp_path / "other.hdf5"
    raw.write_bytes(bytes(261 * 3 * 4))
    with h5py.File(other, "w") as file:
        file["char_embed"] = np.zeros([261, 3], np.float32)
    layout = h5py.VirtualLayout((261, 3), np.float32)
    layout[:] = h5py.VirtualSource(other, "char_embed", (261, 3))
    for put in (
        lambda file: file.create_dataset("char_embed", [261, 3], np.float32, external=[(str(raw), 0, 261 * 3 * 4)]),
        lambda file: file.update({"char_embed": h5py.ExternalLink(other, "char_embed")}),
        lambda file: file.create_virtual_dataset("char_embed", layout),
    ):
        paths = write(tmp_path, OPTIONS, changed_weights("char_embed", None))
        with h5py.File(paths[0], "a") as file:
            put(file)
        assert refused(tmp_path, paths, DataError).endswith("Received: a link to another file")


def test_options_of_other_weights(tmp_path):
    """Nothing of that size is made before the file is asked; and what the file has not is not waited for."""
    paths = write(tmp_path, options_with(n_layers=10**9, n_highway=10**9), random_weights(OPTIONS))
    assert refused(tmp_path, paths, DataError).startswith("weights.hdf5: CNN_high_2/W_transform must hold")
    paths = write(tmp_path, options_with(dim=10**15), random_weights(OPTIONS))
    assert refused(tmp_path, paths, DataError).startswith("weights.hdf5: RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0 must hold")


def test_damaged_numbers_are_named(tmp_path):
    """The header is whole, the data behind it is not: a compressed dataset with junk in it."""
    paths = write(tmp_path, OPTIONS, changed_weights("char_embed", None))
    with h5py.File(paths[0], "a") as file:
        file.create_dataset("char_embed", data=np.zeros([261, 3], np.float32), chunks=(261, 3), compression="gzip")
        chunk = file["char_embed"].id.get_chunk_info(0)
    with open(paths[0], "r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    message = refused(tmp_path, paths, DataError)
    assert message.startswith("weights.hdf5: char_embed must hold float numbers of shape [261, 3]. Received: Can't")


@pytest.mark.parametrize("data", [b"", b"no HDF5" * 100, None], ids=["empty", "text", "cut off"])
def test_a_file_that_is_not_hdf5(tmp_path, data):
    paths = write(tmp_path, OPTIONS, random_weights(OPTIONS))
    paths[0].write_bytes(paths[0].read_bytes()[:5000] if data is None else data)
    message = refused(tmp_path, paths, DataError)
    assert re.fullmatch(r"weights.hdf5: not HDF5, or damaged \(.+\); fetch it again", message)


def test_files_that_are_not_there(tmp_path):
    weights, options = write(tmp_path, OPTIONS, {})
    message = refused(tmp_path, (tmp_path / "absent.hdf5", options), NotFoundError)
    assert message == "absent.hdf5: no such file; name the HDF5 file of the weights"
    message = refused(tmp_path, (weights, tmp_path / "absent.json"), NotFoundError)
    assert message == "absent.json: cannot be read (No such file or directory); name the options.json of the weights"
    assert refused(tmp_path, (weights, tmp_path), NotFoundError).endswith("name the options.json of the weights")
    assert "not HDF5, or damaged" in refused(tmp_path, (tmp_path, options), DataError)


def test_an_existing_directory_is_left_alone_before_anything_is_read(tmp_path):
    (tmp_path / "module").mkdir()
    message = refused(tmp_path, (tmp_path / "absent.hdf5", tmp_path / "absent.json"), WriteError)
    assert message.endswith("module: exists already; name another directory with -o")


def test_an_unknown_precision_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="unknown precision. Received: float16"):
        import_weights(*write(tmp_path, OPTIONS, {}), tmp_path / "module", "float16")
