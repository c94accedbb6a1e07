"""What a SavedModel would do, read off its file before TensorFlow loads it: a SavedModel is a program.

An ELMo computes: tokens in, vectors out. Its graphs and functions are held against the ops that this takes; what reads or
writes files is left to SavedModel itself, which restores the module's own variables and fills tables from its own assets.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from spamcli.errors import UnavailableError, one_line

GRAPH = "saved_model.pb"
MAX_GRAPH_BYTES = 2**28  # of saved_model.pb; the one of google/elmo's size takes less than 2**21
MAX_CONSTANTS = 2**27  # numbers that a graph's constants may unfold to; weights are variables
_ALSO_LOADED = ("saved_model.pbtxt", "saved_model.cpb")  # beside or instead of GRAPH, by some version of TensorFlow

# All that computes on tensors alone: arrays, arithmetic, convolutions, recurrence, strings, ragged and sparse tensors,
# tables, random numbers; variables and stacks, which live in the process; and control flow, whose branches are functions
# that are walked like any other. Not here is what reads, writes, prints, waits, connects, calls Python, runs elsewhere or
# reads serialised data, and what TensorFlow has for other jobs than a frozen ELMo's: data sets, queues, images, training.
# An op that is registered by somebody's library is not here either.
ALLOWED = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin AsString Asin Asinh Assert Assign AssignAdd AssignAddVariableOp
    AssignSub AssignSubVariableOp AssignVariableOp Atan Atan2 Atanh AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3
    BatchToSpaceND BiasAdd BiasAddV1 Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor BlockLSTM BlockLSTMV2 BroadcastArgs
    BroadcastTo Bucketize Case Cast Ceil CheckNumerics CheckNumericsV2 ClipByValue Concat ConcatV2 ConjugateTranspose Const
    ControlTrigger Conv2D Cos Cosh Cumprod Cumsum CumulativeLogsumexp DecodePaddedRaw DecodeRaw DenseBincount DepthToSpace
    DiagPart DisableCopyOnRead Div DivNoNan DynamicPartition DynamicStitch Einsum Elu EmptyTensorList EnsureShape Enter
    Equal Erf Erfc Erfinv EuclideanNorm Exit Exp ExpandDims Expm1 ExtractImagePatches Fill Floor FloorDiv FloorMod For
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 GRUBlockCell Gather GatherNd GatherV2 Greater GreaterEqual HashTable
    HashTableV2 Identity IdentityN If InitializeTable InitializeTableV2 Invert InvertPermutation IsFinite IsInf IsNan
    IsVariableInitialized LSTMBlockCell LeakyRelu LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax LogicalAnd
    LogicalNot LogicalOr LookupTableExportV2 LookupTableFind LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2
    LookupTableRemoveV2 LookupTableSize LookupTableSizeV2 LoopCond LowerBound MatMul MatrixBandPart MatrixDiag
    MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 Max MaxPool MaxPoolV2 MaxPoolWithArgmax Maximum Mean Merge Min Minimum
    MirrorPad Mod Mul MulNoNan MutableHashTableV2 Neg NextIteration NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    ParallelDynamicStitch PartitionedCall Placeholder PlaceholderV2 PlaceholderWithDefault PopulationCount Pow
    PreventGradient Prod RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse
    RaggedTensorToTensor RaggedTensorToVariant RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt Range Rank
    ReadVariableOp RealDiv Reciprocal ReduceJoin RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect RefSwitch
    RegexFullMatch RegexReplace Relu Relu6 Reshape ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterDiv
    ResourceScatterMax ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin
    ResourceScatterNdSub ResourceScatterNdUpdate ResourceScatterSub ResourceScatterUpdate Reverse ReverseSequence ReverseV2
    RightShift Rint Roll Round Rsqrt ScatterNd ScatterNdNonAliasingAdd SegmentMax SegmentMaxV2 SegmentMean SegmentMin
    SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2 Selu Shape ShapeN ShardedFilename Sigmoid
    Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth SparseFillEmptyRows SparseReorder
    SparseReshape SparseSoftmax SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze StackCloseV2 StackPopV2
    StackPushV2 StackV2 StatefulPartitionedCall StatelessCase StatelessIf StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomUniform StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessWhile StaticRegexFullMatch StaticRegexReplace StopGradient
    StridedSlice StringFormat StringJoin StringLength StringLower StringSplit StringSplitV2 StringStrip StringToHashBucket
    StringToHashBucketFast StringToHashBucketStrong StringUpper Sub Substr Sum Switch Tan Tanh TensorArrayCloseV3
    TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3
    TensorArrayV3 TensorArrayWriteV3 TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListPushBackBatch TensorListReserve TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
    TensorListSetItem TensorListSplit TensorListStack TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
    TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod TruncatedNormal UnicodeDecode
    UnicodeDecodeWithOffsets UnicodeEncode UnicodeTranscode Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack
    UnravelIndex UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound VarHandleOp
    VarIsInitializedOp VariableShape VariableV2 Where While Xdivy Xlog1py Xlogy ZerosLike
    """.split()
)
SAVING, RESTORING, FILLING = {"SaveV2", "MergeV2Checkpoints"}, {"RestoreV2"}, {"InitializeTableFromTextFileV2"}
_TOUCHING = SAVING | RESTORING | FILLING  # files; where they may stand is checked one by one
_KNOWN = ALLOWED | _TOUCHING


