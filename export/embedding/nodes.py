"""The words that embedded graphs are written in, beside those of graphs/graph.py: loops, choices, checks, shapes.

A graph in a graph, which a Loop or an If has, reads what lies around it by name; its constants and weights go to the
outermost, where every other graph finds them too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.kernels.bodies import DOMAIN, VERSION

from ..graphs.graph import IR_VERSION, OPSET, Array, Graph, Shape
from ..graphs.weights_file import WeightsFile


@dataclass(frozen=True)
class Value:
    """What a tensor is. dtype: a TensorProto type; shape: integers, and names for what varies."""

    dtype: int
    shape: Shape


@dataclass
class Nodes(Graph):
    """A Graph of which others may be a part."""

    _root: Nodes | None = None

    @classmethod
    def new(cls, name: str, opset: int, outside: WeightsFile) -> Nodes:
        """An empty graph in a model of its own. outside: where weights go."""
        model = onnx.ModelProto(ir_version=max(IR_VERSION, _IR_VERSIONS.get(opset, 0)), producer_name="fuseline")
        model.opset_import.append(helper.make_opsetid("", max(opset, OPSET)))
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        model.graph.name = name
        return cls(model.graph, _model=model, _outside=outside)

    @property
    def root(self) -> Nodes:
        """The outermost graph."""
        return self if self._root is None else self._root

    @property
    def model(self) -> onnx.ModelProto:
        """The model of the outermost graph."""
        assert self.root._model is not None  # since new
        return self.root._model

    def weight(self, name: str, array: Array) -> str:
        """As Graph.weight, in the outermost graph."""
        return super().weight(name, array) if self._root is None else self._root.weight(name, array)

    def default(self, name: str, value: Value, array: Array) -> str:
        """An input that may be left out: it then is this."""
        self.input(name, value.dtype, value.shape)
        tensor = self.proto.initializer.add(name=name, dims=array.shape, data_type=value.dtype)
        tensor.raw_data = array.tobytes()
        return name

    def give(self, value: str, name: str, what: Value) -> None:
        """Declare a value as an output of this name."""
        self.output(self.op("Identity", value, name=name), what.dtype, what.shape)

    def size(self, x: str, axis: int) -> str:
        """One of a tensor's dimensions, int64 without dimensions."""
        return self.op("Squeeze", self.sizes(x, axis))

    def sizes(self, x: str, axis: int) -> str:
        """The same, int64[1]."""
        return self.op("Shape", x, start=axis) if axis == -1 else self.op("Shape", x, start=axis, end=axis + 1)

    def one(self, scalar: str) -> str:
        """int64 without dimensions -> int64[1]."""
        return self.op("Reshape", scalar, self.ints(1))

    def joined(self, *parts: str, axis: int = 0) -> str:
        """Tensors one after the other."""
        return self.op("Concat", *parts, axis=axis)

    def counted(self, count: str) -> str:
        """int64[count]: 0, 1, 2 ..."""
        return self.op("Range", self.scalar(0, np.int64), count, self.scalar(1, np.int64))

    def filled(self, shape: str, value: Array) -> str:
        """A tensor of this shape, int64[n], with one value everywhere."""
        return self.op("ConstantOfShape", shape, value=onnx.numpy_helper.from_array(value.reshape(1)))

    def cast(self, x: str, dtype: int) -> str:
        """The same in another type."""
        return self.op("Cast", x, to=dtype)

    def number(self, value: float) -> str:
        """A float32 without dimensions."""
        return self.scalar(value, np.float32)

    def whole(self, value: int) -> str:
        """An int64 without dimensions."""
        return self.scalar(value, np.int64)

    def checked(self, value: str, good: str, rule: str) -> str:
        """The same int64, where `good`, a bool without dimensions, is true; else a run fails in a node named `rule`."""
        place = self.op("Where", good, self.whole(0), self.whole(1))
        nothing = self.op("Gather", self.ints(0), place, name=self._unused_rule(rule))
        return self.op("Add", value, nothing)

    def checked_by(self, value: str, what: Value, rules: Mapping[str, str]) -> str:
        """The same int64 where every condition is true, as in `checked`, by rule. A run that is good looks once."""
        *others, good = rules.values()
        for each in others:
            good = self.op("And", good, each)

        def refused(inner: Nodes) -> list[str]:
            result = value
            for rule, condition in rules.items():
                result = inner.checked(result, condition, rule)
            return [result]

        return self.choice(good, lambda _: [value], refused, [what])[0]

    def within(self, least: str, most: str, limits: tuple[int, int]) -> str:
        """Whether two int64, or one twice, lie between two limits, these included."""
        return self.op(
            "And",
            self.op("GreaterOrEqual", least, self.whole(limits[0])),
            self.op("LessOrEqual", most, self.whole(limits[1])),
        )

    def _unused_rule(self, rule: str) -> str:
        return next(name for name in self._candidates(rule) if name not in self._names)

    def all(self, condition: str) -> str:
        """bool[...] -> whether all are true, a bool without dimensions."""
        smallest = self.op("ReduceMin", self.cast(condition, TensorProto.INT32), keepdims=0)
        return self.cast(smallest, TensorProto.BOOL)

    def choice(
        self,
        condition: str,
        then: Callable[[Nodes], Sequence[str]],
        otherwise: Callable[[Nodes], Sequence[str]],
        of: Sequence[Value],
    ) -> list[str]:
        """What one of two graphs gives. `condition`: a bool without dimensions."""
        graphs = []
        for name, write in (("then", then), ("else", otherwise)):
            inner = self._inner(name)
            for value, what in zip(write(inner), of, strict=True):
                inner.output(inner.op("Identity", value), what.dtype, what.shape)
            graphs.append(inner.proto)
        return self.ops("If", condition, names=[""] * len(of), then_branch=graphs[0], else_branch=graphs[1])

    def repeated(
        self,
        most: str,
        carried: Mapping[str, tuple[str, Value]],
        body: Callable[[Nodes, str, Mapping[str, str]], tuple[str, Mapping[str, str]]],
    ) -> dict[str, str]:
        """A loop of at most `most` rounds, int64 without dimensions; what is carried after the last, by name.

        carried: by name, what it begins with and what it is. body: writes a round, given its number and what is
        carried, and returns whether another follows, a bool without dimensions, and what is carried then.
        """
        inner = self._inner("round")
        number = inner.input(f"{inner.proto.name}/number", TensorProto.INT64, [])
        inner.input(f"{inner.proto.name}/go_on", TensorProto.BOOL, [])
        given = {
            name: inner.input(f"{inner.proto.name}/{name}", what.dtype, what.shape)
            for name, (_, what) in carried.items()
        }
        go_on, results = body(inner, number, given)
        inner.output(inner.op("Identity", go_on), TensorProto.BOOL, [])
        for name, (_, what) in carried.items():
            inner.output(inner.op("Identity", results[name]), what.dtype, what.shape)
        first = [most, self.op("Cast", self.whole(1), to=TensorProto.BOOL), *(value for value, _ in carried.values())]
        found = self.ops("Loop", *first, names=[""] * len(carried), body=inner.proto)
        return dict(zip(carried, found, strict=True))

    def _inner(self, name: str) -> Nodes:
        """An empty graph inside this one, whose names are none of those around it."""
        unused = next(each for each in self._candidates(f"{self._prefix}{name}") if each not in self._names)
        self._names.add(unused)
        proto = onnx.GraphProto(name=unused)
        return Nodes(proto, f"{unused}/", self._names, _root=self.root)


_IR_VERSIONS = {20: 9, 21: 10, 22: 10, 23: 11}  # the first of each opset
