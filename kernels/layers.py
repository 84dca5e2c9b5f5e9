"""The layers of a decoder or an encoder as one node each, DecoderLayer or EncoderLayer, and back.

Which of the two its attention says. The body of such a node is the operators of the layer. Where the kernel library is
registered it runs them one after the other, as the node's attribute `steps` says, on threads that stay together for the
whole layer: handing each operator's loops to onnxruntime's pool, and onnxruntime's own work for each node, cost time
(docs/results/measurements.md).

Which nodes are a layer their names say: all nodes of layer 3 are called `layer.3/...`, by whoever builds the graph and
by split_layers. Files have layers joined, and whoever looks into a graph splits them first.

Linear layers that read one value and whose results are outputs of the graph, as the keys and values of cross-attention
at the end of an encoder, are Projections, a node as those: what they read is prepared once for all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from .bodies import DOMAIN, OPSET, VERSION
from .linear_bodies import FORMATS

DECODER_LAYER, ENCODER_LAYER, PROJECTIONS = "DecoderLayer", "EncoderLayer", "Projections"
MOST_VALUES, MOST_STEPS, MOST_TEXT = 128, 64, 4095  # that the kernel library counts (src/onnxruntime_layers.cpp)
_SHARED = ("heads", "scale", "epsilon")  # what operators of a layer have for all of it
_STEPS = "steps"
# The operators by the attentions that make a layer one of theirs.
OPERATORS: Mapping[str, Sequence[str]] = {
    DECODER_LAYER: ("CachedSelfAttention", "BiasedCachedSelfAttention"),
    ENCODER_LAYER: tuple(
        f"{form}{name}"
        for form in ("", "BFloat16")
        for name in ("SelfAttention", "BiasedSelfAttention", "WindowSelfAttention")
    ),
    PROJECTIONS: (),
}
_PROJECTION = tuple(f"{form}Linear" for form in FORMATS)
_MARK = re.compile(r"(layer\.[0-9]+)/")


@dataclass(frozen=True)
class Unjoined:
    """A layer whose operators stay nodes of their own.

    layer: its name, as in `layer.3`; reason: a part of a sentence that goes on from that name.
    """

    layer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.layer} {self.reason}"


@dataclass
class _Layer:
    """Nodes that are to be one of `operator`.

    outputs: the values that others read; attributes: those that its operators share.
    """

    operator: str
    name: str
    nodes: Sequence[onnx.NodeProto]
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, onnx.AttributeProto]

    def numbers(self) -> dict[str, int]:
        """Values by number: inputs, outputs, then what lies between."""
        made = [name for node in self.nodes for name in node.output]
        between = [name for name in made if name not in self.outputs]
        return {name: number for number, name in enumerate([*self.inputs, *self.outputs, *between])}

    def kind(self) -> tuple[int, int, str, tuple[str, ...]]:
        """What layers with the same body have in common."""
        return len(self.inputs), len(self.outputs), self.steps(), tuple(self.attributes)

    def steps(self) -> str:
        """Each operator with the numbers of the values that it reads and makes."""
        numbers = self.numbers()
        return ";".join(
            " ".join([node.op_type, *(str(numbers[name]) for name in node.input), ">"])
            + "".join(f" {numbers[name]}" for name in node.output)
            for node in self.nodes
        )


def join_layers(model: onnx.ModelProto) -> list[Unjoined]:
    """Make one node of each layer, in place. Returns those that cannot be, which stay as they are.

    A model has one body for all layers of an operator: where these differ in more than their weights, most of them
    decide.
    """
    return [apart for operator in OPERATORS for apart in _join(model, operator)]


def _join(model: onnx.ModelProto, operator: str) -> list[Unjoined]:
    """As join_layers, of the layers of one operator."""
    layers = [layer for layer in _layers(model.graph) if layer.operator == operator]
    places = {id(node): place for place, node in enumerate(model.graph.node)}
    reasons = {layer.name: _reason(model.graph, places, layer) for layer in layers}
    bodies = Counter(layer.kind() for layer in layers if reasons[layer.name] is None)
    chosen = max(bodies, key=bodies.__getitem__, default=None)  # the first of several
    alike = [layer for layer in layers if reasons[layer.name] is None and layer.kind() == chosen]
    if alike:
        model.functions.append(_body(alike[0]))
        replace_groups(model.graph, [(layer.nodes, _joined(layer)) for layer in alike])
    joined = {layer.name for layer in alike}
    return [
        Unjoined(layer.name, reasons[layer.name] or f"has not the operators of {alike[0].name}, whose body all share")
        for layer in layers
        if layer.name not in joined and operator != PROJECTIONS  # of which none must be joined
    ]


def split_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo join_layers, in place, but for the names of values inside a layer; returned for convenience."""
    bodies = {each.name: each for each in model.functions if each.domain == DOMAIN and each.name in OPERATORS}
    if not bodies:
        return model
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        body = bodies.get(node.op_type) if node.domain == DOMAIN else None
        nodes += [node] if body is None else _split(node, body)
    _replace(model.graph, nodes)
    for body in bodies.values():
        model.functions.remove(body)
    return model