def check(directory: Path) -> None:
    """Refuse a SavedModel that could do more than an ELMo has to. Only files are read; nothing of it is executed.

    Raises: UnavailableError, which names the ops, or says what else is wrong.
    """
    from google.protobuf.message import DecodeError

    try:
        refused = sorted(set(_refused(_parsed(directory))))
    except (OSError, DecodeError) as error:
        raise UnavailableError(
            f"{directory}: not a loadable SavedModel ({GRAPH}: {one_line(error)}); fetch or export it again"
        ) from error
    if refused:
        shown = ", ".join(refused[:8]) + (f" and {len(refused) - 8} more" if len(refused) > 8 else "")
        raise UnavailableError(
            f"{directory}: a module is a program, and this one holds what no ELMo needs: {shown}; "
            "if you trust whoever made it as you would a program, pass --trust-module"
        )
    check_variables(directory)


def check_variables(directory: Path) -> None:
    """Refuse variables that say they are larger than their files, before anything is allocated for them.

    Raises: UnavailableError.
    """
    import tensorflow as tf

    folder = directory / "variables"
    if not (folder / "variables.index").is_file():
        return
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables"))
        types = reader.get_variable_to_dtype_map()
        sizes = [math.prod(shape) * types[name].size for name, shape in reader.get_variable_to_shape_map().items()]
    except (ValueError, RuntimeError, LookupError, TypeError, tf.errors.OpError) as error:
        raise UnavailableError(f"{directory}: damaged ({one_line(error)}); fetch or export it again") from error
    there = sum(path.stat().st_size for path in folder.glob("variables.data-*"))
    if sum(sizes) > there:
        raise UnavailableError(
            f"{directory}: damaged (its variables say that they are {sum(sizes):,} bytes, and variables.data has {there:,}); "
            "fetch or export it again"
        )


def _parsed(directory: Path):
    """saved_model.pb as a protocol buffer."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    also = [name for name in _ALSO_LOADED if (directory / name).exists()]
    if also:
        raise UnavailableError(f"{directory}: holds {also[0]}, which might be loaded instead of {GRAPH}; remove it")
    if (directory / GRAPH).stat().st_size > MAX_GRAPH_BYTES:
        raise UnavailableError(f"{directory}: {GRAPH} is larger than {MAX_GRAPH_BYTES:,} bytes; use another module")
    return SavedModel.FromString((directory / GRAPH).read_bytes())


def _refused(saved_model) -> Iterator[str]:
    """What stands in a SavedModel and is not allowed, in words."""
    graphs = saved_model.meta_graphs
    by_objects = len(graphs) == 1 and graphs[0].HasField("object_graph_def")  # how TensorFlow decides between its loaders
    for graph in graphs:
        yield from _outside_the_list(graph.graph_def)
        yield from _outside_the_assets(graph)
        functions = graph.graph_def.library.function
        touching = _touching_functions(functions)
        disguised = [each for each in functions if each.signature.name in touching and "api_implements" in each.attr]
        yield from (f"{_word(each.signature.name)} that TensorFlow may put in another one's place" for each in disguised)
        yield from _by_objects(graph, touching) if by_objects else _by_names(graph, touching)


def _outside_the_list(graph_def) -> Iterator[str]:
    """Ops that are not ALLOWED, anywhere; calls of what is no function of the graph's own; constants that unfold."""
    functions, constants = Counter(function.signature.name for function in graph_def.library.function), 0
    yield from (f"a second function {_word(name)}" for name, number in functions.items() if number > 1)
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for node in nodes:
            if node.op not in _KNOWN:
                yield _word(node.op)
            yield from (f"a call of {_word(name)}" for name in _called(node.attr) if name not in functions)
            for tensor in (attribute.tensor for attribute in node.attr.values() if attribute.HasField("tensor")):
                constants += math.prod(max(dim.size, 1) for dim in tensor.tensor_shape.dim)
                if tensor.resource_handle_val or tensor.variant_val:
                    yield "a constant that is no array"
    if constants > MAX_CONSTANTS:
        yield f"{constants:,} numbers in constants"


