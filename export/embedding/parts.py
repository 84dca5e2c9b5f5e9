"""Graphs of a folder as parts of another: pasted in under names of their own, their weights stored once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from fuseline.errors import ExportError
from fuseline.kernels.layers import OPERATORS, split_layers

from ..graphs.weights_file import WeightsFile
from .nodes import Nodes, Value

_OLDEST, _NEWEST = 18, 22  # opsets; what a graph of 18 says means the same in 20, which embedded graphs are written in


@dataclass
class Part:
    """A graph of a folder. name: what its values are called by in a graph that it is pasted into."""

    name: str
    model: onnx.ModelProto
    _stored: dict[str, onnx.TensorProto]  # its weights where they lie in the file that all graphs share

    @classmethod
    def read(cls, name: str, path: Path) -> Part:
        """Read a graph with its weights. Raises ExportError for one that cannot be a part of another."""
        model = onnx.load(path)
        part = cls(name, model, {})
        if not _OLDEST <= part.opset <= _NEWEST:
            raise ExportError(f"{path} is of opset {part.opset}; to be embedded it must be {_OLDEST} to {_NEWEST}")
        return part

    @property
    def opset(self) -> int:
        """Of the standard operators."""
        versions = (int(entry.version) for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))
        return next(versions)

    @property
    def inputs(self) -> dict[str, Value]:
        """What it reads, by name."""
        found = {}
        for each in self.model.graph.input:
            tensor = each.type.tensor_type
            shape = [size.dim_param or size.dim_value for size in tensor.shape.dim]
            found[each.name] = Value(tensor.elem_type, shape)
        return found

    def paste(self, g: Nodes, given: Mapping[str, str], wanted: Iterable[str]) -> dict[str, str]:
        """Its nodes into g, which reads `given` as its inputs, by name; the values of its wanted outputs, by name."""
        self._declare(g.root)
        names = {value.name: given[value.name] for value in self.model.graph.input if value.name in given}
        _copy_nodes(self.model.graph, g, names, self.name)
        return {name: names[name] for name in wanted}

    def _declare(self, root: Nodes) -> None:
        """Its weights and functions in the outermost graph, once."""
        for tensor in self.model.graph.initializer:
            name = f"{self.name}/{tensor.name}"
            if name in root._names:
                continue
            if name not in self._stored:
                root.weight(name, numpy_helper.to_array(tensor))
                self._stored[name] = root.proto.initializer[-1]
            else:
                root._take(name)
                root.proto.initializer.append(self._stored[name])
        _add_functions(root.model, self.model)


def new_graph(name: str, parts: Sequence[Part], outside: WeightsFile) -> Nodes:
    """An empty graph that the parts can be pasted into."""
    _split_what_differs(parts)
    return Nodes.new(name, max(part.opset for part in parts), outside)


def _split_what_differs(parts: Iterable[Part]) -> None:
    """Take a part's layers apart where an earlier part has others: a model has one body for all of an operator."""
    seen: dict[str, bytes] = {}
    for part in parts:
        own = {each.name: each.SerializeToString(deterministic=True) for each in part.model.functions}
        if any(seen.get(name, own[name]) != own[name] for name in OPERATORS if name in own):
            split_layers(part.model)
        seen |= {name: body for name, body in own.items() if name not in seen}


def _copy_nodes(graph: onnx.GraphProto, g: Nodes, names: dict[str, str], prefix: str) -> None:
    """The nodes of a graph and of those inside it, all their values renamed. names: by old name, added to."""
    weights = {tensor.name for tensor in graph.initializer}

    def renamed(name: str) -> str:
        return name and names.get(name, f"{prefix}/{name}" if name in weights else name)

    for node in graph.node:
        copy = g.proto.node.add()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name}"
        copy.input[:] = [renamed(name) for name in node.input]
        for place, name in enumerate(node.output):
            if name:
                names[name] = copy.output[place] = g._take(g._unused_rule(f"{prefix}/{name}"))
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ExportError(f"{prefix} has a graph inside node {node.name!r}, which cannot be embedded yet")


def _add_functions(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """The functions of another model, and the operator sets that it has beside the standard one."""
    have = {(each.domain, each.name, each.overload): each for each in model.functions}
    for function in other.functions:
        known = have.get((function.domain, function.name, function.overload))
        if known is None:
            model.functions.append(function)
        elif known.SerializeToString(deterministic=True) != function.SerializeToString(deterministic=True):
            raise ExportError(f"two graphs of the folder define {function.name} differently; export the model again")
    domains = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(each for each in other.opset_import if each.domain not in {*domains, "ai.onnx"})
