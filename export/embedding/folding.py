"""Graphs made small, for runtimes without our library: what is known before a run is computed, and what is there twice
is there once.

A value is only replaced by one that is the same to the bit. Constants are not made larger, so that a file stays as
small as its weights: what onnxruntime computes of them when it loads is left to it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..graphs.weights_file import WeightsFile, is_outside
from .nested import drop_unused, graphs_in
from .sizes import Known, Sizes

Array = npt.NDArray[Any]
_SMALL = 4096  # bytes: constants of this size are computed in any case
# The types that numpy has, too; a constant of another stays as it is.
_TYPES = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8,
    TensorProto.INT32, TensorProto.INT64,
}  # fmt: skip

_BY_CHANCE = {
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


class Weights:
    """The weights of several graphs in one file, each content once."""

    def __init__(self, file: WeightsFile) -> None:
        """file: an open one, which is written."""
        self._file = file
        self._tensors: dict[object, TensorProto] = {}

    def declare(self, graph: onnx.GraphProto, name: str, array: Array) -> None:
        """In a graph, under this name."""
        key = _key(array)
        if key not in self._tensors:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self._file.add(graph, name, array.shape, kind, array)
            self._tensors[key] = graph.initializer[-1]
        else:
            graph.initializer.append(self._tensors[key])
            graph.initializer[-1].name = name


def folded(model: onnx.ModelProto, read: WeightsFile, written: Weights) -> onnx.ModelProto:
    """A model without functions, made small. read: where its weights lie; written: where those of the new one go."""
    (opset,) = (int(entry.version) for entry in model.opset_import if not entry.domain)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inputs = {each.name for each in made.graph.input}
    tensors = {each.name: each for each in made.graph.initializer}
    constants = _Constants(opset, made.ir_version, _uses(made.graph))
    scope = _Scope(Sizes(opset), constants)
    as_they_are = []
    for name, tensor in tensors.items():
        if name in inputs or tensor.data_type not in _TYPES:
            as_they_are.append(_inside(tensor, read))
        else:
            scope.aliases[name] = constants.name_of(numpy_helper.to_array(_inside(tensor, read)), name)
    _fold(made.graph, scope)
    used = drop_unused(made.graph)
    del made.graph.initializer[:]
    for tensor in as_they_are:
        if tensor.name in used | inputs:
            made.graph.initializer.append(tensor)
    for name in used & constants.arrays.keys():
        written.declare(made.graph, name, constants.arrays[name])
    return made


def _inside(tensor: TensorProto, read: WeightsFile) -> TensorProto:
    """The same with its content."""
    if not is_outside(tensor):
        return tensor
    return TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=read.content(tensor))


def _uses(graph: onnx.GraphProto) -> Counter[str]:
    """How often each value is read."""
    uses = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        for inner in graphs_in(node):
            uses += _uses(inner)
    return uses


def _key(array: Array) -> object:
    content = hashlib.sha256(np.asarray(array, order="C").tobytes()).digest()
    return array.dtype.str, array.shape, content


@dataclass
class _Constants:
    """Each content once, by the name that it has. uses: how often a name is read."""

    opset: int
    ir_version: int
    uses: Counter[str]
    arrays: dict[str, Array] = field(default_factory=dict)
    _known: dict[object, str] = field(default_factory=dict)

    def name_of(self, array: Array, name: str) -> str:
        """The name of this content; a new one is called `name`."""
        key = _key(array)
        if key not in self._known:
            while name in self.arrays:
                name += "_"
            self._known[key] = name
            self.arrays[name] = np.asarray(array, order="C")
        return self._known[key]

    def computed(self, node: onnx.NodeProto, results: Sequence[Known | None]) -> list[Array] | None:
        """The results of a node of constants; None where they are not to be kept instead of it."""
        given = {name: self.arrays[name] for name in node.input if name}
        large = [name for name, array in given.items() if array.nbytes > _SMALL]
        bytes_there = sum(array.nbytes for array in given.values())
        if any(self.uses[name] > 1 for name in large) or not _fit(results, max(_SMALL, bytes_there)):
            return None
        kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
        inputs = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in given.items()]
        graph = helper.make_graph([node], "node", inputs, [onnx.ValueInfoProto(name=name) for name in node.output])
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            arrays: list[Array] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, given)
        except Exception:  # what fails in a run is to fail in a run
            return None
        return arrays


def _fit(results: Sequence[Known | None], most: int) -> bool:
    """Whether results are known to be of types that numpy has, and to have no more bytes than `most`."""
    total = 0
    for each in results:
        if each is None or each.shape is None or each.dtype not in _TYPES:
            return False
        sizes = [size for size in each.shape if isinstance(size, int)]
        if len(sizes) < len(each.shape):
            return False
        total += math.prod(sizes) * helper.tensor_dtype_to_np_dtype(each.dtype).itemsize
    return total <= most


@dataclass
class _Scope:
    """What is known inside a graph, of it and of those around it. aliases: which value to read instead of another;
    there: the results of each expression that there was."""

    sizes: Sizes
    constants: _Constants
    known: dict[str, Known | None] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    there: dict[object, list[str]] = field(default_factory=dict)

    def inside(self) -> _Scope:
        """A graph inside it, of which nothing is known outside."""
        return _Scope(self.sizes, self.constants, dict(self.known), dict(self.aliases), dict(self.there))

    def of(self, name: str) -> Known | None:
        """What is known of a value."""
        array = self.constants.arrays.get(name)
        return self.known.get(name) if array is None else Known.constant(array)


def _fold(graph: onnx.GraphProto, scope: _Scope) -> None:
    names: dict[str, str] = {}
    defaults = {
        each.name for each in graph.initializer
    }  # of what may have a row for all, so that its names are its own
    for value in graph.input:
        scope.known[value.name] = scope.sizes.declared(value, {} if value.name in defaults else names)
    outputs = {each.name for each in graph.output}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        node.input[:] = [scope.aliases.get(name, name) for name in node.input]
        inner = list(graphs_in(node))
        for each in inner:
            _fold(each, scope.inside())
        stays = inner or node.domain or not outputs.isdisjoint(node.output)
        given = [scope.of(name) if name else None for name in node.input]
        results = [None] * len(node.output) if inner else scope.sizes.results(node, given)
        instead = None if stays else _instead(node, given, results, scope)
        if instead is None:
            graph.node.append(node)
            scope.known |= dict(zip(node.output, results, strict=True))
        else:
            scope.aliases |= dict(zip(node.output, instead, strict=True))


def _instead(
    node: onnx.NodeProto, given: Sequence[Known | None], results: Sequence[Known | None], scope: _Scope
) -> list[str] | None:
    """Values that are the node's results and are there already; None where there are none."""
    arrays = None
    if all(name in scope.constants.arrays for name in node.input if name):
        arrays = scope.constants.computed(node, results)
    elif (numbers := _numbers(results[0])) is not None:
        arrays = [numbers]
    if arrays is not None:
        return [scope.constants.name_of(array, name) for name, array in zip(node.output, arrays, strict=True)]
    if _changes_nothing(node, given, results[0]):
        return [node.input[0]]
    if node.op_type in _BY_CHANCE:
        return None
    outputs = list(node.output)
    there = [scope.there.setdefault(each, outputs) for each in _expressions(node, results[0])]
    return next((each for each in there if each != outputs), None)


