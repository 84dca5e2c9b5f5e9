"""A graph of ours as other tools know graphs: matrices that MatMul reads, a Gather for the embedding, no own operators.

For comparing: onnxruntime.quantization finds here what it quantizes, and any runtime can run it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import inliner

from .graphs.graph import Graph
from .graphs.recode import Matrix, embeds, float_matrices, form_of

_ENDINGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "": ("Identity", {}),
    "Relu": ("Relu", {}),
    "Gelu": ("Gelu", {}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
}


def standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph of floats in standard operators; it computes the same.

    Raises ExportError where a layer is quantized already.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    matrices = {matrix.name: matrix for matrix in float_matrices(model)}
    nodes = list(made.graph.node)
    tensors = [tensor for tensor in made.graph.initializer if tensor.name not in matrices]
    del made.graph.node[:]
    del made.graph.initializer[:]
    made.graph.initializer.extend(tensors)
    g = Graph(made.graph, "standard/")
    known = set[str]()
    for node in nodes:
        if form_of(node) is None:
            made.graph.node.append(node)
        elif embeds(node):
            _write_rows(g, node, matrices[node.input[1]])
        else:
            _write_layer(g, node, matrices[node.input[1]], known)
    return inliner.inline_local_functions(made)


def _write_rows(g: Graph, node: onnx.NodeProto, matrix: Matrix) -> None:
    """An embedding as a Gather of the table's rows."""
    rows = g.weight(f"{matrix.name}.rows", np.ascontiguousarray(matrix.weight_IO.T))
    g.op("Gather", rows, node.input[0], name=node.output[0])


def _write_layer(g: Graph, node: onnx.NodeProto, matrix: Matrix, known: set[str]) -> None:
    """A fused layer of floats as product, bias and ending."""
    name, ending = f"{matrix.name}.matrix", node.op_type.partition("Linear")[2]
    if name not in known:
        known.add(name)
        g.weight(name, np.ascontiguousarray(matrix.weight_IO))
    value = g.op("Add", g.op("MatMul", node.input[0], name), node.input[2])
    if ending == "Add":
        g.op("Add", value, node.input[3], name=node.output[0])
    elif ending == "QuickGelu":
        steep = g.op("Mul", value, g.scalar(1.702, np.float32))
        g.op("Mul", value, g.op("Sigmoid", steep), name=node.output[0])
    else:
        op_type, attributes = _ENDINGS[ending]
        g.op(op_type, value, name=node.output[0], **attributes)
