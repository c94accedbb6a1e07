"""A SavedModel is a program: what an ELMo needs is let through, whatever else a program could do is refused unrun."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_MESSAGES
from tensorflow.core.framework.op_def_pb2 import OpList
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.client import pywrap_tf_session
from tf1_elmo import write_tf1_elmo

from spamcli import modules, saved_model
from spamcli.elmo import ELMo
from spamcli.errors import UnavailableError

pytestmark = pytest.mark.slow

v1 = tf.compat.v1
SIGNATURE = [tf.TensorSpec([None, None], tf.string, "tokens"), tf.TensorSpec([None], tf.int32, "sequence_len")]


@pytest.fixture(scope="session")
def tf1_elmo(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("tf1") / "module"
    write_tf1_elmo(directory, filters=[(1, 4)], char_dim=4, cells=8, projection=4)
    return directory


@pytest.fixture
def precious(tmp_path) -> Path:
    path = tmp_path / "precious"
    path.write_text("mine")
    return path


def read(directory: Path) -> SavedModel:
    return SavedModel.FromString((directory / "saved_model.pb").read_bytes())


def changed(directory: Path, copy: Path, change) -> Path:
    """A copy of a module whose graph is another."""
    shutil.copytree(directory, copy)
    graph = read(copy)
    change(graph.meta_graphs[0])
    (copy / "saved_model.pb").write_bytes(graph.SerializeToString())
    return copy


def export(directory: Path, effect, more=None) -> Path:
    """A module in TF2's format that gives vectors, and of which `effect` is a part: a function of the tokens."""
    module = tf.Module()
    module.more = more

    def tokens(tokens, sequence_len):
        with tf.control_dependencies([effect(tokens)]):
            zeros = tf.zeros(tf.concat([tf.shape(tokens), [4]], axis=0))
        return {"word_emb": zeros, "lstm_outputs1": tf.tile(zeros, [1, 1, 2]), "lstm_outputs2": tf.tile(zeros, [1, 1, 2])}

    module.tokens = tf.function(tokens, input_signature=SIGNATURE)
    tf.saved_model.save(module, str(directory), signatures={"tokens": module.tokens})
    return directory


def refusal(directory: Path) -> str:
    with pytest.raises(UnavailableError) as failure:
        modules.load(directory)
    assert str(failure.value).isprintable() and str(failure.value).startswith(f"{directory}: ")
    return str(failure.value)


# What is let through


def test_modules_of_every_make_are_let_through(tiny_elmo, tf1_elmo):
    for directory in (tiny_elmo, tf1_elmo, modules.resolve("builtin")):
        assert set(modules.OUTPUTS) <= modules.load(directory).structured_outputs.keys()


def test_an_imported_module_is_let_through(tiny_elmo, tmp_path):
    """bfloat16 products, spaces between the tokens: what `spamcli import` can write."""
    from spamcli.bilm.export import export as export_bilm
    from spamcli.bilm.model import BiLM, BiLMConfig

    config = BiLMConfig(tokenizer="space", char_dim=4, filters=((1, 4),), activation="tanh", cells=8, projection=4)
    export_bilm(BiLM(config), tmp_path / "module", "", tf.bfloat16, tf.bfloat16)
    assert set(modules.OUTPUTS) <= modules.load(tmp_path / "module").structured_outputs.keys()


def test_common_ways_to_compute_are_let_through(tmp_path):
    """String splitting of several kinds, ragged tensors, cells of Keras, loops, random numbers, tables in memory."""
    import keras

    lstm = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    lstm.build([None, None, 4])
    pairs = tf.lookup.KeyValueTensorInitializer(["a"], tf.constant([1], tf.int64))
    table, counter = tf.lookup.StaticHashTable(pairs, -1), tf.Variable(0)

    def compute(tokens):
        codes = tf.strings.unicode_decode(tf.reshape(tokens, [-1]), "UTF-8").to_tensor(0)
        words = tf.strings.split(tf.strings.lower(tf.strings.regex_replace(tf.reshape(tokens, [-1]), r"\d", "0"))).to_tensor("")
        vectors = tf.random.normal([2, 3, 4]) + tf.linalg.norm(tf.cast(codes, tf.float32))
        ids = tf.cast(table.lookup(words), tf.float32) + tf.cast(counter.assign_add(1), tf.float32)
        total = tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x + tf.nn.softmax(x)), [0, lstm(vectors)])[1]
        return (
            tf.reduce_sum(total) + tf.reduce_sum(ids) + tf.cast(tf.strings.length(tf.strings.substr("abc", 1, 1)), tf.float32)
        )

    export(tmp_path / "module", compute, [lstm, table, counter])
    assert set(modules.OUTPUTS) <= modules.load(tmp_path / "module").structured_outputs.keys()


