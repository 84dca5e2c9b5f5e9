"""What is known of a graph before it runs: types, dimensions, and integers that are made of dimensions.

A dimension is a number, or a product of names such as "d1*d2": two dimensions of one name are of one size. What nobody
says gets a name of its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference

Dimension = int | str
_OURS = re.compile(r"(\d+\*)?d\d+(\*d\d+)*")
_MOST_NUMBERS = 16  # of a tensor whose content is followed


@dataclass(frozen=True)
class Known:
    """A value of a graph. dtype: a TensorProto type; shape: None where not even the rank is known; numbers: the content
    of an int64 tensor of at most one dimension; array: the content of a constant."""

    dtype: int
    shape: tuple[Dimension, ...] | None
    numbers: tuple[Dimension, ...] | None = None
    array: npt.NDArray[Any] | None = None

    @classmethod
    def constant(cls, array: npt.NDArray[Any]) -> Known:
        """What is known of a constant: all."""
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        few = array.dtype == np.int64 and array.ndim <= 1 and array.size <= _MOST_NUMBERS
        numbers = tuple(int(each) for each in array.reshape(-1)) if few else None
        return cls(dtype, array.shape, numbers, array)


@dataclass
class Sizes:
    """Works out what is known of results, node by node."""

    opset: int
    _count: int = 0

    def new(self) -> str:
        """A dimension that nothing is known of."""
        self._count += 1
        return f"d{self._count}"

    def declared(self, value: onnx.ValueInfoProto, names: dict[str, str]) -> Known:
        """An input of a graph. names: those of dimensions that the graph's inputs have, each with the one it has here;
        added to."""
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            return Known(tensor.elem_type, None)
        shape: list[Dimension] = []
        for each in tensor.shape.dim:
            if each.HasField("dim_value"):
                shape.append(each.dim_value)
            else:
                name = each.dim_param
                shape.append(names.setdefault(name, self.new()) if name else self.new())
        return Known(tensor.elem_type, tuple(shape))

    def results(self, node: onnx.NodeProto, given: Sequence[Known | None]) -> list[Known | None]:
        """What is known of a node's results, by that of its inputs; None where there is nothing to say."""
        if node.domain or any(known is None for name, known in zip(node.input, given, strict=True) if name):
            return [None] * len(node.output)
        types = {name: _type(known) for name, known in zip(node.input, given, strict=True) if known is not None}
        contents = {
            name: numpy_helper.from_array(known.array)
            for name, known in zip(node.input, given, strict=True)
            if known is not None and known.array is not None and known.array.nbytes <= 8 * _MOST_NUMBERS
        }
        schema = defs.get_schema(node.op_type, self.opset)
        opset = [helper.make_opsetid("", self.opset)]
        try:
            found = shape_inference.infer_node_outputs(schema, node, types, contents, opset_imports=opset)
        except shape_inference.InferenceError:
            return [None] * len(node.output)
        results = [self._known(found[name]) if name in found else None for name in node.output]
        return [self._sharpened(node, given, results[0]), *results[1:]]

    def _known(self, kind: TypeProto) -> Known | None:
        if not kind.HasField("tensor_type"):
            return None
        tensor = kind.tensor_type
        if not tensor.HasField("shape"):
            return Known(tensor.elem_type, None)
        dims = tensor.shape.dim
        return Known(tensor.elem_type, tuple(self._dimension(each) for each in dims))

    def _dimension(self, found: onnx.TensorShapeProto.Dimension) -> Dimension:
        if found.HasField("dim_value"):
            return found.dim_value
        return found.dim_param if _OURS.fullmatch(found.dim_param) else self.new()

    def _sharpened(self, node: onnx.NodeProto, given: Sequence[Known | None], first: Known | None) -> Known | None:
        """What is known of the first result, with what ONNX's own rules do not follow: contents made of names."""
        if first is None:
            return None
        shape = first.shape
        if node.op_type in ("Reshape", "Expand", "ConstantOfShape"):
            shape = self._asked(node, given, first)
        numbers = None
        if first.dtype == TensorProto.INT64 and shape is not None and len(shape) <= 1:
            numbers = _numbers(node, given)
        return Known(first.dtype, shape, numbers)

    def _asked(self, node: onnx.NodeProto, given: Sequence[Known | None], first: Known) -> tuple[Dimension, ...] | None:
        """The shape that an input of the node says."""
        numbers = None if given[-1] is None else given[-1].numbers
        if numbers is None:
            return first.shape
        if node.op_type == "Expand":
            return self._expanded(numbers, given[0], first)
        if node.op_type == "Reshape" and (0 in numbers or -1 in numbers):
            return self._with_rest(numbers, given[0], first)
        return numbers

    def _expanded(self, asked: tuple[Dimension, ...], x: Known | None, first: Known) -> tuple[Dimension, ...] | None:
        """What a shape is made to, where it is 1 or the same already: a name may be a 1, too."""
        if x is None or x.shape is None or len(x.shape) > len(asked):
            return first.shape
        have = (*[1] * (len(asked) - len(x.shape)), *x.shape)
        pairs = list(zip(have, asked, strict=True))
        return asked if all(old in (1, new) for old, new in pairs) else first.shape

    def _with_rest(self, asked: tuple[Dimension, ...], x: Known | None, first: Known) -> tuple[Dimension, ...] | None:
        """A shape in which one dimension is what is left: -1."""
        if x is None or x.shape is None or 0 in asked or asked.count(-1) != 1:
            return first.shape
        rest = divided(product(x.shape), product([each for each in asked if each != -1]))
        return tuple((self.new() if rest is None else rest) if each == -1 else each for each in asked)


