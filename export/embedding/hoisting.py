"""What is the same in every step, computed once: before a Loop, and of `step` in `start`, which then gives the result.

A photo's keys and values are an example, which a step reads as float32, and as nothing where a source is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import shape_inference

from .nested import drop_unused, graphs_in, keep, reads, rename

# What only makes a tensor larger stays where it is read; what is drawn by chance is another each time.
_STAYS = {
    "Bernoulli",
    "ConstantOfShape",
    "Dropout",
    "Expand",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Tile",
}


def out_of_loops(graph: onnx.GraphProto) -> None:
    """Take what no round changes out of the Loops of a graph, and out of those inside them."""
    _out_of_loops(graph, _all_names(graph))


def _out_of_loops(graph: onnx.GraphProto, names: set[str]) -> None:
    """names: of all values, added to."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Loop":
            (body,) = graphs_in(node)
            _out_of_loops(body, names)
            fixed, changing = _apart(body, {each.name for each in body.input})
            new = {name: _unused(f"{body.name}/{name}", names) for name in _made_by(fixed)}
            rename(body.node, new)
            nodes += fixed
            keep(body, changing)
        nodes.append(node)
    keep(graph, nodes)


def into_start(start: onnx.GraphProto, step: onnx.ModelProto, given: str) -> None:
    """Take what depends on constants and on inputs of `step` that begin with `given` alone into `start`.

    What `step` then reads of it is another of these inputs, and what it no longer reads is none.
    """
    graph = step.graph
    known = {each.name for each in graph.input if each.name.startswith(given)}
    fixed, changing = _apart(graph, {each.name for each in graph.input} - known)
    moved = set(_made_by(_of(fixed, known)))
    read = moved & {name for node in changing for name in reads(node)}
    if not read:
        return
    kinds = {each.name: each.type for each in shape_inference.infer_shapes(step).graph.value_info}
    names = _all_names(start)
    new = {name: _unused(f"{given}{name}" if name in read else f"{given}/{name}", names) for name in _made_by(fixed)}
    for name in sorted(read):
        _name_sizes(kinds[name])
        for values in (start.output, graph.input):
            values.add(name=new[name], type=kinds[name])
    first = len(start.node)
    start.node.extend(fixed)
    rename(start.node[first:], new | _with_constants(start, graph, fixed, names))
    keep(graph, [node for node in graph.node if moved.isdisjoint(node.output)])
    rename(graph.node, {name: new[name] for name in read})
    _leave_out(start, graph, known)


def _name_sizes(kind: onnx.TypeProto) -> None:
    """As Sizes names those that nothing is known of, where ONNX has unk__1."""
    for each in kind.tensor_type.shape.dim:
        if each.dim_param.startswith("unk__"):
            each.dim_param = f"d{each.dim_param[5:]}"


def _leave_out(start: onnx.GraphProto, step: onnx.GraphProto, known: set[str]) -> None:
    """What nobody reads any more, of these inputs of a step too."""
    unread = known - {name for node in step.node for name in reads(node)}
    for values in (step.input, start.output):
        kept = [each for each in values if each.name not in unread]
        del values[:]
        values.extend(kept)
    drop_unused(start)
    drop_unused(step)


def _apart(graph: onnx.GraphProto, changing: set[str]) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes that compute the same each time, and the others. changing: inputs of the graph that may be others."""
    changing, outputs = set(changing), {each.name for each in graph.output}
    same: list[onnx.NodeProto] = []
    others: list[onnx.NodeProto] = []
    for node in graph.node:
        stays = node.op_type in _STAYS or any(graphs_in(node)) or not outputs.isdisjoint(node.output)
        if stays or not changing.isdisjoint(node.input):
            changing.update(node.output)
            others.append(node)
        else:
            same.append(node)
    return same, others


def _of(nodes: Iterable[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Those that depend on one of these values."""
    known = set(known)
    found: list[onnx.NodeProto] = []
    for node in nodes:
        if not known.isdisjoint(node.input):
            known.update(node.output)
            found.append(node)
    return found


def _with_constants(
    start: onnx.GraphProto, step: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], names: set[str]
) -> dict[str, str]:
    """Declare the constants of these nodes of a step in `start`, too: their names there."""
    have = {each.name: each.SerializeToString(deterministic=True) for each in start.initializer}
    read = {name for node in nodes for name in node.input}
    new: dict[str, str] = {}
    for tensor in step.initializer:
        if tensor.name in read and have.get(tensor.name) != tensor.SerializeToString(deterministic=True):
            start.initializer.append(tensor)
            new[tensor.name] = start.initializer[-1].name = _unused(tensor.name, names)
    return new


def _made_by(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    return [name for node in nodes for name in node.output if name]


def _all_names(graph: onnx.GraphProto) -> set[str]:
    """Of all values, in the graphs inside it too."""
    names = {each.name for values in (graph.input, graph.initializer, graph.output) for each in values}
    for node in graph.node:
        names.update(node.output)
        for inner in graphs_in(node):
            names |= _all_names(inner)
    return names


def _unused(name: str, names: set[str]) -> str:
    """A name that nothing else has, added to these."""
    while name in names:
        name += "_"
    names.add(name)
    return name