def test_a_vocabulary_in_the_assets_is_let_through(tmp_path):
    """And only there: the same table is refused once its file is another one."""
    (tmp_path / "words.txt").write_text("hello\nworld\n")

    def table():
        return tf.lookup.StaticVocabularyTable(tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), *LINES), 1)

    whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    LINES = (tf.string, whole, tf.int64, line)
    words = table()
    module = export(tmp_path / "module", words.lookup, [words])
    shutil.move(tmp_path / "words.txt", tmp_path / "elsewhere.txt")
    modules.load(module)

    def bind_another(graph):
        for function in graph.object_graph_def.concrete_functions.values():
            kinds = [graph.object_graph_def.nodes[i].WhichOneof("kind") for i in function.bound_inputs]
            if "asset" in kinds:
                function.bound_inputs[kinds.index("asset")] = 0

    says = refusal(changed(module, tmp_path / "changed", bind_another))
    assert "InitializeTableFromTextFileV2 in a function" in says


def test_a_vocabulary_of_a_tf1_module(tmp_path, precious):
    """The initialiser names its file as an asset; one that was not kept as such stays where it was."""

    def write(directory, asset):
        with tf.Graph().as_default(), v1.Session() as session:
            (tmp_path / "words.txt").write_text("hello\nworld\n")
            path = tf.constant(str(tmp_path / "words.txt" if asset else precious))
            lines = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
            table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(path, *lines), -1)
            tokens, lengths = v1.placeholder(tf.string, [None, None]), v1.placeholder(tf.int32, [None])
            zeros = tf.zeros([1, 2, 4]) * tf.cast(table.lookup(tokens)[:, :, None], tf.float32)
            outputs = {
                "word_emb": zeros,
                "lstm_outputs1": tf.tile(zeros, [1, 1, 2]),
                "lstm_outputs2": tf.tile(zeros, [1, 1, 2]),
            }
            session.run(v1.tables_initializer())
            signature = v1.saved_model.predict_signature_def({"tokens": tokens, "sequence_len": lengths}, outputs)
            builder = v1.saved_model.Builder(str(directory))
            assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS) if asset else []
            arguments = {"signature_def_map": {"tokens": signature}, "assets_collection": assets}
            builder.add_meta_graph_and_variables(session, ["serve"], main_op=v1.tables_initializer(), **arguments)
            builder.save()

    write(tmp_path / "good", asset=True)
    modules.load(tmp_path / "good")
    write(tmp_path / "bad", asset=False)
    assert "InitializeTableFromTextFileV2 where it would be run" in refusal(tmp_path / "bad")


# What is refused


def nested(condition_only: bool):
    def effect(path):
        def inner(tokens):
            @tf.function
            def deep(i):
                return tf.strings.length(tf.io.read_file(path)) + i

            if condition_only:
                return tf.while_loop(lambda i: deep(i) < 0, lambda i: i + 1, [0])[0]
            return tf.cond(tf.size(tokens) > 99, lambda: tf.while_loop(lambda i: i < 1, lambda i: deep(i), [0])[0], lambda: 0)

        return inner

    return effect


def python(tokens):
    return tf.py_function(lambda: 1, [], tf.int32)