def _type(known: Known) -> TypeProto:
    return helper.make_tensor_type_proto(known.dtype, known.shape)


def _numbers(node: onnx.NodeProto, given: Sequence[Known | None]) -> tuple[Dimension, ...] | None:
    """The content of a node's result, where it is made of dimensions."""
    first = given[0] if given else None
    if first is None:
        return None
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Shape":
        return None if first.shape is None else first.shape[attributes.get("start", 0) : attributes.get("end")]
    contents = [None if each is None else each.numbers for each in given]
    if node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Identity"):
        return contents[0]
    if any(each is None for each in contents):
        return None
    numbers = [each for each in contents if each is not None]
    if node.op_type == "Concat":
        return tuple(each for part in numbers for each in part)
    if node.op_type == "Slice" and len(numbers) >= 3:
        return _sliced(numbers)
    if node.op_type == "Gather":
        return _gathered(*numbers)
    if node.op_type in ("Mul", "Div") and {len(each) for each in numbers} == {1}:
        found = (product if node.op_type == "Mul" else lambda pair: divided(*pair))([numbers[0][0], numbers[1][0]])
        return None if found is None else (found,)
    return None


def _gathered(numbers: tuple[Dimension, ...], places: tuple[Dimension, ...]) -> tuple[Dimension, ...] | None:
    known = [place for place in places if isinstance(place, int) and -len(numbers) <= place < len(numbers)]
    return tuple(numbers[place] for place in known) if len(known) == len(places) else None


def _sliced(numbers: Sequence[tuple[Dimension, ...]]) -> tuple[Dimension, ...] | None:
    start, end = numbers[1][0], numbers[2][0]
    if len(numbers) > 4 or not isinstance(start, int) or not isinstance(end, int):
        return None
    return numbers[0][start:end]


def product(dimensions: Sequence[Dimension]) -> Dimension:
    """As one dimension."""
    number = math.prod(each for each in dimensions if isinstance(each, int))
    names = sorted(name for each in dimensions if isinstance(each, str) for name in _names(each))
    if number == 0 or not names:
        return number
    return "*".join(([str(number)] if number != 1 else []) + names)


def divided(whole: Dimension, part: Dimension) -> Dimension | None:
    """What times `part` is `whole`; None where nothing is known to be."""
    (number, names), (by, by_names) = _factors(whole), _factors(part)
    if by == 0 or number % by or by_names - names:
        return None
    return product([number // by, *(names - by_names).elements()])


def _names(name: str) -> list[str]:
    return name.split("*")


def _factors(dimension: Dimension) -> tuple[int, Counter[str]]:
    if isinstance(dimension, int):
        return dimension, Counter()
    parts = _names(dimension)
    return math.prod(int(each) for each in parts if each.isdigit()), Counter(p for p in parts if not p.isdigit())