def replace_groups(graph: onnx.GraphProto, groups: Sequence[tuple[Sequence[onnx.NodeProto], onnx.NodeProto]]) -> None:
    """Put one node in the place of several, where the last of them was and all that it reads is there."""
    ends = {id(group[-1]): made for group, made in groups}
    gone = {id(node) for group, _ in groups for node in group}
    _replace(graph, [ends.get(id(node), node) for node in graph.node if id(node) in ends or id(node) not in gone])


def _layers(graph: onnx.GraphProto) -> Iterator[_Layer]:
    """The layers by the names of their nodes; what has none of the attentions is no layer."""
    readers = Counter(name for node in graph.node for name in node.input) + Counter(v.name for v in graph.output)
    marked: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if (mark := _MARK.match(node.name)) is not None:
            marked.setdefault(mark[1], []).append(node)
    for name, nodes in marked.items():
        own = {node.op_type for node in nodes if node.domain == DOMAIN}
        operator = next((each for each, attentions in OPERATORS.items() if own.intersection(attentions)), None)
        if operator is not None:
            yield _layer(operator, name, nodes, readers)
    yield from _projections(graph, readers)


def _projections(graph: onnx.GraphProto, readers: Counter[str]) -> Iterator[_Layer]:
    """Linear layers of one value that make outputs of the graph, in nodes of one size, as few as there is room for."""
    outputs = {value.name for value in graph.output}
    alike: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in graph.node:
        alone = node.domain == DOMAIN and node.op_type in _PROJECTION and _MARK.match(node.name) is None
        if alone and node.output[0] in outputs and readers[node.output[0]] == 1:
            alike.setdefault((node.input[0], node.op_type), []).append(node)
    for nodes in alike.values():
        most = min((MOST_VALUES - 1) // len(nodes[0].input), MOST_STEPS)
        size = next(size for size in range(min(most, len(nodes)), 0, -1) if len(nodes) % size == 0)
        for first in range(0, len(nodes) if size > 1 else 0, size):
            yield _layer(PROJECTIONS, f"{nodes[first].output[0]}/all", nodes[first : first + size], readers)


def _layer(operator: str, name: str, nodes: Sequence[onnx.NodeProto], readers: Counter[str]) -> _Layer:
    read = Counter(value for node in nodes for value in node.input)
    made = [value for node in nodes for value in node.output]
    inputs = [value for value in read if value not in made]
    outputs = [value for value in made if readers[value] > read[value]]
    attributes = {each.name: each for node in nodes for each in node.attribute}
    return _Layer(operator, name, nodes, inputs, outputs, attributes)


def _reason(graph: onnx.GraphProto, places: Mapping[int, int], layer: _Layer) -> str | None:
    """Why a layer cannot be one node, as Unjoined has it; None where it can."""
    for node in layer.nodes:
        if node.domain != DOMAIN:
            return f"has {node.op_type} among its operators, which is none of the domain {DOMAIN}"
        if "" in [*node.input, *node.output]:
            return f"has {node.op_type} without one of its inputs or outputs"
        for each in node.attribute:
            if each.name not in _SHARED:
                return f"has {node.op_type}, whose attribute {each.name} a layer does not have"
            if each != layer.attributes[each.name]:
                return f"has operators that differ in {each.name}, which a layer has once"
    between = graph.node[places[id(layer.nodes[0])] : places[id(layer.nodes[-1])]]
    made, own = {value for node in layer.nodes for value in node.output}, {id(node) for node in layer.nodes}
    for node in between:
        if id(node) not in own and made & set(node.input):
            return f"is read by {node.name or node.op_type} before its last operator"
    if len(layer.nodes) > MOST_STEPS or len(layer.numbers()) > MOST_VALUES or len(layer.steps()) > MOST_TEXT:
        return f"is larger than {MOST_STEPS} operators, {MOST_VALUES} values or {MOST_TEXT} characters of steps"
    return None


def _joined(layer: _Layer) -> onnx.NodeProto:
    node = helper.make_node(
        layer.operator, layer.inputs, layer.outputs, name=layer.name, domain=DOMAIN, steps=layer.steps()
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
    return helper.make_function(DOMAIN, layer.operator, inputs, outputs, nodes, opsets, [*layer.attributes, _STEPS])


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
        first = made.output[0]
        whole = layer.op_type == PROJECTIONS or first.startswith(f"{layer.name}/")
        made.name = first if whole else f"{layer.name}/{first}"
        yield made


def _replace(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = onnx.GraphProto(node=nodes)  # since nodes of the graph go with the list
    del graph.node[:]
    graph.node.extend(copies.node)