PROGRAMS = {  # ops that are part of a module, given a path: a function of the tokens; and the op that is named
    "reads": (lambda path: lambda tokens: tf.io.read_file(path), "ReadFile"),
    "writes": (lambda path: lambda tokens: tf.io.write_file(path, "gone"), "WriteFile"),
    "looks around": (lambda path: lambda tokens: tf.io.matching_files("/*"), "MatchingFiles"),
    "looks around and reads": (
        lambda path: lambda tokens: tf.map_fn(tf.io.read_file, tf.gather(tf.io.matching_files(path), [0])),
        "MatchingFiles ReadFile",
    ),
    "calls Python": (lambda path: lambda tokens: tf.numpy_function(lambda: np.int32(1), [], tf.int32), "PyFunc"),
    "calls eager Python": (lambda path: python, "EagerPyFunc"),
    "prints to a file": (lambda path: lambda tokens: tf.print("gone", output_stream=f"file://{path}"), "PrintV2"),
    "reads deep inside": (nested(False), "ReadFile"),
    "reads in a loop's condition": (nested(True), "ReadFile"),
    "saves elsewhere": (
        lambda path: (
            lambda tokens: tf.raw_ops.SaveV2(
                prefix=str(path), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros([1])]
            )
        ),
        "SaveV2",
    ),
    "merges elsewhere": (
        lambda path: (
            lambda tokens: tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(path)], destination_prefix=str(path))
        ),
        "MergeV2Checkpoints",
    ),
    "restores from elsewhere": (
        lambda path: (
            lambda tokens: tf.raw_ops.RestoreV2(
                prefix=str(path), tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
            )[0]
        ),
        "RestoreV2",
    ),
    "reads records": (
        lambda path: lambda tokens: tf.data.TFRecordDataset(str(path)).reduce(0, lambda n, x: n + 1),
        "TFRecordDataset",
    ),
    "maps memory": (
        lambda path: lambda tokens: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[4], memory_region_name=str(path)),
        "ImmutableConst",
    ),
    "runs elsewhere": (
        lambda path: (
            lambda tokens: tf.raw_ops.RemoteCall(
                target="/job:w", args=[1], Tout=[tf.int32], f=tf.function(lambda x: x).get_concrete_function(1)
            )[0]
        ),
        "RemoteCall",
    ),
    "decodes pictures": (lambda path: lambda tokens: tf.io.decode_image(tokens[0, 0]), "DecodeImage"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program(name, tmp_path, precious, monkeypatch):
    monkeypatch.chdir(tmp_path)
    effect, ops = PROGRAMS[name]
    directory = export(tmp_path / "module", effect(str(precious)))
    before = sorted(tmp_path.rglob("*"))
    says = refusal(directory)
    assert all(op in says for op in ops.split()) and "what no ELMo needs" in says and "--trust-module" in says
    assert precious.read_text() == "mine" and sorted(tmp_path.rglob("*")) == before


def test_a_trusted_module_is_a_program(tmp_path, precious):
    directory = export(tmp_path / "module", lambda tokens: tf.io.write_file(str(precious), "gone"))
    refusal(directory)
    assert precious.read_text() == "mine"
    assert ELMo(str(directory), trust_module=True).pooled_layers(["hello"]).shape == (1, 3, 8)
    assert precious.read_text() == "gone"


def test_the_command_line_asks_each_time(cli, tmp_path, precious):
    """A model remembers nobody's trust: each verb that runs its module wants --trust-module, or SPAMCLI_TRUST_MODULE=1."""
    module = export(tmp_path / "module", lambda tokens: tf.io.write_file(str(precious), "gone"))
    train = ("train", "--data", TINY_MESSAGES, "--recipe", "tutorial", "--epochs", 1, "--elmo", module)
    assert cli(*train).exit_code == 69 and precious.read_text() == "mine"
    assert cli(*train, "--trust-module").exit_code == 0 and precious.read_text() == "gone"
    precious.write_text("mine")
    verbs = ("predict", "never seen before"), ("explain", "nor was this"), ("evaluate", "--attack")
    for verb in verbs:
        result = cli(*verb)
        assert result.exit_code == 69 and "WriteFile" in result.stderr and precious.read_text() == "mine"
    for verb in verbs:
        assert cli(*verb, env={"SPAMCLI_TRUST_MODULE": "1"}).exit_code == 0


def test_an_initialiser(tmp_path, precious):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(precious), "gone")

    resource = Resource()

    def use(tokens):
        return tf.raw_ops.LookupTableSizeV2(table_handle=resource.resource_handle)

    directory = export(tmp_path / "module", use, [resource])
    precious.write_text("mine")
    assert "WriteFile" in refusal(directory)
    assert precious.read_text() == "mine"


def test_a_function_that_nothing_calls(tiny_elmo, tmp_path):
    def add(graph):
        function = graph.graph_def.library.function.add()
        function.signature.name = "unused"
        function.node_def.add(name="n", op="ReadFile")

    assert "ReadFile" in refusal(changed(tiny_elmo, tmp_path / "copy", add))


def stray_op(graph):
    graph.graph_def.node.add(name="n", op="SomebodysOp")


def escape_in_a_name(graph):
    graph.graph_def.node.add(name="n", op="A\x1b[2J\nOp")


def op_for_a_function(graph):
    graph.graph_def.node.add(name="n", op="PartitionedCall").attr["f"].func.name = "ReadFile"


def op_for_a_function_of_a_function(graph):
    graph.graph_def.node.add(name="n", op="PartitionedCall").attr["f"].func.attr["g"].list.func.add(name="ReadFile")


