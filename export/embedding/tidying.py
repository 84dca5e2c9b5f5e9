"""What operators' bodies say twice, and what only gives a value another name: left out of graphs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graphs.weights_file import is_outside
from .nested import drop_unused, graphs_in, keep, reads, rename


def tidied(graph: onnx.GraphProto) -> None:
    """Both, in the graphs inside it, too. What is computed stays the same to the bit."""
    inputs = {each.name for each in graph.input}
    known = (each for each in graph.initializer if each.name not in inputs and _is_number(each))
    _tidy(graph, {each.name: float(numpy_helper.to_array(each).item()) for each in known})
    drop_unused(graph)


def _tidy(graph: onnx.GraphProto, numbers: Mapping[str, float]) -> None:
    """numbers: constants of one element, by name."""
    _without_guards(graph, numbers)
    _with_own_outputs(graph)
    for node in graph.node:
        for inner in graphs_in(node):
            _tidy(inner, numbers)


def _with_own_outputs(graph: onnx.GraphProto) -> None:
    """Nodes that give what an Identity made an output of: it was a copy."""
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {each.name for each in graph.output}
    names: dict[str, str] = {}
    for node in graph.node:
        source = node.input[0] if node.op_type == "Identity" else ""
        if source in makers and node.output[0] in outputs and source not in outputs | names.keys():
            names[source] = node.output[0]
    own = set(names.values())
    nodes = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in own)]
    rename(nodes, names)
    keep(graph, nodes)


def _without_guards(graph: onnx.GraphProto, numbers: Mapping[str, float]) -> None:
    """Of a row x with a NaN or an infinity, x / step has a NaN, since step is its greatest times a number; so the
    product of the row is NaN everywhere, and its scale, which comes after it, need not be made NaN too."""
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in reads(node):
            readers[name].append(node)
    outputs = {each.name for each in graph.output}
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] not in outputs and _is_guarded(node, makers, readers, numbers):
            names[node.output[0]] = node.input[0]
    nodes = [node for node in graph.node if names.keys().isdisjoint(node.output)]
    rename(nodes, names)
    keep(graph, nodes)


def _is_guarded(
    scale: onnx.NodeProto,
    makers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    numbers: Mapping[str, float],
) -> bool:
    """Whether a node adds the sum of 0 * x to the step of a row x, and this scales products of x / step alone."""

    def made(name: str, *kinds: str) -> onnx.NodeProto | None:
        """The first node of a chain of these kinds, each the first input of the next; the last makes the value."""
        node = None
        for kind in reversed(kinds):
            node = makers.get(name)
            if node is None or node.op_type != kind:
                return None
            name = node.input[0]
        return node

    step, broken = scale.input
    zeros, greatest = made(broken, "Mul", "ReduceSum"), made(step, "Abs", "ReduceMax", "Mul", "Max")
    if zeros is None or greatest is None or numbers.get(zeros.input[1]) != 0 or greatest.input[0] != zeros.input[0]:
        return False
    scaled = makers[makers[step].input[0]]
    if not numbers.get(scaled.input[1], 0) > 0:
        return False
    if not all(_along_rows(makers[name], numbers) for name in (broken, scaled.input[0])):
        return False
    for node in readers[scale.output[0]]:
        if node.op_type != "Mul" or node.input[1] != scale.output[0]:
            return False
        quotient = made(node.input[0], "Div", "Round", "MatMul")
        if quotient is None or list(quotient.input) != [zeros.input[0], step]:
            return False
    return True


def _along_rows(node: onnx.NodeProto, numbers: Mapping[str, float]) -> bool:
    """Whether a reduction is over the last dimension, which stays as one of 1."""
    kept: int = next((helper.get_attribute_value(each) for each in node.attribute if each.name == "keepdims"), 1)
    return kept == 1 and len(node.input) == 2 and numbers.get(node.input[1]) == -1


def _is_number(tensor: onnx.TensorProto) -> bool:
    """Whether it is one element that lies in the graph itself."""
    return math.prod(tensor.dims) == 1 and not is_outside(tensor) and tensor.data_type != TensorProto.STRING