def _numbers(result: Known | None) -> Array | None:
    """The content of a result, where its dimensions say all of it."""
    if result is None or result.numbers is None or result.shape is None:
        return None
    numbers = [each for each in result.numbers if isinstance(each, int)]
    if len(numbers) < len(result.numbers):
        return None
    return np.array(numbers, np.int64).reshape([int(each) for each in result.shape])


def _expressions(node: onnx.NodeProto, result: Known | None) -> Iterable[object]:
    """What of two nodes is only the same where their results are."""
    if result is not None and result.numbers is not None:
        yield result.shape, result.numbers
    attributes = sorted(each.SerializeToString(deterministic=True) for each in node.attribute)
    yield node.op_type, tuple(node.input), len(node.output), tuple(attributes)


def _changes_nothing(node: onnx.NodeProto, given: Sequence[Known | None], result: Known | None) -> bool:
    """Whether the result is the first input."""
    x = given[0] if given else None
    if node.op_type == "Identity":
        return True
    if x is None or result is None or x.shape is None:
        return False
    if node.op_type == "Cast":
        return x.dtype == result.dtype
    if node.op_type == "Slice":  # of as many, forwards: all of them
        steps = given[4].numbers if len(given) > 4 and given[4] is not None else (1,)
        return x.shape == result.shape and steps is not None and all(step == 1 for step in steps)
    return node.op_type in ("Reshape", "Expand", "Flatten") and x.shape == result.shape
