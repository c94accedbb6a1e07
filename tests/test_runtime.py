"""The model on ONNX Runtime: TensorFlow's verdicts, without TensorFlow."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spamcli import conversion, messages, model_dir, onnx_graph, protocols, training
from spamcli.bilm.export import export, read_bilm
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.elmo import ELMo
from spamcli.errors import DataError, UnavailableError
from spamcli.runtime import Runtime
from spamcli.settings import RECIPES

from conftest import TINY_MESSAGES  # isort: skip
from tf1_elmo import write_tf1_elmo  # isort: skip

TEXTS = ["See you at six", "WIN a prize now! call 09061", "", "a", "ok " * 300, "\t\n", "😀 d\ud83d", "won't £5.50 --- (yes)"]
SLOW = ("tensorflow", "keras", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib", "tf2onnx", "onnx", "requests")


def train(elmo, recipe="wide-and-deep", seed=1, **changed):
    read = messages.read_messages(TINY_MESSAGES)
    split = protocols.split(read, "grouped", 1)
    return training.train(read, split, elmo, replace(RECIPES[recipe], epochs=3, **changed), seed=seed)[0]


@pytest.fixture(scope="module")
def elmo(tiny_elmo, tmp_path_factory):
    return ELMo(str(tiny_elmo), tmp_path_factory.mktemp("pooled"))


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, elmo):
    return train(elmo, request.param)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "m"
    model_dir.save(trained, directory)
    return directory


@pytest.fixture(scope="module")
def runtime(saved):
    return Runtime(saved)


def test_verdicts_are_tensorflows(trained, runtime):
    np.testing.assert_allclose(runtime.p_spam(TEXTS), trained.p_spam(TEXTS), atol=1e-5)
    assert runtime.p_spam([""])[0] == trained.classifier.prior and runtime.config == trained.config
    assert runtime.p_spam([]).shape == (0,)


def sure_of_spam(trained, bias, directory):
    """A model that says spam, or ham, of any message, saved there."""
    classifier = replace(trained.classifier, stack=(*trained.classifier.stack[:-1], bias))
    converted = conversion.convert(trained.elmo, classifier, ["See you at six"], None)
    model_dir.save(sure := replace(trained, classifier=classifier, onnx=converted), directory)
    return sure, Runtime(directory)


def test_a_foreign_message_is_spam_with_the_prior_at_most(trained, tmp_path):
    """Whatever the heads and n-grams say; a model without n-grams cannot tell."""
    texts = ["엄마 나 오늘 늦어요 저녁 먼저 드세요", "See you at six"]
    for bias in (60.0, -60.0):
        on_tensorflow, on_onnx = sure_of_spam(trained, bias, tmp_path)
        found = on_onnx.p_spam(texts)
        np.testing.assert_allclose(found, on_tensorflow.p_spam(texts), atol=1e-5)
        if bias < 0 or not trained.classifier.wide:
            np.testing.assert_allclose(found, bias > 0, atol=0.01)
        else:
            assert found[0] == on_tensorflow.p_spam(texts)[0] == trained.classifier.prior and found[1] > 0.99


def test_the_bounds_of_a_foreign_message_are_the_priors(elmo, tmp_path):
    """So that a verdict that needs no ELMo is the same."""
    _, model = sure_of_spam(train(elmo), 60.0, tmp_path)
    bounds = []
    texts = ["엄마 나 오늘 늦어요 저녁 먼저 드세요", "See you at six"]
    found = model.p_spam(texts, lambda both: bounds.append(both) or both[0] == both[1])
    assert (bounds[0][:, 0] == model.prior).all() and (bounds[0][:, 1] > 0.99).all()
    assert found[0] == model.prior and found[1] > 0.99


def test_maxima_are_in_the_file_as_well(tiny_elmo, tmp_path):
    """Of a message's own tokens, in any company."""
    trained = train(ELMo(str(tiny_elmo), pooling="mean+max"), pooling="mean+max")
    model_dir.save(trained, tmp_path)
    expected = model_dir.load(tmp_path, str(tiny_elmo)).p_spam(TEXTS)
    np.testing.assert_allclose(Runtime(tmp_path).p_spam(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose([Runtime(tmp_path).p_spam([text])[0] for text in TEXTS], expected, atol=1e-5)
    assert trained.config.elmo["dim"] * 2 == trained.memory.vectors.shape[1]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TEXTS) | st.text(max_size=30), max_size=12), st.randoms())
