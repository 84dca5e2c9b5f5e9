"""Graphs with graphs inside their nodes: which values these read, and which of their nodes anybody reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx


def graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs of an If or a Loop."""
    return (each.g for each in node.attribute if each.HasField("g"))


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, and what is read inside it, of which some may be made there."""
    yield from (name for name in node.input if name)
    for inner in graphs_in(node):
        for each in inner.node:
            yield from reads(each)
        yield from (each.name for each in inner.output)


def rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Give these values other names, inside the nodes too."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in graphs_in(node):
            rename(inner.node, names)


def keep(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make these the nodes of a graph."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def drop_unused(graph: onnx.GraphProto) -> set[str]:
    """Leave out the nodes whose results nobody reads, and constants but those of inputs; the names that are read."""
    used = {each.name for each in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if used.isdisjoint(node.output):
            continue
        nodes.append(node)
        used.update(node.input)
        for inner in graphs_in(node):
            used |= drop_unused(inner)
    keep(graph, reversed(nodes))
    inputs = {each.name for each in graph.input}
    constants = [each for each in graph.initializer if each.name in used | inputs]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return used
