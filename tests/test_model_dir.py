"""A trained model on disk: whole or not there, verified, and nothing in it runs."""

import contextlib
import hashlib
import io
import json
import os
import random
import tracemalloc
import zipfile
from dataclasses import asdict, replace

import h5py
import keras
import numpy as np
import pytest

from spamcli import messages, model_config, model_dir, protocols, training
from spamcli.elmo import ELMo
from spamcli.errors import DataError, NotFoundError, WriteError
from spamcli.memory import Memory
from spamcli.settings import RECIPES

from conftest import TINY_MESSAGES, edit_config  # isort: skip

TEXTS = ["See you at six", "WIN a prize now", ""]


@pytest.fixture(scope="module")
def trained(tiny_elmo):
    read = messages.read_messages(TINY_MESSAGES)
    split = protocols.split(read, "grouped", 1)
    return training.train(read, split, ELMo(str(tiny_elmo)), replace(RECIPES["wide-and-deep"], epochs=2), seed=1)[0]


@pytest.fixture
def saved(trained, tmp_path):
    model_dir.save(trained, tmp_path / "model")
    return tmp_path / "model"


def test_read_back_it_gives_the_same_verdicts(trained, saved):
    loaded = model_dir.load(saved)
    np.testing.assert_allclose(loaded.p_spam(TEXTS), trained.p_spam(TEXTS), atol=1e-6)
    assert loaded.config == trained.config
    assert loaded.p_spam([""])[0] == trained.classifier.prior


def test_config_holds_all_that_made_it(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["format"] == 6 and config["protocol"] == "grouped" and config["seed"] == 1
    assert config["classifier"] == asdict(replace(RECIPES["wide-and-deep"], epochs=2))
    assert len(config["elmo"]["fingerprint"]) == len(config["data"]["sha256"]) == 64
    assert set(config["versions"]) == {"spamcli", "tensorflow", "keras", "scikit-learn"}


def test_overwriting_leaves_one_of_each_and_nothing_half_written(trained, saved):
    model_dir.save(trained, saved)
    names = sorted(path.name.partition("-")[0] for path in saved.iterdir())
    assert names == ["config.json", "heads", "memory", "model", "wide"]


def test_what_an_interrupted_save_wrote_does_not_stay(trained, saved, monkeypatch):
    """The text of training messages least of all; the present model stays."""
    before = sorted(path.name for path in saved.iterdir())
    keeping = replace(trained, memory=replace(trained.memory, texts=["secret"] * len(trained.memory.rows)), onnx=b"x")

    class Full:
        def save(self, path):
            raise OSError(28, "No space left on device")

    broken = replace(keeping, classifier=replace(trained.classifier, wide=Full()))
    with pytest.raises(WriteError, match="No space left"):
        model_dir.save(broken, saved)
    assert sorted(path.name for path in saved.iterdir()) == before
    model_dir.load(saved)


def test_parts_that_a_killed_save_left_are_swept(trained, saved):
    left = saved / f"memory-{'a' * 64}.npz"
    left.write_bytes(b"")
    model_dir.save(trained, saved)
    assert not left.exists()


def test_the_card_of_the_model_before_goes_with_it(trained, saved):
    model_dir.write_card(saved, "the old one", trained.config)
    model_dir.save(trained, saved)
    assert not (saved / "README.md").exists()


@pytest.mark.parametrize("part", ["heads", "memory", "model", "wide"])
def test_a_flipped_bit_is_found_and_named(saved, part):
    (path,) = saved.glob(f"{part}-*")
    data = bytearray(path.read_bytes())
    for position in random.Random(0).sample(range(len(data)), 8):
        flipped = bytearray(data)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=path.name):
            model_dir.load(saved)


def test_memory_recognises_training_messages_and_holds_no_text(trained, saved):
    memory = model_dir.load(saved).memory
    train = model_dir.read_split(trained.config, TINY_MESSAGES).train
    assert memory.knows(train["text"]).all() and memory.texts is None
    assert memory.rows.tolist() == train["row"].tolist() and memory.labels.tolist() == train["label"].tolist()
    content = b"".join(path.read_bytes() for path in saved.iterdir())
    assert not any(text.encode() in content for text in train["text"])


