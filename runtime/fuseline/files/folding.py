"""How large a constant onnxruntime may compute while it loads a graph.

It computes every node whose inputs are constants ("constant folding"), however large the result: 150 bytes of
ConstantOfShape are 400 MB of memory, and 27 nodes that join a tensor to itself are 1.5 GB. It takes a limit for each
result (optimization.constant_folding_max_output_size_in_bytes). The right one depends on the graph: weights stored as
codes are to be unfolded, and they may be large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

# What all results together may take beyond a multiple of the weights.
_BUDGET, _TIMES_WEIGHTS = 1 << 29, 16
_BYTES = 8  # of a number, at the most
_MOST_GROWN, _ALWAYS = 16, 1 << 16  # a result of known size: so many times the largest tensor, or so many numbers

# Operators by the size of their result: that of their first input; no larger than it; by broadcasting.
# fmt: off
_KEEPS_SHAPE = frozenset((
    "Abs", "Cast", "CastLike", "Ceil", "Clip", "Cos", "DequantizeLinear", "Erf", "Exp", "Floor", "Identity", "Log",
    "Neg", "Not", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sqrt", "Tanh",
))
_NO_LARGER = frozenset((
    "Flatten", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
))
_ELEMENTWISE = frozenset((
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or",
    "Pow", "Sub", "Where", "Xor",
))
# fmt: on


class Node(NamedTuple):
    """A node; standard: of ONNX's own domain; constant: the shape of the tensor or the list in its attributes."""

    name: str
    standard: bool
    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    constant: tuple[int, ...] | None


class _Constant(NamedTuple):
    """What is known of a constant: how many numbers at most, and its shape where that is known. unsure: neither is."""

    size: int
    shape: tuple[int, ...] | None = None
    unsure: bool = False


_UNSURE = _Constant(0, None, True)


def most_folded(
    scopes: Iterable[tuple[Sequence[Node], Mapping[bytes, tuple[int, ...]]]], nodes: int, weights: int
) -> int:
    """The most bytes that one computed constant should have, at least 1.

    scopes: nodes in their order with the shapes of the initializers, of the graph and of each function; nodes: how many
    they are with all functions in their places; weights: bytes of all tensors.
    """
    budget = _BUDGET + _TIMES_WEIGHTS * weights
    floor = max(1, _BUDGET // max(1, nodes))
    sure: list[int] = []
    unsure, largest = 0, 0
    for scope, initializers in scopes:
        widest = max((prod(shape) for shape in initializers.values()), default=0)
        known = {name: _Constant(prod(shape), shape) for name, shape in initializers.items()}
        largest = max(largest, widest)
        for node in scope:
            result = _result(node, known, _MOST_GROWN * widest + _ALWAYS)
            if result is None:
                continue
            known.update(dict.fromkeys(node.outputs, result))
            if result.unsure:
                unsure += 1
            elif node.inputs:
                sure.append(result.size)
    if sum(sure) * _BYTES > budget:
        return floor
    most = max([largest * _BYTES, floor, *(size * _BYTES for size in sure)])
    return max(1, min(most, budget // unsure)) if unsure else most


def _result(node: Node, known: Mapping[bytes, _Constant], most: int) -> _Constant | None:
    """What a node makes of constants; None if it reads something else. most: numbers in a result of known size."""
    names = [name for name in node.inputs if name]
    if node.standard and node.name == "Constant":
        shape = node.constant or ()
        return _Constant(prod(shape), shape)
    if not all(name in known for name in names):
        return None
    inputs = [known[name] for name in names]
    if not node.standard or not inputs or any(each.unsure for each in inputs):
        return _UNSURE
    first = inputs[0]
    if node.name in _KEEPS_SHAPE:
        return first
    if node.name in _NO_LARGER:
        return _Constant(first.size)
    result = _UNSURE
    if node.name in _ELEMENTWISE:
        result = _broadcast(inputs)
    elif node.name == "Concat":
        result = _Constant(sum(each.size for each in inputs))
    elif node.name == "Gather" and len(inputs) == 2:
        result = _Constant(first.size * inputs[1].size)
    elif node.name in ("Shape", "Size"):
        result = _Constant(len(first.shape) if first.shape is not None else 64)
    return result if result.size <= most else _UNSURE


def _broadcast(inputs: Sequence[_Constant]) -> _Constant:
    """Elementwise operators: each dimension is the largest of the inputs', counted from the last."""
    shapes = [each.shape for each in inputs if each.shape is not None]
    if len(shapes) < len(inputs):
        return _Constant(prod(max(1, each.size) for each in inputs))
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    shape = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    return _Constant(prod(shape), shape)