def test_a_message_has_its_own_verdict_in_any_company(runtime, texts, random):
    alone = [runtime.p_spam([text])[0] for text in texts]
    np.testing.assert_allclose(runtime.p_spam(texts), alone, atol=1e-5)
    order = random.sample(range(len(texts)), len(texts))
    np.testing.assert_allclose(runtime.p_spam([texts[i] for i in order]), [alone[i] for i in order], atol=1e-5)


def test_the_budget_of_tokens_moves_nothing(saved, runtime):
    np.testing.assert_allclose(Runtime(saved, max_batch_tokens=1).p_spam(TEXTS), runtime.p_spam(TEXTS), atol=1e-5)


def test_threads_share_it(runtime):
    expected = runtime.p_spam(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: runtime.p_spam(TEXTS), range(40)):
            np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("given", [["--help"], ["predict", *TEXTS[:3]], ["predict"], ["predict", "-f", "-", "--format", "csv"]])
def test_nothing_slow_is_loaded(saved, given):
    """For arguments, lines of a pipe, and tables that are text."""
    arguments = [given[0], "--model", str(saved), *given[1:]] if given[0] == "predict" else given
    code = (
        "import sys; from spamcli.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"except SystemExit: print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], input="text\nsee you\n", capture_output=True, text=True)
    assert done.stderr == "[]\n" and done.stdout


def test_a_file_that_contradicts_tensorflow_is_not_published(elmo, trained, monkeypatch, tmp_path):
    """An encoder of other weights in the cache is made again; where a fresh one contradicts, nothing is written."""
    texts = ["see you at six", "a", *TEXTS]
    other = BiLM(read_bilm(elmo.directory).config)
    wrong = conversion._encoder(other)
    joined = conversion._joined(wrong, trained.classifier)
    assert conversion._differences(joined, elmo, trained.classifier, texts).max() > 1e-4
    conversion.convert(elmo, trained.classifier, texts, tmp_path)
    (kept,) = tmp_path.glob("*.onnx")
    right = kept.read_bytes()
    for damaged in (wrong.SerializeToString(), right[:1000], b""):
        kept.write_bytes(damaged)
        converted = onnx.load_from_string(conversion.convert(elmo, trained.classifier, texts, tmp_path))
        assert conversion._differences(converted, elmo, trained.classifier, texts).max() < 1e-4
        assert len(kept.read_bytes()) > 1000
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    with pytest.raises(UnavailableError, match="differ by"):
        conversion.convert(elmo, trained.classifier, texts, tmp_path)


def test_the_encoder_is_converted_once(elmo, trained):
    (path,) = elmo.cache_directory.glob("encoder-*.onnx")
    before = path.stat().st_mtime_ns
    conversion.convert(elmo, trained.classifier, TEXTS, elmo.cache_directory)
    assert path.stat().st_mtime_ns == before
    onnx.checker.check_model(onnx.load(path))


def test_inputs_and_outputs_are_as_documented(trained):
    graph = onnx.load_from_string(trained.onnx).graph
    assert {value.name for value in graph.input} == {"char_ids", "places", "static"}
    assert {value.name for value in graph.output} == {"pooled_layers", "p_spam"}


def test_a_module_that_spamcli_did_not_write_is_left_to_tensorflow(cli, tmp_path):
    write_tf1_elmo(tmp_path / "foreign", filters=((1, 4), (2, 4)), char_dim=4, highways=1, cells=8, projection=4)
    assert cli("train", "--data", TINY_MESSAGES, "--elmo", "foreign", "--epochs", 1, "--model", "m").exit_code == 0
    with pytest.raises(DataError, match="no ONNX file"):
        Runtime(tmp_path / "m")
    result = cli("predict", "--model", "m", "see you")
    assert result.exit_code == 0 and "TensorFlow runs it" in result.stderr and result.stdout.count("\n") == 1


@pytest.mark.parametrize("number", [5.0, float("nan")])
def test_a_file_that_gives_no_probabilities_is_refused(trained, number, tmp_path):
    graph = onnx.load_from_string(trained.onnx)
    node = next(node for node in graph.graph.node if "p_spam" in node.output)
    node.output[list(node.output).index("p_spam")] = "sound"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(number, np.float32), "factor"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["sound", "factor"], ["p_spam"]))
    model_dir.save(replace(trained, onnx=graph.SerializeToString()), tmp_path)
    with pytest.raises(DataError, match="gives no probabilities"):
        Runtime(tmp_path).p_spam(TEXTS)