def test_settings_are_as_they_were_asked_for(trained):
    assert trained.config.settings == replace(RECIPES["wide-and-deep"], epochs=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(surprise=1),
        lambda config: config.pop("classifier"),
        lambda config: config.pop("learned"),
        lambda config: config["learned"].update(prior="0"),
        lambda config: config["learned"].update(stack=[1.0]),
        lambda config: config["classifier"].update(recipe="unknown"),
        lambda config: config["classifier"].update(surprise=1),
        lambda config: config["classifier"].update(static=5, vectors="x"),
        lambda config: config["files"].pop("wide"),
        lambda config: config.update(files={}),
        lambda config: config["files"].update(heads="../config.json"),
        lambda config: config["files"].update(surprise="x"),
        lambda config: config["files"].update(memory=7),
        lambda config: config["elmo"].update(fingerprint="0" * 64),
    ],
)
def test_config_that_it_does_not_recognise_is_refused(saved, change):
    edit_config(saved, change)
    with pytest.raises(DataError, match="train again"):
        model_dir.load(saved)


@pytest.mark.parametrize("part", ["format", "sha256", "elmo", "data", "protocol", "classifier", "seed", "mixing", "learned"])
def test_a_config_that_is_not_as_it_was_written_is_refused(saved, part):
    """Whatever is changed in it, by hand or by a fault, however plausible."""
    config = json.loads((saved / "config.json").read_text())
    value = config[part]
    config[part] = value + 1 if isinstance(value, int) else value[::-1] if isinstance(value, str) else {**value, "more": 1}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="train again"):
        model_dir.load(saved)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 2}'])
def test_config_that_is_none_is_refused(saved, content):
    (saved / "config.json").write_text(content)
    with pytest.raises(DataError, match="config.json"):
        model_dir.load(saved)


@pytest.mark.parametrize("part", ["elmo", "data", "split", "classifier", "mixing", "learned", "files", "protocol", "seed"])
@pytest.mark.parametrize("value", [None, {}, "x", []])
def test_every_part_of_the_config_is_checked(saved, part, value):
    edit_config(saved, lambda config: config.update({part: value}))
    with pytest.raises(DataError, match="train again"):
        model_dir.load(saved)


def test_split_is_checked_before_anything_is_measured(trained):
    read = messages.read_messages(TINY_MESSAGES)
    assert model_dir.read_split(trained.config, TINY_MESSAGES).summary == protocols.split(read, "grouped", 1).summary
    with pytest.raises(DataError, match="splits it otherwise"):
        model_dir.read_split(replace(trained.config, seed=2), TINY_MESSAGES)


def test_place_is_checked_before_the_work(saved, tmp_path):
    model_dir.check_place(saved)
    model_dir.check_place(tmp_path / "not" / "yet" / "there")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "config.json").write_text('{"mine": 1}')
    for place, says in [(tmp_path / "file", "is a file"), (tmp_path / "file" / "m", "is a file"), (tmp_path, "not a model's")]:
        with pytest.raises(WriteError, match=says):
            model_dir.check_place(place)


