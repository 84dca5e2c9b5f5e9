"""onnxruntime's own format of models (.ort): the graph's nodes, and its weights as arrays.

It is a flatbuffer, of which a reader needs three rules. A table begins with the distance back to its vtable, which has
a uint16 for each field: where it lies in the table, 0 for one left out. A table, vector or text that a field stands for
lies as far behind the field as the field's uint32 says. A vector begins with the number of its items.

Reference: onnxruntime/core/flatbuffers/schema/ort.fbs of onnxruntime 1.23, in whose order fields are numbered here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError
from fuseline.files.reading import open_regular

Array = npt.NDArray[Any]

_IDENTIFIER = b"ORTM"
# InferenceSession.model, Model.graph; of a Graph its initializers and nodes.
_MODEL, _GRAPH, _INITIALIZERS, _NODES = 1, 7, 0, 2
_TENSOR_NAME, _DIMS, _DATA_TYPE, _RAW_DATA = 0, 2, 3, 4
_NODE_NAME, _OP_TYPE, _INPUTS, _OUTPUTS, _ATTRIBUTES = 0, 5, 8, 9, 10
_SUBGRAPH = 7  # of an attribute
# By the numbers of ONNX.
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}


@dataclass(frozen=True)
class Node:
    """A node of a graph. graphs: those within it."""

    name: str
    op_type: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    graphs: Sequence[OrtGraph]


@dataclass(frozen=True)
class OrtGraph:
    """weights: by their names, as they are stored."""

    weights: Mapping[str, Array]
    nodes: Sequence[Node]

    def all_nodes(self) -> Iterator[Node]:
        """Those within nodes too."""
        for node in self.nodes:
            yield node
            for graph in node.graphs:
                yield from graph.all_nodes()

    def all_weights(self) -> dict[str, Array]:
        """Likewise."""
        found = dict(self.weights)
        for node in self.nodes:
            for graph in node.graphs:
                found |= graph.all_weights()
        return found


def read_ort(path: Path) -> OrtGraph:
    """The graph in a file. Raises ExportError for one that cannot be read, is of another format, or is cut short."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    if content[4:8] != _IDENTIFIER:
        raise ExportError(f"{path} is no model in onnxruntime's format")
    try:
        session = _Table(content, _follow(content, 0))
        return _graph(session.table(_MODEL).table(_GRAPH))
    except (struct.error, ValueError, KeyError, RecursionError) as error:
        raise ExportError(f"{path} is damaged: {error}") from error


@dataclass(frozen=True)
class _Table:
    """A table of the flatbuffer, which begins at byte `at`."""

    content: bytes
    at: int

    def place(self, field: int) -> int | None:
        """Where the field of that number lies."""
        vtable = self.at - _number(self.content, "<i", self.at)
        if vtable < 0 or 4 + 2 * field >= _number(self.content, "<H", vtable):
            return None
        offset = _number(self.content, "<H", vtable + 4 + 2 * field)
        return self.at + offset if offset else None

    def table(self, field: int) -> _Table:
        place = self.place(field)
        if place is None:
            raise ValueError(f"field {field} of the table at byte {self.at} is missing")
        return _Table(self.content, _follow(self.content, place))

    def has(self, field: int) -> bool:
        return self.place(field) is not None

    def integer(self, field: int) -> int:
        place = self.place(field)
        return 0 if place is None else _number(self.content, "<i", place)

    def vector(self, field: int) -> tuple[int, int]:
        """Where the items begin, and how many there are."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = _follow(self.content, place)
        return start + 4, _number(self.content, "<I", start)

    def text(self, field: int) -> str:
        start, count = self.vector(field)
        return self.content[start : start + count].decode()

    def array(self, field: int, kind: str) -> Array:
        start, count = self.vector(field)
        return np.frombuffer(self.content, np.dtype(kind).newbyteorder("<"), count, start)

    def tables(self, field: int) -> list[_Table]:
        start, count = self.vector(field)
        return [_Table(self.content, _follow(self.content, start + 4 * at)) for at in range(count)]

    def texts(self, field: int) -> list[str]:
        start, count = self.vector(field)
        found = []
        for at in range(count):
            begin = _follow(self.content, start + 4 * at)
            found.append(self.content[begin + 4 : begin + 4 + _number(self.content, "<I", begin)].decode())
        return found


def _number(content: bytes, form: str, at: int) -> int:
    (found,) = struct.unpack_from(form, content, at)
    return int(found)


def _follow(content: bytes, at: int) -> int:
    return at + _number(content, "<I", at)


def _graph(table: _Table) -> OrtGraph:
    weights = dict(_weight(tensor) for tensor in table.tables(_INITIALIZERS))
    return OrtGraph(weights, [_node(node) for node in table.tables(_NODES)])


def _weight(tensor: _Table) -> tuple[str, Array]:
    kind = _TYPES[tensor.integer(_DATA_TYPE)]
    raw = tensor.array(_RAW_DATA, "uint8")
    return tensor.text(_TENSOR_NAME), raw.view(np.dtype(kind).newbyteorder("<")).reshape(tensor.array(_DIMS, "int64"))


def _node(node: _Table) -> Node:
    graphs = [_graph(each.table(_SUBGRAPH)) for each in node.tables(_ATTRIBUTES) if each.has(_SUBGRAPH)]
    names = node.text(_NODE_NAME), node.text(_OP_TYPE)
    return Node(*names, node.texts(_INPUTS), node.texts(_OUTPUTS), graphs)