def second_of_a_name(graph):
    graph.graph_def.library.function.add().CopyFrom(graph.graph_def.library.function[0])


def stand_in(graph):
    (function,) = [each for each in graph.graph_def.library.function if "traced_save" in each.signature.name]
    function.attr["api_implements"].s = b"something"


def call_of_the_saver(graph):
    (saver,) = [each.signature.name for each in graph.graph_def.library.function if "traced_save" in each.signature.name]
    (tokens,) = [each for each in graph.graph_def.library.function if "_inference_tokens" in each.signature.name]
    tokens.node_def.add(name="n", op="StatefulPartitionedCall").attr["f"].func.name = saver


def saver_as_an_object(graph):
    (saver,) = [each.signature.name for each in graph.graph_def.library.function if "traced_save" in each.signature.name]
    graph.object_graph_def.concrete_functions[saver].bound_inputs.append(0)


def huge_constant(graph):
    tensor = graph.graph_def.node.add(name="n", op="Const").attr["value"].tensor
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(1)
    [tensor.tensor_shape.dim.add(size=10**6) for _ in range(2)]


def constant_handle(graph):
    tensor = graph.graph_def.node.add(name="n", op="Const").attr["value"].tensor
    tensor.dtype = tf.resource.as_datatype_enum
    tensor.resource_handle_val.add(container="localhost", name="somebody's")


def asset_above(graph):
    graph.asset_file_def.add(filename="../../precious").tensor_info.name = "a:0"


def absolute_asset(graph):
    graph.asset_file_def.add(filename="/etc/hostname").tensor_info.name = "a:0"


GRAPHS = {
    stray_op: "needs: SomebodysOp;",
    escape_in_a_name: r"'A\x1b[2J\nOp'",
    op_for_a_function: "a call of ReadFile",
    op_for_a_function_of_a_function: "a call of ReadFile",
    second_of_a_name: "a second function",
    stand_in: "in another one's place",
    call_of_the_saver: "which touches files",
    saver_as_an_object: "SaveV2 in a function",
    huge_constant: "1,000,000,0",
    constant_handle: "a constant that is no array",
    asset_above: "an asset '../../precious' outside its folder",
    absolute_asset: "an asset '/etc/hostname' outside its folder",
}


@pytest.mark.parametrize("change", GRAPHS, ids=lambda change: change.__name__)
def test_a_changed_graph(change, tiny_elmo, tmp_path):
    assert GRAPHS[change] in refusal(changed(tiny_elmo, tmp_path / "copy", change))


def signature_of_nothing(graph):
    for function in graph.object_graph_def.concrete_functions.values():
        function.canonicalized_input_signature.Clear()


def object_of_nothing(graph):
    graph.object_graph_def.nodes[0].Clear()


def child_that_is_not_there(graph):
    graph.object_graph_def.nodes[0].children.add(node_id=10**6, local_name="child")


def input_from_nowhere(graph):
    graph.graph_def.library.function[0].node_def[0].input.append("nowhere:output:0")


@pytest.mark.parametrize("change", [signature_of_nothing, object_of_nothing, child_that_is_not_there, input_from_nowhere])
def test_a_damaged_graph(change, tiny_elmo, tmp_path):
    """TensorFlow stumbles over it in its own ways."""
    says = refusal(changed(tiny_elmo, tmp_path / "copy", change))
    assert "not a loadable SavedModel (" in says or "no signature 'tokens'" in says


# TF1's format: the graph holds the saver, which only the loader may run


def control(graph, op):
    """The vectors wait for the saver."""
    output = graph.signature_def["tokens"].outputs["word_emb"].name.split(":")[0]
    saver = next(node.name for node in graph.graph_def.node if node.op == op)
    next(node for node in graph.graph_def.node if node.name == output).input.append(f"^{saver}")


def saver_as_output(graph):
    graph.signature_def["tokens"].outputs["more"].CopyFrom(graph.signature_def["tokens"].outputs["word_emb"])
    graph.signature_def["tokens"].outputs["more"].name = graph.saver_def.save_tensor_name


def saver_in_a_sparse_output(graph):
    sparse = graph.signature_def["tokens"].outputs["more"].coo_sparse
    sparse.values_tensor_name = graph.saver_def.save_tensor_name


def saver_as_initialiser(graph):
    graph.collection_def["saved_model_main_op"].node_list.value.append(graph.saver_def.save_tensor_name)


