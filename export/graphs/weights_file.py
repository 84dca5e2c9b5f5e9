"""Weights in a file beside their graph, each from the start of a page, so that they can be mapped and read in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import onnx

from .weights import Array

PAGE = 4096


class WeightsFile:
    """Takes weights as they are made, so that no more than one of them is in memory. To be used in a `with` block."""

    def __init__(self, path: Path) -> None:
        """path: the file, which is made, with its folder, when the first weight comes."""
        self.path = path
        self.bytes = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def add(self, graph: onnx.GraphProto, name: str, dims: Sequence[int], data_type: int, content: Array) -> None:
        """Declare a weight in the graph and write its content, in one piece in memory; what is small stays inside."""
        if content.nbytes < PAGE:
            add_inside(graph, name, dims, data_type, content)
            return
        if self._file is None:
            self.path.parent.mkdir(exist_ok=True)
            self._file = self.path.open("wb")
        self._file.write(bytes(-self.bytes % PAGE))
        offset = self._file.tell()
        self._file.write(content.data)
        self.bytes = offset + content.nbytes
        tensor = graph.initializer.add(name=name, dims=dims, data_type=data_type)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": self.path.name, "offset": offset, "length": content.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))

    def add_tensor(self, graph: onnx.GraphProto, tensor: onnx.TensorProto) -> None:
        """As add, with a tensor of another graph; one that lies here already is only declared."""
        if is_outside(tensor) or len(tensor.raw_data) < PAGE:
            graph.initializer.append(tensor)
        else:
            content = np.frombuffer(tensor.raw_data, np.uint8)
            self.add(graph, tensor.name, tensor.dims, tensor.data_type, content)

    def content(self, tensor: onnx.TensorProto) -> bytes:
        """Of a weight that was added."""
        if self._file is not None:
            self._file.flush()
        place = {entry.key: entry.value for entry in tensor.external_data}
        with self.path.open("rb") as file:
            file.seek(int(place["offset"]))
            return file.read(int(place["length"]))

    def take_back(self, graph: onnx.GraphProto) -> None:
        """Put what lies here into the graph, and leave no file."""
        for tensor in filter(is_outside, graph.initializer):
            content = self.content(tensor)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = content
        self.remove()

    def remove(self) -> None:
        """Leave no file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_outside(tensor: onnx.TensorProto) -> bool:
    """Whether its content lies in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def add_inside(graph: onnx.GraphProto, name: str, dims: Sequence[int], data_type: int, content: Array) -> None:
    """Store a weight in the graph itself."""
    tensor = graph.initializer.add(name=name, dims=dims, data_type=data_type)
    tensor.raw_data = content.tobytes()