def test_a_folder_with_a_readme_of_its_own_is_no_place_for_a_model(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(WriteError, match="not a model's"):
        model_dir.check_place(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(WriteError, match="link to nothing"):
        model_dir.check_place(tmp_path / "link")


def test_a_model_that_is_replaced_while_it_is_read_is_read_again(trained, saved):
    """A part that its reader has found named goes before it is opened."""
    other, tries = replace(trained, config=replace(trained.config, seed=2), onnx=b"x"), []

    def read(directory):
        files = model_config.read_config(directory)[2]
        tries.append(files)
        if len(tries) == 1:
            model_dir.save(other, directory)
        return model_config.verified(directory / files["onnx"])

    assert model_config.undisturbed(saved, read) == b"x" and len(tries) == 2
    (saved / tries[1]["onnx"]).unlink()
    with pytest.raises(DataError, match="train again"):  # and not for ever
        model_config.undisturbed(saved, read)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["learned"].update(prior=0),
        lambda config: config.update(seed=10**400),
        lambda config: config.update(seed=-1),
        lambda config: config["data"].update(path=7),
        lambda config: config["data"].update(path="a\0b"),
        lambda config: config["data"].update(spam_labels=5),
        lambda config: config["mixing"].pop("s"),
        lambda config: config.update(budget={"a": 1}),
        lambda config: config["files"].update(heads="a\0b"),
        lambda config: config["files"].update(heads="a" * 5000),
        lambda config: config["classifier"].update(pooling="mean+max"),
        lambda config: config["classifier"].update(max_ham_blocked="x"),
        lambda config: config["classifier"].update(threshold_ham=0.99),
        lambda config: config["classifier"].update(heads=10**9),
        lambda config: config["classifier"].update(hidden=2_000_000),
        lambda config: config.update(budget={"threshold": 0.5, "ham": "x", "blocked": 0, "bound": 0.1}),
        lambda config: config["mixing"].update(s=["a", "b", "c"]),
        lambda config: config["learned"].update(stack=[1e308] * 4),
        lambda config: config["split"].update(train="x"),
        lambda config: config["elmo"].update(dim="x"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused_in_one_line(saved, change):
    edit_config(saved, change)
    with pytest.raises(DataError) as failure:
        model_dir.load(saved)
    assert "\n" not in str(failure.value)


def test_a_model_of_another_version_is_called_that(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"format": config["format"] - 1, "new": {}}))
    with pytest.raises(DataError, match="damaged, or written by another version of spamcli; train again"):
        model_config.read_config(saved)


def replace_part(directory, part, content: bytes):
    """As a stranger would: under a name that holds its hash."""
    name = f"{part}-{hashlib.sha256(content).hexdigest()}{'.keras' if part == 'heads' else '.npz'}"
    (directory / name).write_bytes(content)
    edit_config(directory, lambda config: config["files"].update({part: name}))


@pytest.mark.parametrize("part", ["heads", "memory", "wide"])
def test_a_part_that_is_packed_to_burst_is_refused_before_it_is_unpacked(saved, part):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("vectors.npy", bytes(2**28))
    replace_part(saved, part, packed.getvalue())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="train again"):
            model_dir.load(saved)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("part, name", [("memory", "vectors"), ("wide", "tf_idf.weights")])
