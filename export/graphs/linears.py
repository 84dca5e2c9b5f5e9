"""Finds the linear layers of a graph that somebody else made, and puts the fused operators in their place.

What is found: a MatMul or Gemm with a constant matrix, the Add of a constant bias behind it, and then a Gelu or a
Relu, each only where nobody else reads what lies between.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fuseline.kernels.bodies import DOMAIN, add_bodies
from fuseline.kernels.layers import replace_groups

from .weights import FORMATS, Array, Scheme, store, tensor_of

# Smaller matrices stay as they are: there is nothing to gain.
LEAST_WEIGHTS = 1 << 12


@dataclass
class _Linear:
    """A linear layer as it lies in the graph; `nodes` go when the operator comes."""

    nodes: list[onnx.NodeProto]
    x: str
    weight_IO: Array
    bias_O: Array
    ending: str
    result: str


def fuse_linears(model: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """A copy of the model whose linear layers are fused operators with weights stored as the scheme says."""
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    return add_bodies(_Rewriter(fused, scheme).run())


class _Rewriter:
    def __init__(self, model: onnx.ModelProto, scheme: Scheme) -> None:
        self._model, self._scheme = model, scheme
        graph = model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._outputs = {value.name for value in graph.output}
        self._stored: dict[str, list[str]] = {}

    def run(self) -> onnx.ModelProto:
        graph = self._model.graph
        layers = [layer for node in graph.node if (layer := self._layer(node)) is not None]
        replace_groups(graph, [(layer.nodes, self._operator(layer)) for layer in layers])
        used = {name for node in graph.node for name in node.input} | self._outputs
        constants = [tensor for tensor in self._constants.values() if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        return self._model

    def _layer(self, node: onnx.NodeProto) -> _Linear | None:
        weight_IO = self._matrix(node)
        if weight_IO is None or weight_IO.size < LEAST_WEIGHTS:
            return None
        layer = _Linear([node], node.input[0], weight_IO, np.zeros(weight_IO.shape[1], np.float32), "", node.output[0])
        if node.op_type == "Gemm" and len(node.input) == 3:
            bias = self._vector(node.input[2], weight_IO.shape[1])
            if bias is None:
                return None
            layer.bias_O = bias
        self._take_bias(layer)
        self._take_ending(layer)
        return layer

    def _matrix(self, node: onnx.NodeProto) -> Array | None:
        """float32[I, O] of a product with a constant."""
        if node.op_type not in ("MatMul", "Gemm") or node.domain or node.input[1] not in self._constants:
            return None
        tensor = self._constants[node.input[1]]
        if len(tensor.dims) != 2 or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if attributes.get("transA") or any(attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return None
        matrix = numpy_helper.to_array(tensor)
        return matrix.T if attributes.get("transB") else matrix

    def _vector(self, name: str, size: int) -> Array | None:
        tensor = self._constants.get(name)
        return None if tensor is None or list(tensor.dims) != [size] else numpy_helper.to_array(tensor)

    def _only_reader(self, layer: _Linear) -> onnx.NodeProto | None:
        readers = self._readers[layer.result]
        return readers[0] if len(readers) == 1 and layer.result not in self._outputs else None

    def _extend(self, layer: _Linear, node: onnx.NodeProto) -> None:
        layer.nodes.append(node)
        layer.result = node.output[0]

    def _take_bias(self, layer: _Linear) -> None:
        node = self._only_reader(layer)
        if node is None or node.op_type != "Add":
            return
        other = node.input[0] if node.input[1] == layer.result else node.input[1]
        bias = self._vector(other, layer.weight_IO.shape[1])
        if bias is not None:
            layer.bias_O = layer.bias_O + bias
            self._extend(layer, node)

    def _take_ending(self, layer: _Linear) -> None:
        node = self._only_reader(layer)
        if node is None:
            return
        if node.op_type in ("Gelu", "Relu"):
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            layer.ending = "GeluTanh" if attributes.get("approximate") == b"tanh" else node.op_type
            self._extend(layer, node)

    def _operator(self, layer: _Linear) -> onnx.NodeProto:
        name = layer.nodes[0].input[1]
        if name not in self._stored:
            stored = store(layer.weight_IO, self._scheme)
            parts = {f"{name}.blocks": stored.weight} | (
                {} if stored.scale is None else {f"{name}.scale": stored.scale}
            )
            for part, array in parts.items():
                self._constants[part] = tensor_of(np.ascontiguousarray(array), part)
            self._stored[name] = list(parts)
        bias = f"{layer.nodes[0].output[0]}.bias"
        self._constants[bias] = numpy_helper.from_array(np.ascontiguousarray(layer.bias_O, np.float32), bias)
        operator = f"{FORMATS[self._scheme]}Linear{layer.ending}"
        inputs = [layer.x, *self._stored[name], bias]
        return helper.make_node(
            operator, inputs, [layer.result], name=layer.nodes[0].name or layer.result, domain=DOMAIN
        )
