"""Writes plain nodes in the place of a graph's: what all operators share, layers that multiply, and bodies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.folders.tensors import is_cross_attention, width_of
from fuseline.kernels.bodies import DOMAIN, body

from ..graphs.graph import OPSET, Graph
from ..graphs.recode import embeds, form_of, matrices
from ..graphs.weights import Array, content_of, quantize_columns

MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators
FLOAT32 = "/float32/"  # in the name of a node: it stays in float32 in graphs of halves
_ENDINGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("Relu", {}),
    "Gelu": ("Gelu", {}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
    "Add": ("Add", {}),
    "Mul": ("Mul", {}),
}


@dataclass(frozen=True)
class Fixed:
    """The sizes of a static graph: R rows of one input, C positions of the cache, S encoder positions; starts: where
    each source's begin, and S, for a decoder with several."""

    rows: int
    capacity: int
    positions: int
    starts: tuple[int, ...] = ()


class Writer(ABC):
    """Plain nodes of a model in the making. writers: by operator, what writes it; of others the body is written."""

    writers: Mapping[str, Callable[[Any, onnx.NodeProto, Mapping[str, Any]], None]] = {}

    def __init__(self, model: onnx.ModelProto, fixed: Fixed | None, codes: bool) -> None:
        self.made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
        self.made.opset_import.append(helper.make_opsetid("", OPSET))
        graph = self.made.graph
        graph.name = model.graph.name
        self.matrices = {matrix.name: matrix.weight_IO for matrix in matrices(model)}
        self.filled = {n.input[1] for n in model.graph.node if form_of(n) not in (None, "Float", "Half")}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in self.matrices}
        graph.initializer.extend(self.constants.values())
        self.inputs = {value.name: value for value in model.graph.input}
        graph.input.extend(_plain_input(value) for value in model.graph.input)
        graph.output.extend(model.graph.output)
        self.g, self.fixed, self.codes = Graph(graph, "plain/"), fixed, codes
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.shared: dict[Any, Any] = {}
        self.alias: dict[str, str] = {}
        self.planes: dict[str, str] = {}
        self.widths: dict[str, int] = {}

    def write(self, node: onnx.NodeProto) -> None:
        """The plain nodes of one."""
        node.input[:] = [self.alias.get(name, name) for name in node.input]
        if node.domain != DOMAIN:
            if node.name == "step/Range":
                self.alias[node.output[0]] = self.positions_T()
            else:
                self.g.proto.node.append(node)
                self.widths[node.output[0] if node.output else ""] = next(map(self.widths.get, node.input), None) or 0
            return
        of = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        with self.g.scope(node.name):
            if embeds(node):
                self.embedding(node, of["width"])
            elif form_of(node) is not None:
                self.linear(node)
            else:
                own = self.writers.get(node.op_type)
                self.by_body(node, of) if own is None else own(self, node, of)

    @abstractmethod
    def positions_T(self) -> str:
        """int64[T]: where the tokens of this step stand."""

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What make makes, at the first call with that key."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def stored(self, name: str, array: Callable[[], Array]) -> str:
        """A weight under that name, stored once."""
        return str(self.once(name, lambda: self.g.weight(name, np.ascontiguousarray(array()))))

    # Layers that multiply

    def matrix(self, name: str, x: str) -> Array:
        """float32[I, O], without the zeros that fill up the inputs of quantized ones."""
        weight_IO = self.matrices[name]
        if name not in self.filled:
            return weight_IO
        filled = int(np.flatnonzero(weight_IO.any(axis=1)).max(initial=0)) + 1
        return weight_IO[: self.widths.get(x) or filled]

    def floats(self, name: str, weight: Callable[[], Array], axis: int) -> str:
        """A matrix under that name, or its codes as floats. axis: that of the outputs, of which each has a scale."""
        if not self.codes:
            return self.stored(name, weight)
        if name not in self.shared:
            codes, scale_O = quantize_columns(weight() if axis else weight().T)
            signed = (codes.astype(np.int16) - 128).astype(np.int8)
            self.g.weight(f"{name}.codes", signed if axis else np.ascontiguousarray(signed.T))
            self.g.weight(f"{name}.scale", scale_O)
        return str(self.once(name, lambda: self.g.op("DequantizeLinear", f"{name}.codes", f"{name}.scale", axis=axis)))

    def embedding(self, node: onnx.NodeProto, width: int) -> None:
        g, (ids, name) = self.g, node.input[:2]
        rows = self.floats(f"{name}.rows", lambda: self.matrices[name][:width].T, 0)
        self.widths[node.output[0]] = width
        if not self.codes:
            g.op("Gather", rows, ids, name=node.output[0])
            return
        codes = g.op("Cast", g.op("Gather", f"{name}.rows.codes", ids), to=TensorProto.FLOAT)
        scale = g.op("Unsqueeze", g.op("Gather", f"{name}.rows.scale", ids), g.ints(-1))
        g.op("Mul", codes, scale, name=node.output[0])

    def linear(self, node: onnx.NodeProto) -> None:
        g, form, ending = self.g, *node.op_type.split("Linear")
        x, name = node.input[:2]
        bias, *second = node.input[3 if form.startswith("Int") else 2 :]
        bias_O = self.array(bias)
        self.widths[node.output[0]] = len(bias_O)
        last, shift = node.output[0], bias if bias_O.any() else ""
        tied = f"{name}.rows"
        if tied in self.shared:  # the table that embeds tokens; its rows are multiplied as they lie
            g.op("Gemm", x, self.shared[tied], *filter(None, (shift,)), transB=1, name=last)
            return
        weight = self.floats(f"{name}.matrix", lambda: self.matrix(name, x), 1)
        y = g.op("MatMul", x, weight, name="" if shift or ending else last)
        if shift or ending:
            self.ended(y, shift, ending, second, last)

    def ended(self, y: str, bias: str, ending: str, second: Sequence[str], last: str) -> None:
        """What follows a product, under the name last. bias: "" for none; second: what is added or multiplied with."""
        g = self.g
        if bias:
            y = g.op("Add", y, bias, name="" if ending else last)
        if ending in ("QuickGelu", "Silu"):
            steep = y if ending == "Silu" else g.op("Mul", y, g.scalar(1.702, np.float32))
            g.op("Mul", y, g.op("Sigmoid", steep), name=last)
        elif ending == "Relu6":
            self.clip(y, last)
        elif ending:
            kind, attributes = _ENDINGS[ending]
            g.op(kind, y, *second, name=last, **attributes)

    def clip(self, x: str, name: str = "") -> str:
        """From 0 to 6."""
        return self.g.op("Clip", x, self.g.scalar(0.0, np.float32), self.g.scalar(6.0, np.float32), name=name)

    # Norms

    def layer_norm(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        self.g.op("LayerNormalization", *node.input, name=node.output[0], axis=-1, epsilon=of["epsilon"])
        self.widths[node.output[0]] = len(self.array(node.input[1]))

    def by_body(self, node: onnx.NodeProto, of: Mapping[str, Any]) -> None:
        """What has no shorter form here, as its body says, in float32."""
        function, mark = body(node.op_type.removeprefix("Half")), f"{node.name}{FLOAT32}"
        names = dict(zip([*function.input, *function.output], [*node.input, *node.output], strict=True))
        for inner in function.node:
            made = onnx.NodeProto()
            made.CopyFrom(inner)
            made.input[:] = [names.get(name, mark + name) if name else "" for name in inner.input]
            made.output[:] = [names.get(name, mark + name) for name in inner.output]
            made.name = mark + inner.output[0]
            del made.attribute[:]
            for each in inner.attribute:
                own = of[each.ref_attr_name] if each.ref_attr_name else helper.get_attribute_value(each)
                if inner.op_type == "Cast" and own == TensorProto.DOUBLE:  # few devices have any
                    own = TensorProto.FLOAT
                made.attribute.append(helper.make_attribute(each.name, own))
            self.g.proto.node.append(made)
        if node.op_type == "RMSNorm":
            self.widths[node.output[0]] = self.widths.get(node.input[0], 0)

    def array(self, name: str) -> Array:
        """A constant, also one that is stored in less and cast."""
        made = self.makers.get(name)
        if made is not None and made.op_type == "Cast":
            return self.array(made.input[0]).astype(np.float32)
        return content_of(self.constants[name])


def _plain_input(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Keys and values are float32[B, S, E] in every plain graph of floats."""
    if not is_cross_attention(value.name):
        return value
    width = width_of(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["B", "S", width])