@pytest.mark.parametrize("shape", [(2**37,), (-3, (2**64 - 2**37) // 3)])  # the second one's product has 2 ** 37 for 64 bits
def test_an_array_that_says_it_is_larger_than_it_is_is_refused_before_there_is_room_for_it(saved, part, name, shape):
    (path,) = saved.glob(f"{part}-*")
    with np.load(path) as arrays:
        own = {key: arrays[key] for key in arrays}
    packed, header = io.BytesIO(), {"descr": own[name].dtype.str, "fortran_order": False, "shape": shape}
    np.savez(packed, **{key: values for key, values in own.items() if key != name})
    with zipfile.ZipFile(packed, "a") as file, file.open(f"{name}.npy", "w") as array:
        np.lib.format.write_array_header_1_0(array, header)
        array.write(own[name].tobytes())
    replace_part(saved, part, packed.getvalue())
    with pytest.raises(DataError, match="damaged .ValueError.; train again"):
        model_dir.load(saved)


def test_weights_that_are_packed_inside_the_heads_are_refused_before_they_are_unpacked(saved, trained):
    weights, packed = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(2**26, 8), chunks=(2**16, 8), compression="gzip", dtype="f4")
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("model.weights.h5", weights.getvalue())
    replace_part(saved, "heads", packed.getvalue())
    with pytest.raises(DataError, match="train again"):
        model_dir.load(saved)


def test_messages_that_are_much_alike_are_remembered_and_read_back(saved, trained):
    vectors = np.repeat(np.arange(200, dtype=np.int8), 300)[:, None].repeat(512, axis=1)
    count = len(vectors)
    alike = Memory(
        np.arange(count, dtype=np.uint64), *(np.zeros(count, kind) for kind in (np.int32, np.int8, np.int8)), vectors
    )
    alike.save(saved / "memory.npz")
    assert (saved / "memory.npz").stat().st_size < vectors.nbytes / 40
    assert len(Memory.load(saved / "memory.npz", 1, 512).rows) == count


def test_nothing_that_heads_could_run_is_run(saved, trained, tmp_path):
    """Heads with a Lambda layer between them and the log-odds, which Keras would call to build them again."""
    mark = str(tmp_path / "ran")
    code = f"lambda x: (open({mark!r}, 'w').close(), x)[1]"
    heads = trained.classifier.heads
    whole = keras.Model(heads.input, keras.layers.Lambda(eval(code))(heads.output))
    whole.save(tmp_path / "heads.keras")
    os.remove(mark)
    replace_part(saved, "heads", (tmp_path / "heads.keras").read_bytes())
    with contextlib.suppress(DataError):
        assert np.isfinite(model_dir.load(saved).p_spam(TEXTS)).all()
    assert not os.path.exists(mark)
    keras.saving.load_model(tmp_path / "heads.keras", compile=False, safe_mode=False)
    assert os.path.exists(mark)  # as it would


class Runs:
    """What a pickle of it does when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("part", ["memory", "wide"])
def test_nothing_that_a_pickle_could_run_is_run(saved, tmp_path, part):
    mark, packed = str(tmp_path / "ran"), io.BytesIO()
    names = {"memory": ["hashes"], "wide": ["tf_idf.columns", "tf_idf.idf", "tf_idf.weights"]}[part]
    np.savez(packed, **{name: np.array([Runs(mark)], object) for name in names})
    replace_part(saved, part, packed.getvalue())
    with pytest.raises(DataError, match="damaged"):
        model_dir.load(saved)
    assert not os.path.exists(mark)


def test_a_name_that_a_model_learned_from_is_a_files_or_not_read(saved, trained):
    edit_config(saved, lambda config: config.update(also=[{"name": "/dev/zero", "sha256": "0" * 64}]))
    config = model_config.read_config(saved)[0]
    with pytest.raises(NotFoundError, match="/dev/zero"):
        model_dir.read_split(config, TINY_MESSAGES)


def test_a_config_of_thousands_of_brackets_is_refused(saved):
    (saved / "config.json").write_text("[" * 3000)
    with pytest.raises(DataError, match="RecursionError"):
        model_dir.load(saved)


def test_elmo_that_has_gone_away_is_named(saved, trained, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    assert os.path.isabs(config["elmo"]["handle"])
    edit_config(saved, lambda config: config["elmo"].update(handle=str(tmp_path / "gone")))
    with pytest.raises(NotFoundError, match="--elmo"):
        model_dir.load(saved)
    assert model_dir.load(saved, elmo=trained.elmo.handle).classifier.prior == trained.classifier.prior


def test_no_model_there(tmp_path):
    with pytest.raises(NotFoundError, match="spamcli train"):
        model_dir.load(tmp_path)


def test_place_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match="--model"):
        model_dir.save(trained, tmp_path / "file" / "model")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


OTHERS = {
    "recipe": "tutorial",
    "epochs": 3,
    "batch_size": 30,
    "hidden": 8,
    "learning_rate": 0.1,
    "normalise": False,
    "dropout": 0.0,
    "hidden_dropout": 0.1,
    "heads": 3,
    "pooling": "mean+max",
    "static": "none",
    "vectors": "f" * 64,
    "threshold": 0.4,
    "threshold_ham": 0.3,
    "precision": "int8",
    "max_ham_blocked": 0.01,
}


def test_fingerprints_differ_where_settings_differ(trained):
    assert OTHERS.keys() == trained.config.classifier.keys()
    config = trained.config
    others = [
        replace(config, seed=2),
        replace(config, protocol="tutorial"),
        *(replace(config, classifier={**config.classifier, name: value}) for name, value in OTHERS.items()),
        replace(config, elmo={**config.elmo, "fingerprint": "f" * 64}),
        replace(config, data={**config.data, "sha256": "f" * 64}),
        replace(config, data={**config.data, "raw": True}),
        replace(config, data={**config.data, "text_column": "other"}),
        replace(config, data={**config.data, "spam_labels": ["promo"]}),
        replace(config, also=[{"name": "more.csv", "sha256": "f" * 64}]),
        *(replace(config, versions={**config.versions, name: "0"}) for name in config.versions),
    ]
    assert len({c.fingerprint for c in [config, *others]}) == len(others) + 1
