"""An encoder of samples (Moonshine's) that reads clips filled up to one length: the same numbers as of the clip alone.

It norms over a clip's whole length and attends to all of it, so both must know where a clip ends: a mask of the samples
says so. Dimensions beside those of graphs.graph: `W` samples, `F` frames of the first convolution, `C` channels.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.errors import ExportError
from fuseline.folders.tensors import ATTENTION_MASK, INPUT_VALUES

from ..graphs.graph import Graph


def padded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with an input more, attention_mask int64[B, W]: ones for the samples of a clip, then zeros.

    model: fused, as load_graph gives it; changed. Raises ExportError for a graph of another form.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    attends = [node for node in graph.node if node.op_type == "SelfAttention"]
    if len(norms) != 1 or not attends:
        raise ExportError("an encoder of samples that is not Moonshine's has no static layout")
    (norm,) = norms
    old, x = list(graph.node), makers[norm.input[0]].input[0]
    (after,) = [node for node in old if norm.output[0] in node.input]
    del graph.node[:]
    mask = helper.make_tensor_value_info(ATTENTION_MASK, TensorProto.INT64, ["B", "samples"])
    graph.input.append(mask)
    g = Graph(graph, "clips/")
    counts = [g.op("ReduceSum", ATTENTION_MASK, g.ints(1), keepdims=1)]
    for node in old:
        if node.op_type == "Conv":  # none is padded
            kernel, stride = _sizes(node, makers, model)
            over = g.op("Div", g.op("Sub", counts[-1], g.ints(kernel)), g.ints(stride))
            counts.append(g.op("Add", over, g.ints(1)))
    lengths_B1 = attends[0].input[1]
    for node in old:
        if node is norm or node.output[0] == norm.input[0]:
            continue
        if node is after:
            _normed(g, x, counts[1], norm, after.output[0])
        elif node.output[0] == lengths_B1:
            g.op("Identity", counts[-1], name=lengths_B1)
        else:
            graph.node.append(node)
    return model


def _sizes(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], model: onnx.ModelProto) -> tuple[int, int]:
    """Kernel and stride of a convolution in one dimension."""
    of = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if any(of.get("pads", ())) or INPUT_VALUES not in {value.name for value in model.graph.input}:
        raise ExportError("an encoder of samples that is not Moonshine's has no static layout")
    made = makers.get(node.input[1])  # of a weight that is stored in less and cast
    name = node.input[1] if made is None else made.input[0]
    (weight,) = [each for each in model.graph.initializer if each.name == name]
    return int(weight.dims[2]), int(of["strides"][0])


def _normed(g: Graph, x_BCF: str, frames_B1: str, norm: onnx.NodeProto, name: str) -> None:
    """x - mean over the root of the variance, both over the frames that a clip has and all channels."""
    (epsilon,) = [each.f for each in norm.attribute if each.name == "epsilon"]
    scalar = g.scalar
    first, last = scalar(0, np.int64), g.op("Squeeze", g.op("Shape", x_BCF, start=2, end=3))
    all_F = g.op("Range", first, last, scalar(1, np.int64))
    frames_B11 = g.op("Unsqueeze", frames_B1, g.ints(2))
    seen_B1F = g.op("Cast", g.op("Less", all_F, frames_B11), to=TensorProto.FLOAT)
    channels = g.op("Squeeze", g.op("Shape", x_BCF, start=1, end=2))
    count_B11 = g.op("Cast", g.op("Mul", frames_B11, channels), to=TensorProto.FLOAT)

    def mean(values_BCF: str) -> str:
        kept = g.op("Mul", values_BCF, seen_B1F)
        return g.op("Div", g.op("ReduceSum", kept, g.ints(1, 2), keepdims=1), count_B11)

    apart_BCF = g.op("Sub", x_BCF, mean(x_BCF))
    variance_B11 = mean(g.op("Mul", apart_BCF, apart_BCF))
    root_B11 = g.op("Sqrt", g.op("Add", variance_B11, scalar(epsilon, np.float32)))
    g.op("Div", apart_BCF, root_B11, name=name)