def _called(attributes) -> Iterator[str]:
    """The functions that the attributes of a node name, and those that these are to call in their turn."""
    for attribute in attributes.values():
        for function in (*([attribute.func] if attribute.HasField("func") else []), *attribute.list.func):
            yield function.name
            yield from _called(function.attr)


def _touching_functions(functions) -> set[str]:
    """Names of the functions that touch files: they hold such an op, or call one that does."""
    callers, found = defaultdict(set), set()
    for function in functions:
        for name in (name for node in function.node_def for name in _called(node.attr)):
            callers[name].add(function.signature.name)
    waiting = [function.signature.name for function in functions if any(node.op in _TOUCHING for node in function.node_def)]
    while waiting:
        name = waiting.pop()
        waiting += callers[name] - found if name not in found else ()
        found.add(name)
    return found


def _by_objects(graph, touching: set[str]) -> Iterator[str]:
    """TF2's format: objects name the functions that are ever called, and variables are restored without the graph."""
    concrete = graph.object_graph_def.concrete_functions
    for function in graph.graph_def.library.function:
        name = function.signature.name
        if name in touching and name in concrete:
            yield from _in_function(function, touching, _bound_assets(function, graph.object_graph_def))


def _bound_assets(function, objects) -> set[str]:
    """The arguments of a function that are always files of the module's own: what it captured comes last."""
    bound = objects.concrete_functions[function.signature.name].bound_inputs
    arguments = [argument.name for argument in function.signature.input_arg]
    captured = zip(reversed(arguments), reversed(bound))
    return {name for name, i in captured if 0 <= i < len(objects.nodes) and objects.nodes[i].HasField("asset")}


def _in_function(function, touching: set[str], assets: set[str]) -> Iterator[str]:
    for node in function.node_def:
        if node.op in _TOUCHING and not (node.op in FILLING and _name(node.input[1:2]) in assets):
            yield f"{node.op} in a function"
        yield from (f"a call of {_word(name)}, which touches files" for name in _called(node.attr) if name in touching)


def _by_names(graph, touching: set[str]) -> Iterator[str]:
    """TF1's format: what is executed is what signatures, initialisers and the restoring op depend on."""
    nodes = {node.name: node for node in graph.graph_def.node}
    filename = _name([graph.saver_def.filename_tensor_name])
    assets = {_name([asset.tensor_info.name]) for asset in _assets(graph)}
    if any(each.WhichOneof("encoding") != "name" for s in graph.signature_def.values() for each in s.outputs.values()):
        yield "an output that is no plain tensor"
    signatures = [each.name for s in graph.signature_def.values() for each in s.outputs.values()]
    for roots, may in (
        (signatures, set()),
        (list(_initialisers(graph)), FILLING),
        ([graph.saver_def.restore_op_name], RESTORING),
    ):
        for node in _needed(roots, nodes):
            own = _name(node.input[:1]) == filename if node.op in RESTORING else _name(node.input[1:2]) in assets
            if node.op in _TOUCHING and not (node.op in may and own):
                yield f"{node.op} where it would be run"
            yield from (f"a call of {_word(name)}, which touches files" for name in _called(node.attr) if name in touching)


def _initialisers(graph) -> Iterator[str]:
    """Names of the nodes in collections, and of the variables' initialisers there."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.variable_pb2 import VariableDef

    for key, collection in graph.collection_def.items():
        yield from collection.node_list.value
        for value in collection.bytes_list.value if key != "savers" else ():  # these hold a SaverDef, which nobody runs
            try:
                yield VariableDef.FromString(value).initializer_name
            except DecodeError:
                continue  # not a variable's


def _needed(roots: Iterable[str], nodes: dict) -> Iterator:
    """The nodes that some depend on, and these."""
    waiting, seen = [_name([root]) for root in roots], set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            waiting += [_name([each]) for each in nodes[name].input]


def _assets(graph) -> Iterator:
    """All that a graph names as its assets, in either of two places."""
    from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

    yield from graph.asset_file_def
    collection = graph.collection_def.get("saved_model_assets")
    for each in collection.any_list.value if collection else ():
        yield AssetFileDef.FromString(each.value)


def _outside_the_assets(graph) -> Iterator[str]:
    for asset in _assets(graph):
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in asset.filename or ":" in asset.filename:
            yield f"an asset {_word(asset.filename)} outside its folder"


def _name(inputs) -> str:
    """The node that the first of some inputs names: ^a, a:0 -> a; nothing, if there is none."""
    return inputs[0].lstrip("^").split(":")[0] if inputs else ""


def _word(name: str) -> str:
    """A name out of the file, fit for one line."""
    return name[:60] if name.isascii() and name.isidentifier() else ascii(name[:60])
