"""A decoder's layers as one node each, DecoderLayer, and back.

The body of such a node is the operators of the layer. Where the kernel library is registered it runs them one after the
other, as the node's attribute `steps` says, on threads that stay together for the whole layer: handing each operator's
loops to onnxruntime's pool, and onnxruntime's own work for each node, took some 7% of a step (docs/design.md).

Files have layers joined, and whoever looks into a graph splits them first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import onnx
from onnx import helper

from .bodies import DOMAIN, OPSET, VERSION

OPERATOR = "DecoderLayer"
MOST_VALUES, MOST_STEPS = 128, 64  # that the kernel library counts (src/onnxruntime_layers.cpp)
_SHARED = ("heads", "scale", "epsilon")  # what operators of a layer have for all of it
_STEPS = "steps"
_ATTENTION = "CachedSelfAttention"  # one a layer


@dataclass
class _Layer:
    """Nodes that are to be one. outputs: the values that others read; attributes: those that its operators share."""

    nodes: Sequence[onnx.NodeProto]
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, onnx.AttributeProto]

    def numbers(self) -> dict[str, int]:
        """Values by number: inputs, outputs, then what lies between."""
        made = [name for node in self.nodes for name in node.output]
        between = [name for name in made if name not in self.outputs]
        return {name: number for number, name in enumerate([*self.inputs, *self.outputs, *between])}

    def steps(self) -> str:
        """Each operator with the numbers of the values that it reads and makes."""
        numbers = self.numbers()
        return ";".join(
            " ".join([node.op_type, *(str(numbers[name]) for name in node.input), ">"])
            + "".join(f" {numbers[name]}" for name in node.output)
            for node in self.nodes
        )


def join_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make one node of each decoder layer, in place; returned for convenience.

    Where layers differ in more than their weights, or have other operators between those of this domain, all stays as
    it is.
    """
    layers = list(_layers(model.graph))
    first = layers[0] if layers else None
    if first is None or len(first.numbers()) > MOST_VALUES or len(first.nodes) > MOST_STEPS:
        return model
    if any(not _alike(first, layer) for layer in layers):
        return model
    if len(layers) < sum(node.op_type == _ATTENTION for node in model.graph.node):
        return model
    model.functions.append(_body(first))
    replace_groups(model.graph, [(layer.nodes, _joined(number, layer)) for number, layer in enumerate(layers)])
    return model


def split_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo join_layers, in place, but for the names of values inside a layer; returned for convenience."""
    body = next((each for each in model.functions if (each.domain, each.name) == (DOMAIN, OPERATOR)), None)
    if body is None:
        return model
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += _split(node, body) if (node.domain, node.op_type) == (DOMAIN, OPERATOR) else [node]
    _replace(model.graph, nodes)
    model.functions.remove(body)
    return model


def replace_groups(graph: onnx.GraphProto, groups: Sequence[tuple[Sequence[onnx.NodeProto], onnx.NodeProto]]) -> None:
    """Put one node in the place of several, where the last of them was and all that it reads is there."""
    ends = {id(group[-1]): made for group, made in groups}
    gone = {id(node) for group, _ in groups for node in group}
    _replace(graph, [ends.get(id(node), node) for node in graph.node if id(node) in ends or id(node) not in gone])


def _layers(graph: onnx.GraphProto) -> Iterator[_Layer]:
    """Runs of operators of this domain, cut into as many equal parts as there are self-attentions in them."""
    readers = Counter(name for node in graph.node for name in node.input) + Counter(v.name for v in graph.output)
    for ours, run in groupby(graph.node, lambda node: node.domain == DOMAIN and "Embedding" not in node.op_type):
        nodes = list(run) if ours else []
        count = sum(node.op_type == _ATTENTION for node in nodes)
        if count == 0 or len(nodes) % count:
            continue
        size = len(nodes) // count
        yield from (_layer(nodes[at : at + size], readers) for at in range(0, len(nodes), size))


def _layer(nodes: Sequence[onnx.NodeProto], readers: Counter[str]) -> _Layer:
    read = Counter(name for node in nodes for name in node.input)
    made = [name for node in nodes for name in node.output]
    inputs = [name for name in read if name not in made]
    outputs = [name for name in made if readers[name] > read[name]]
    attributes = {each.name: each for node in nodes for each in node.attribute}
    return _Layer(nodes, inputs, outputs, attributes)


def _alike(one: _Layer, other: _Layer) -> bool:
    """Whether two layers have one body, and the other has the same attributes in all its operators."""
    same = all(other.attributes[each.name] == each for node in other.nodes for each in node.attribute)
    sizes = [(len(layer.inputs), len(layer.outputs), layer.steps(), set(layer.attributes)) for layer in (one, other)]
    return same and sizes[0] == sizes[1] and set(other.attributes) <= set(_SHARED)


def _joined(number: int, layer: _Layer) -> onnx.NodeProto:
    node = helper.make_node(
        OPERATOR, layer.inputs, layer.outputs, name=f"layer.{number}", domain=DOMAIN, steps=layer.steps()
    )
    node.attribute.extend(layer.attributes.values())
    return node


def _body(layer: _Layer) -> onnx.FunctionProto:
    """The layer's operators as a function; what they share is handed on."""
    inputs = [f"input_{number}" for number in range(len(layer.inputs))]
    outputs = [f"output_{number}" for number in range(len(layer.outputs))]
    names = dict(zip([*layer.inputs, *layer.outputs], [*inputs, *outputs], strict=True))
    seen = Counter[str]()
    nodes = []
    for node in layer.nodes:
        for name in node.output:
            if name not in names:
                names[name] = f"{node.op_type}_{seen[node.op_type]}"
                seen[node.op_type] += 1
        made = helper.make_node(
            node.op_type, [names[name] for name in node.input], [names[name] for name in node.output], domain=DOMAIN
        )
        made.attribute.extend(helper.make_attribute_ref(each.name, each.type) for each in node.attribute)
        nodes.append(made)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_function(DOMAIN, OPERATOR, inputs, outputs, nodes, opsets, [*layer.attributes, _STEPS])


def _split(layer: onnx.NodeProto, body: onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    names = dict(zip([*body.input, *body.output], [*layer.input, *layer.output], strict=True))
    attributes = {each.name: each for each in layer.attribute}
    for node in body.node:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        for values in (made.input, made.output):
            values[:] = [names.get(name, f"{layer.name}/{name}") for name in values]
        for each in made.attribute:
            each.CopyFrom(attributes[each.ref_attr_name])
        made.name = made.output[0]
        yield made


def _replace(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    kept = onnx.GraphProto()  # since nodes of the graph go with the list
    kept.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(kept.node)
