"""ONNX graphs made smaller and faster: what a loop never changes stands inside it, weights in half precision or in int8."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

MIN_SIZE = 1024  # numbers of a weight from which on its storage matters


def unchanged_out_of_loops(model: ModelProto) -> None:
    """What a loop hands on unchanged from step to step is no longer copied: weights become its own constants, which ONNX
    Runtime packs for its products once; all else is read from outside.
    """
    graph = model.graph
    weights, read = {weight.name: weight for weight in graph.initializer}, _read(graph)
    for loop in (node for node in graph.node if node.op_type == "Loop"):
        (body,) = _bodies(loop)
        for place in reversed(range(len(loop.input) - 2)):  # behind the number of steps and the condition
            outside, inside = loop.input[2 + place], body.input[2 + place].name
            if body.output[1 + place].name != inside or loop.output[place] in read:
                continue
            if outside in weights:
                body.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weights[outside]), inside))
            else:
                _rename(body, inside, outside)
            del body.input[2 + place], body.output[1 + place], loop.input[2 + place], loop.output[place]
    still_read = _read(graph)
    kept = [weight for weight in graph.initializer if weight.name in still_read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def store_in_half(graph: GraphProto) -> None:
    """Weights that float16 holds exactly, as a shipped ELMo's are, take half the space; the graph computes the same."""
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < MIN_SIZE:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}/half"))
            casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for body in _bodies(node):
            store_in_half(body)


def in_int8(model: ModelProto) -> ModelProto:
    """The same with int8 weights, a scale a column, in all matrix products; what they multiply is rounded as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = {"EnableSubgraph": True, "MatMulConstBOnly": True}
    settings = {"op_types_to_quantize": ["MatMul"], "per_channel": True, "weight_type": QuantType.QInt8}
    logging.disable(logging.WARNING)  # which recommends what has no effect here
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(model, path, extra_options=options, **settings)
            return onnx.load(path)
    finally:
        logging.disable(logging.NOTSET)


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _read(graph: GraphProto) -> set[str]:
    """The names that a graph's nodes read, or that it gives."""
    return {value.name for value in graph.output} | set(_inputs(graph))


def _inputs(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from _inputs(body)
            yield from (value.name for value in body.output)