def test_a_models_name_may_be_no_text(saved, runtime, tmp_path):
    named = tmp_path / os.fsdecode(b"m\xff")
    shutil.copytree(saved, named)
    np.testing.assert_array_equal(Runtime(named).p_spam(TEXTS), runtime.p_spam(TEXTS))


def test_a_damaged_file_is_named(saved, tmp_path, cli):
    (path,) = saved.glob("model-*.onnx")
    data = path.read_bytes()
    try:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        result = cli("predict", "--model", saved, "see you")
        assert result.exit_code == 65 and path.name in result.stderr and result.stderr.count("\n") == 1
    finally:
        path.write_bytes(data)


def test_a_module_in_bfloat16_is_left_to_tensorflow(tmp_path, cli):
    config = BiLMConfig(char_dim=4, filters=((1, 4), (2, 4)), cells=8, projection=4)
    export(BiLM(config), tmp_path / "half", "A tiny ELMo.\n", tf.bfloat16, tf.bfloat16)
    model = train(ELMo(str(tmp_path / "half")))
    assert model.onnx is None
    model_dir.save(model, tmp_path / "m")
    assert "TensorFlow runs it" in cli("predict", "--model", "m", "see you").stderr


def test_int8_is_smaller_and_hardly_different(elmo, trained, runtime):
    texts = messages.read_messages(TINY_MESSAGES).frame["text"].tolist()
    converted = onnx.load_from_string(conversion.convert(elmo, trained.classifier, texts, None, "int8"))
    for body in list(graphs(converted.graph))[1:]:
        operations = [node.op_type for node in body.node]
        assert operations.count("MatMulInteger") == 2 and "MatMul" not in operations
    assert conversion._differences(converted, elmo, trained.classifier, texts)[0] < 0.1


def graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def test_what_a_loop_never_changes_is_its_own_constant(elmo):
    """Each of the four LSTM directions has two products a step, whose weights ONNX Runtime can pack once."""
    encoder = conversion._encoder(read_bilm(elmo.directory))
    bodies = list(graphs(encoder.graph))[1:]
    products = [(body, node) for body in bodies for node in body.node if node.op_type == "MatMul"]
    assert len(bodies) == 4 and len(products) == 8
    assert all(node.input[1] in {weight.name for weight in body.initializer} for body, node in products)


def test_weights_that_half_precision_holds_are_stored_in_it():
    exact, inexact = np.full([64, 64], 0.25, np.float32), np.full([64, 64], 0.1, np.float32)
    weights = [onnx.numpy_helper.from_array(values, name) for name, values in (("e", exact), ("i", inexact))]
    nodes = [onnx.helper.make_node("MatMul", ["x", "e"], ["y"]), onnx.helper.make_node("MatMul", ["y", "i"], ["z"])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in "xz"]
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights), opset_imports=opset)
    model.ir_version = 9
    x = {"x": np.random.default_rng(0).normal(size=[1, 64]).astype(np.float32)}

    def run():
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)[0]

    before, size = run(), model.ByteSize()
    onnx_graph.store_in_half(model.graph)
    np.testing.assert_array_equal(run(), before)
    assert model.ByteSize() < 0.8 * size and {weight.name for weight in model.graph.initializer} == {"e/half", "i"}


@pytest.mark.slow
def test_on_every_message_of_the_collection(spam_csv, tmp_path):
    """With the built-in ELMo, trained on a part; the other messages are as long and as odd as real ones are."""
    read = messages.read_messages(spam_csv)
    split = protocols.split(read, "tutorial", 1)
    elmo = ELMo("builtin", tmp_path / "pooled")
    few = replace(split, train=split.train[:600])
    model, _ = training.train(read, few, elmo, replace(RECIPES["wide-and-deep"], epochs=5), seed=1)
    model_dir.save(model, tmp_path / "m")
    texts = read.frame["text"].tolist()
    ours, theirs = Runtime(tmp_path / "m").p_spam(texts), model.p_spam(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    threshold = model.config.settings.threshold
    assert ((ours >= threshold) == (theirs >= threshold)).all()
