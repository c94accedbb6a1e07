"""Handles: the built-in module, directories, URLs; what is fetched enters the cache only after it worked."""

import hashlib
import http.server
import resource
import shutil
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from spamcli import modules
from spamcli.elmo import ELMo
from spamcli.errors import NotFoundError, UnavailableError, WriteError


@pytest.fixture
def site(tmp_path):
    """A folder served over HTTP on this machine: (folder, URL, list of the paths asked for)."""
    folder, asked = tmp_path / "site", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def pack(directory, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(directory, arcname=".")


def test_builtin_is_in_the_package_and_within_its_bounds():
    directory = modules.resolve("builtin")
    assert (directory / "saved_model.pb").is_file() and (directory / "README.md").is_file()
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) <= 25_000_000
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    sizes = [np.prod(shape) for name, shape in reader.get_variable_to_shape_map().items() if name.startswith("bilm")]
    assert 1_000_000 < sum(sizes) <= 6_000_000


def test_url_is_fetched_once_and_works(tiny_elmo, site, tmp_path, monkeypatch):
    folder, url, asked = site
    pack(tiny_elmo, folder / "elmo.tar.gz")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    pooled = ELMo(f"{url}/elmo.tar.gz").pooled_layers(["hello world"])
    again = ELMo(f"{url}/elmo.tar.gz").pooled_layers(["hello world"])
    assert asked == ["/elmo.tar.gz"]
    np.testing.assert_allclose(pooled, ELMo(str(tiny_elmo)).pooled_layers(["hello world"]), atol=1e-6)
    np.testing.assert_array_equal(pooled, again)
    name = hashlib.sha1(f"{url}/elmo.tar.gz".encode()).hexdigest()
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [name]


def test_tfhub_urls_are_asked_for_their_archive(tiny_elmo, site):
    folder, url, asked = site
    pack(tiny_elmo, folder / "3")
    assert (modules.resolve(f"{url}/3") / "saved_model.pb").is_file()
    assert asked == ["/3?tf-hub-format=compressed"]


def test_what_tensorflow_hub_left_in_its_cache_is_used(tiny_elmo, tmp_path, monkeypatch):
    url = "https://tfhub.example/google/elmo/3"
    shutil.copytree(tiny_elmo, tmp_path / hashlib.sha1(url.encode()).hexdigest())
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    assert ELMo(url).pooled_layers(["hello"]).shape == (1, 3, 8)


def without_tokens(directory):
    module = tf.Module()
    module.f = tf.function(
        lambda text: {"default": tf.zeros([tf.size(text), 4])}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(directory), signatures={"default": module.f})


def not_finite(directory):
    module = tf.Module()

    def tokens(tokens, sequence_len):
        shape = tf.concat([tf.shape(tokens), [4]], axis=0)
        return {name: tf.fill(shape, np.nan) for name in modules.OUTPUTS}

    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    module.f = tf.function(tokens, input_signature=spec)
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.f})


def missing_output(directory):
    module = tf.Module()
    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    module.f = tf.function(lambda tokens, sequence_len: {"word_emb": tf.zeros([1, 1, 4])}, input_signature=spec)
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.f})


def wrong_shapes(directory):
    module = tf.Module()
    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    outputs = {name: tf.zeros([1, 2, 4]) for name in modules.OUTPUTS}
    module.f = tf.function(lambda tokens, sequence_len: outputs, input_signature=spec)
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.f})


def strings_for_vectors(directory):
    module = tf.Module()
    spec = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]
    module.f = tf.function(
        lambda tokens, sequence_len: {name: tf.identity(tokens) for name in modules.OUTPUTS}, input_signature=spec
    )
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.f})


