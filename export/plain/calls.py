"""Calls of our own operators in a graph of somebody else's, each with a body in those.

Where our kernels are registered they run; where they are not, the body does, and costs little more than if it stood
there. What all calls compute alike (a mask, places in the cache) stands in every body: onnxruntime does it once, since
it compares nodes, and constants of one number, once bodies are in the places of their calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import onnx
from onnx import AttributeProto, helper

from fuseline.errors import ExportError
from fuseline.kernels.bodies import DOMAIN, add_bodies
from fuseline.kernels.device_bodies import FORMS

from ..graphs.graph import OPSET, Graph
from .operators import Operators
from .types import needed
from .writer import MICROSOFT

Writes = Callable[[Any, onnx.NodeProto, Mapping[str, Any]], None]
"""a writer's method: writes what a node computes, see Writer.write"""

# What MultiHeadAttention calls an attribute of ours.
_GIVEN = {"num_heads": ("heads", AttributeProto.INT), "scale": ("scale", AttributeProto.FLOAT)}


class Calls(Operators):
    """Writes calls. halves: whether the graph will be of float16: then calls are of Float16 forms."""

    def __init__(self, model: onnx.ModelProto, codes: bool, halves: bool) -> None:
        super().__init__(model, None, codes)
        self.halves = halves
        self.bodies: dict[str, onnx.FunctionProto] = {}

    def call(self, node: onnx.NodeProto, of: Mapping[str, Any], write: Writes | None = None) -> None:
        """A call of the node's operator. write: what writes its body; None: its definition is the body.

        Raises ExportError where the sizes of another call of it differ, which a body knows.
        """
        plain = node.op_type.removeprefix("Half")  # in plain graphs keys and values are of the graph's own type
        operator = f"Float16{plain}" if self.halves and plain != "TopCandidates" else plain
        if write is not None:
            body = self.body(operator, plain, node, of, write)
            if self.bodies.setdefault(operator, body) != body:
                raise ExportError(
                    f"{node.name} and the {operator} before it differ in size, which no contrib graph has"
                )
        self.g.ops(operator, *node.input, names=list(node.output), domain=DOMAIN, **of)

    def body(
        self, operator: str, plain: str, node: onnx.NodeProto, of: Mapping[str, Any], write: Writes
    ) -> onnx.FunctionProto:
        """What write writes, with the operator's own names for what it reads and gives."""
        attributes, inputs, outputs = FORMS[plain]
        actual = dict(zip(inputs, node.input, strict=True))
        inner = copy(self)
        inner.g, inner.shared, inner.widths = Graph(onnx.GraphProto()), {}, {}
        inner.inputs = {name: self.inputs[its] for name, its in actual.items() if its in self.inputs}
        inner.constants = {name: self.constants[its] for name, its in actual.items() if its in self.constants}
        write(inner, onnx.NodeProto(op_type=plain, input=inputs, output=outputs), of)
        written = inner.g.proto
        constants = [helper.make_node("Constant", [], [each.name], value=each) for each in written.initializer]
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        nodes = needed([*constants, *written.node], outputs)  # onnxruntime keeps those that a body makes for nobody
        function = helper.make_function(DOMAIN, operator, inputs, outputs, nodes, opsets, list(attributes))
        for made in function.node:
            for attribute in made.attribute:
                if made.op_type == "MultiHeadAttention" and attribute.name in _GIVEN:
                    name, kind = _GIVEN[attribute.name]
                    attribute.CopyFrom(AttributeProto(name=attribute.name, ref_attr_name=name, type=kind))
        return function

    def with_bodies(self) -> onnx.ModelProto:
        """The model with the bodies of all that it calls."""
        self.made.functions.extend(self.bodies.values())
        return add_bodies(self.made)