def saver_as_a_variables_initialiser(graph):
    from tensorflow.core.framework.variable_pb2 import VariableDef

    variable = VariableDef(variable_name="v", initializer_name=graph.saver_def.save_tensor_name.split(":")[0])
    graph.collection_def["local_variables"].bytes_list.value.append(variable.SerializeToString())


def restoring_is_saving(graph):
    graph.saver_def.restore_op_name = graph.saver_def.save_tensor_name.split(":")[0]


def restoring_another_file(graph):
    graph.graph_def.node.add(name="elsewhere", op="Const").attr["dtype"].type = tf.string.as_datatype_enum
    next(node for node in graph.graph_def.node if node.op == "RestoreV2").input[0] = "elsewhere"


SAVERS = {
    "saving before the vectors": (lambda graph: control(graph, "SaveV2"), "SaveV2"),
    "merging before the vectors": (lambda graph: control(graph, "MergeV2Checkpoints"), "MergeV2Checkpoints"),
    "restoring before the vectors": (lambda graph: control(graph, "RestoreV2"), "RestoreV2"),
    "saving as an output": (saver_as_output, "SaveV2"),
    "saving as a sparse output": (saver_in_a_sparse_output, "no plain tensor"),
    "saving as an initialiser": (saver_as_initialiser, "SaveV2"),
    "saving as a variable's initialiser": (saver_as_a_variables_initialiser, "SaveV2"),
    "restoring saves": (restoring_is_saving, "SaveV2"),
    "restoring from another file": (restoring_another_file, "RestoreV2 where it would be run"),
    "a file op": (lambda graph: graph.graph_def.node.add(name="n", op="WriteFile"), "WriteFile"),
}


@pytest.mark.parametrize("name", SAVERS)
def test_a_saver_that_is_run_otherwise(name, tf1_elmo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, says = SAVERS[name]
    assert says in refusal(changed(tf1_elmo, tmp_path / "copy", change))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]  # nothing was saved here


# Files


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_a_second_graph_beside(name, tiny_elmo, tmp_path):
    shutil.copytree(tiny_elmo, tmp_path / "copy")
    (tmp_path / "copy" / name).write_text("")
    assert f"holds {name}, which might be loaded instead" in refusal(tmp_path / "copy")


def test_variables_that_say_they_are_larger_than_their_file(tiny_elmo, tmp_path):
    """Whatever is in the index, nothing is allocated for it."""
    shutil.copytree(tiny_elmo, tmp_path / "copy")
    data = tmp_path / "copy" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    assert re.search(
        r"damaged \(its variables say that they are [\d,]+ bytes, and variables.data has 100\);", refusal(tmp_path / "copy")
    )
    (tmp_path / "copy" / "variables" / "variables.index").write_bytes(b"junk" * 100)
    assert "damaged (" in refusal(tmp_path / "copy")


def test_a_graph_as_large_as_a_disk(tiny_elmo, tmp_path):
    shutil.copytree(tiny_elmo, tmp_path / "copy")
    with open(tmp_path / "copy" / "saved_model.pb", "r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room
    assert "saved_model.pb is larger than" in refusal(tmp_path / "copy")


def test_any_changed_byte_is_refused_or_harmless(tiny_elmo):
    """No change of the graph's file makes the check itself stumble."""
    from google.protobuf.message import DecodeError

    data, draw = (tiny_elmo / "saved_model.pb").read_bytes(), np.random.default_rng(1)
    for _ in range(50):
        changed = bytearray(data)
        for place in draw.integers(0, len(data), 3):
            changed[place] = draw.integers(256)
        try:
            graph = SavedModel.FromString(bytes(changed))
        except DecodeError:
            continue
        try:
            assert all(word.isprintable() for word in saved_model._refused(graph))
        except DecodeError:
            continue


# The list itself


def test_the_list_is_of_tensorflows_ops_in_order_and_of_none_that_reach_out():
    registered = OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    assert {op.name for op in registered.op} >= saved_model.ALLOWED
    source = Path(saved_model.__file__).read_text(encoding="utf-8").split('"""')[3].split()
    assert source == sorted(set(source)) and set(source) == saved_model.ALLOWED
    reach_out = "File|Func$|Dataset|Reader|Save|Restore|Print|Write(?!V3)|Remote|Send|Recv|Debug|Summary|Queue|Parse|Xla|TPU"
    assert [name for name in sorted(saved_model.ALLOWED) if re.search(reach_out, name)] == ["ShardedFilename"]  # joins strings