@pytest.mark.parametrize(
    "write, says",
    [
        (without_tokens, "no signature 'tokens'"),
        (wrong_shapes, "which are no ELMo's"),
        (strings_for_vectors, "does not take tokens"),
        (not_finite, "not finite"),
        (missing_output, "no output 'lstm_outputs1'"),
    ],
)
def test_wrong_module_is_refused_and_does_not_enter_the_cache(write, says, site, tmp_path, monkeypatch):
    folder, url, _ = site
    write(tmp_path / "wrong")
    pack(tmp_path / "wrong", folder / "wrong.tar.gz")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    with pytest.raises(UnavailableError, match=says):
        modules.resolve(f"{url}/wrong.tar.gz")
    assert list((tmp_path / "hub").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>not here</html>", b"", b"\x1f\x8b damaged"])
def test_what_is_no_archive_is_refused(content, site, tmp_path, monkeypatch):
    folder, url, _ = site
    (folder / "elmo.tar.gz").write_bytes(content)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    with pytest.raises(UnavailableError, match="check the URL"):
        modules.resolve(f"{url}/elmo.tar.gz")
    assert list((tmp_path / "hub").iterdir()) == []


def test_a_module_that_finds_no_room_is_no_fault_of_the_network(tiny_elmo, site, tmp_path, monkeypatch):
    """No file may have more than 300 bytes; no folder be where a file is."""
    folder, url, _ = site
    pack(tiny_elmo, folder / "elmo.tar.gz")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
    try:
        with pytest.raises(WriteError, match="cannot be kept in .*File too large.; free some space, or set TFHUB_CACHE_DIR"):
            modules.resolve(f"{url}/elmo.tar.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not [path for path in modules.cache_directory().rglob("*") if path.is_file()]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(WriteError, match="cannot be kept in .*file"):
        modules.resolve(f"{url}/elmo.tar.gz")


def test_archive_without_a_module_or_cut_off(tiny_elmo, site, tmp_path):
    folder, url, _ = site
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("a")
    pack(tmp_path / "other", folder / "other.tar.gz")
    with pytest.raises(UnavailableError, match="no saved_model.pb"):
        modules.resolve(f"{url}/other.tar.gz")
    pack(tiny_elmo, folder / "cut.tar.gz")
    whole = (folder / "cut.tar.gz").read_bytes()
    (folder / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnavailableError, match="check the URL"):
        modules.resolve(f"{url}/cut.tar.gz")


def test_archive_with_a_changed_byte_is_refused(tiny_elmo, site, tmp_path):
    folder, url, _ = site
    pack(tiny_elmo, folder / "whole.tar.gz")
    whole = (folder / "whole.tar.gz").read_bytes()
    for number, position in enumerate(np.random.default_rng(0).integers(20, len(whole) - 8, 8)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (folder / f"{number}.tar.gz").write_bytes(damaged)
        with pytest.raises(UnavailableError):
            modules.resolve(f"{url}/{number}.tar.gz")


ODD_TOKENIZERS = ["", "[]", "{}", '{"tokenizer": "magic"}', '{"tokenizer": ["space"]}', "[" * 50_000, " " * 10**6 + "{}"]


@pytest.mark.parametrize("content", ODD_TOKENIZERS, ids=range(len(ODD_TOKENIZERS)))
def test_tokenizer_that_is_unknown(tiny_elmo, tmp_path, content):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_elmo, copy)
    (copy / modules.TOKENIZER_FILE).write_text(content)
    with pytest.raises(UnavailableError, match="tokenizer"):
        ELMo(str(copy))


def other_arguments(directory):
    module = tf.Module()
    outputs = {name: tf.zeros([1, 1, 4]) for name in modules.OUTPUTS}
    module.f = tf.function(lambda words: outputs, input_signature=[tf.TensorSpec([None, None], tf.string, "words")])
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.f})


def test_signature_with_other_arguments(tmp_path):
    other_arguments(tmp_path / "other")
    with pytest.raises(UnavailableError, match="does not take tokens"):
        ELMo(str(tmp_path / "other")).pooled_layers(["hello"])


def test_nobody_answers(site, tmp_path):
    folder, url, _ = site
    with pytest.raises(UnavailableError, match="not reachable"):
        modules.resolve(f"{url}/nothing.tar.gz")
    with pytest.raises(UnavailableError, match="not reachable"):
        modules.resolve("http://127.0.0.1:9/elmo.tar.gz")


def test_two_at_once_get_the_same_module(tiny_elmo, site):
    folder, url, _ = site
    pack(tiny_elmo, folder / "elmo.tar.gz")
    found = []
    threads = [threading.Thread(target=lambda: found.append(modules.resolve(f"{url}/elmo.tar.gz"))) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 4 and len(set(found)) == 1
    assert modules.fingerprint(found[0]) == modules.fingerprint(tiny_elmo)


def test_directories(tiny_elmo, tmp_path):
    with pytest.raises(NotFoundError, match="no SavedModel there"):
        modules.resolve(str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(UnavailableError, match="not a loadable SavedModel"):
        ELMo(str(broken)).pooled_layers(["hello"])


def test_fingerprint_knows_every_byte(tiny_elmo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_elmo, copy)
    (copy / "README.md").write_text("Another card.")
    assert modules.fingerprint(copy) == modules.fingerprint(tiny_elmo)
    with open(copy / "variables" / "variables.data-00000-of-00001", "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    assert modules.fingerprint(copy) != modules.fingerprint(tiny_elmo)


def test_the_cache_of_pooled_layers_holds_no_text(tiny_elmo, tmp_path):
    ELMo(str(tiny_elmo), tmp_path).pooled_layers(["meet me at midnight"])
    (cache,) = tmp_path.glob("*.sqlite")
    assert not any(word in cache.read_bytes().lower() for word in (b"meet", b"midnight"))
